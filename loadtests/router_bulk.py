"""What is not about requests per second: 10,000 idle connections, a 1 GB body each way, memory all the while.

python -m loadtests.router_bulk [--idle 10000] [--megabytes 1024] [--rounds 1] [--json FILE]
"""

import argparse
import contextlib
import resource
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from loadtests.measured import Figures
from loadtests.router_cpu import cpu_s, family, free_port, nginx_command, router_command, running

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PIECE = b"x" * (1 << 20)


def serve(listener: socket.socket) -> None:
    """A backend: answers GET /N with N megabytes, reads a POST's body and says so."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=talk, args=(connection,), daemon=True).start()


def talk(connection: socket.socket) -> None:
    buffer = bytearray(1 << 20)
    with contextlib.suppress(OSError), connection:
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                got = connection.recv(65536)
                if not got:
                    return
                data += got
            head, _, data = data.partition(b"\r\n\r\n")
            megabytes = int(head.split(b" ")[1].lstrip(b"/") or b"0")
            if head.startswith(b"POST"):
                left = megabytes * (1 << 20) - len(data)
                data = b""
                while left > 0:
                    left -= connection.recv_into(buffer, min(left, len(buffer)))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (megabytes << 20))
                for _ in range(megabytes):
                    connection.sendall(PIECE)


def rss_kb(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])


def bulk(name: str, port: int, pid: int, megabytes: int, figures: Figures) -> None:
    pids = family(pid)
    for method in ("GET", "POST"):
        with socket.create_connection(("127.0.0.1", port)) as client:
            rss, cpu, started, most = rss_kb(pids[-1]), cpu_s(pids), time.monotonic(), 0
            if method == "GET":
                client.sendall(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % megabytes)
                buffer, left = bytearray(1 << 20), megabytes << 20
                while left > 0:
                    left -= client.recv_into(buffer)
                    most = max(most, rss_kb(pids[-1])) if left % 50 == 0 else most
            else:
                size = megabytes << 20
                client.sendall(b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (megabytes, size))
                for number in range(megabytes):
                    client.sendall(PIECE)
                    most = max(most, rss_kb(pids[-1])) if number % 50 == 0 else most
                client.recv(65536)
            rate = megabytes / (time.monotonic() - started)
            used = cpu_s(pids) - cpu
            grown = (max(most, rss_kb(pids[-1])) - rss) / 1024
            print(f"{name:12} {method:4} {megabytes} MB: {rate:6.0f} MB/s, {used:.2f} s CPU, RSS grew {grown:.1f} MB")
            scenario = f"router body, {method} of {megabytes} MB"
            figures.add(scenario, name, "throughput", "MB/s", rate)
            figures.add(scenario, name, "cpu", "s", used)
            figures.add(scenario, name, "memory grown", "MB", grown)


def idle(port: int, pid: int, count: int, figures: Figures) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(100)]
        for client in clients:
            client.sendall(GET)
            client.recv(65536)
        before = rss_kb(pid)
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(GET)
            client.recv(65536)
        grown = rss_kb(pid) - before
        cpu = cpu_s([pid])
        time.sleep(5)
        used = (cpu_s([pid]) - cpu) / 5
        print(f"dynod-router {count} idle keep-alive connections: {grown / count:.1f} KB each, {used:.1%} of a core")
        figures.add(f"router idle, {count} connections", "dynod-router", "memory", "KB each", grown / count)
        figures.add(f"router idle, {count} connections", "dynod-router", "cpu", "% of a core", 100 * used)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--idle", type=int, default=10000)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="append the figures to this file")
    given = parser.parse_args()
    figures = Figures()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    given.idle = min(given.idle, hard - 1000)  # one descriptor each in the router, one here
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as text, socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        folder = Path(text)
        folder.chmod(0o755)
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        backend = listener.getsockname()[1]
        for number in range(given.rounds):
            port = free_port()
            # By itself the router takes half as many clients as it has descriptors: a request under way needs two.
            (folder / "router.toml").write_text(f"max_connections = {given.idle + 500}\n")
            command = [*router_command(folder, port, backend), "--config", str(folder / "router.toml")]
            with running(command, port, folder / "router.out") as pid:
                bulk("dynod-router", port, pid, given.megabytes, figures)
                if number == 0:
                    idle(port, pid, given.idle, figures)
            port = free_port()
            with running(nginx_command(folder, port, backend), port, folder / "nginx.out") as pid:
                bulk("nginx", port, pid, given.megabytes, figures)
    figures.append_to(given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
