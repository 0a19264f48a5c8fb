"""Latency at fixed rates: dynod-router beside nginx, HAProxy and no proxy at all, on one backend, in one run.

    python -m loadtests.router_latency [--rate 2000 --rate 5000] [--seconds 4] [--rounds 3] [--proxy NAME] [--json FILE]

Open loop: requests leave when they are due, whether or not answers have come (a free connection is taken, or one more
is made), and a request's latency counts from when it was due. So a stall of 50 ms is felt by every request that was due
in it, where a closed loop such as wrk's would have sent one and waited ("coordinated omission"). What the generator
itself adds is in the row `no proxy`, and taken off in the column `added`: the p99 less that of no proxy, both of their
quietest round, since on a machine with other work a p99 is that of the scheduler in most rounds.
"""

import argparse
import contextlib
import os
import platform
import select
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loadtests.measured import Figures
from loadtests.router_cpu import (
    ANSWER_FIELDS,
    HERE,
    REQUEST_FIELDS,
    free_port,
    haproxy_command,
    nginx,
    nginx_command,
    pure_command,
    router_command,
    running,
    version,
)

NO_PROXY = "no proxy"
PROXIES: dict[str, Callable[[Path, int, int], list[str]]] = {
    "nginx": nginx_command,
    "haproxy": haproxy_command,
    "dynod-router": router_command,
    "dynod-router in plain Python": pure_command,
}
LARGE = 100_000
MOST_CONNECTIONS = 400
PERCENTILES = (0.5, 0.9, 0.99, 0.999)
FIELDS = b"".join(f"{name}: {value}\r\n".encode() for name, value in REQUEST_FIELDS.items() if name != "Cookie")


@dataclass(slots=True)
class Connection:
    """One keep-alive connection; `due` is when its request should have left."""

    sock: socket.socket
    due: float = 0.0
    left: int = -1  # bytes of the answer still to come; -1: its head is not whole
    got: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One proxy at one rate, once. Percentiles in ms."""

    percentiles: tuple[float, ...]
    sent: int
    failed: int
    connections: int
    late_ms: float  # the longest that the generator itself was behind


class Generator:
    """Sends to one port at one rate."""

    def __init__(self, port: int, path: str) -> None:
        self.port = port
        self.path = path.encode()
        self.free: list[Connection] = []
        self.busy: dict[int, Connection] = {}
        self.made = 0
        self.failed = 0
        self.number = 0
        self.latencies: list[float] = []

    def connect(self) -> Connection:
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self.made += 1
        return Connection(sock)

    def run(self, rate: float, seconds: float) -> float:
        """Send for so long, then wait for what is out; returns how far it was behind at most, in seconds."""
        clock, interval = time.perf_counter, 1.0 / rate
        start = due = clock()
        end, late = start + seconds, 0.0
        while due < end or self.busy:
            now = clock()
            if now > end + 5.0:
                self.failed += len(self.busy)
                break
            while due <= now and due < end:
                late = max(late, now - due)
                self.send(due)
                due += interval
            wait = max(0.0, due - clock()) if due < end else 0.1
            readable, _, _ = select.select(list(self.busy), [], [], wait)
            for number in readable:
                self.receive(self.busy[number])
        return late

    def send(self, due: float) -> None:
        if self.free:
            connection = self.free.pop()
        elif self.made < MOST_CONNECTIONS:
            connection = self.connect()
        else:
            self.failed += 1
            return
        self.number += 1
        connection.due, connection.left, connection.got = due, -1, b""
        head = b"GET %b?n=%d HTTP/1.1\r\n%bCookie: s=0123456789abcdef; n=%d\r\n\r\n"
        connection.sock.send(head % (self.path, self.number, FIELDS, self.number))
        self.busy[connection.sock.fileno()] = connection

    def receive(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(262144)
        except BlockingIOError:
            return
        if connection.left < 0:
            connection.got += data
            head, found, rest = connection.got.partition(b"\r\n\r\n")
            if found:
                status = head[9:12]
                length = int(head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r")[0])
                connection.left = length - len(rest)
                self.failed += status != b"200"
        else:
            connection.left -= len(data)
        if connection.left == 0:
            self.latencies.append(time.perf_counter() - connection.due)
            del self.busy[connection.sock.fileno()]
            self.free.append(connection)
        elif not data:
            self.failed += 1
            del self.busy[connection.sock.fileno()]
            connection.sock.close()

    def close(self) -> None:
        for connection in (*self.free, *self.busy.values()):
            connection.sock.close()


def backend_command(folder: Path, port: int) -> list[str]:
    (folder / "large").write_bytes(os.urandom(LARGE // 2).hex().encode())
    server = f"""
  server {{ listen 127.0.0.1:PORT backlog=4096; default_type text/plain; root {folder};
    location / {{ {ANSWER_FIELDS} add_header ETag $request_id; return 200 "Hello from the backend, ok"; }}
    location /large {{ {ANSWER_FIELDS} }} }}"""
    return nginx(folder, "backend", port, server, log=False)


def one_round(port: int, path: str, rate: float, seconds: float) -> Round:
    warm = Generator(port, path)
    warm.run(min(rate, 500.0), 0.5)
    warm.close()
    generator = Generator(port, path)
    late = generator.run(rate, seconds)
    generator.close()
    ordered = sorted(generator.latencies)
    return Round(
        percentiles=tuple(ordered[min(len(ordered) - 1, int(len(ordered) * p))] * 1000.0 for p in PERCENTILES),
        sent=generator.number,
        failed=generator.failed,
        connections=generator.made,
        late_ms=late * 1000.0,
    )


def report(found: dict[tuple[str, float, str], list[Round]]) -> str:
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.machine()}, {os.cpu_count()} cores",
        f"Linux {platform.release()}",
        f"Python {platform.python_version()}; {version('nginx', '-v')}; {version('haproxy', '-v')}",
        "Latency in ms from when a request was due; median of the rounds, in brackets the lowest and highest p99.",
        "",
        "| answer | rate/s | proxy | p50 | p90 | p99 | p99.9 | added p99 | of HAProxy's | failed | late ms |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (path, rate, name), rounds in found.items():
        middle = [statistics.median(r.percentiles[i] for r in rounds) for i in range(len(PERCENTILES))]
        p99 = [r.percentiles[2] for r in rounds]

        def added(of: str, path: str = path, rate: float = rate) -> float:
            bare = min(r.percentiles[2] for r in found[path, rate, NO_PROXY])
            return min(r.percentiles[2] for r in found[path, rate, of]) - bare

        mine = added(name)
        others = added("haproxy") if (path, rate, "haproxy") in found and name != NO_PROXY else 0.0
        ratio = f"{mine / others:.2f}" if others > 0 else ""
        size = "100 KB" if path == "/large" else "26 B"
        lines.append(
            f"| {size} | {rate:.0f} | {name} | {middle[0]:.2f} | {middle[1]:.2f} | {middle[2]:.2f} "
            f"({min(p99):.2f}-{max(p99):.2f}) | {middle[3]:.2f} | {mine:.2f} | {ratio} "
            f"| {sum(r.failed for r in rounds)} | {max(r.late_ms for r in rounds):.1f} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, action="append")
    parser.add_argument("--large-rate", type=float, action="append")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--proxy", action="append", choices=list(PROXIES))
    parser.add_argument("--save", action="store_true", help="keep the report in loadtests/results/")
    parser.add_argument("--json", type=Path, help="append the figures to this file")
    given = parser.parse_args(argv)
    plan = [("/", rate) for rate in given.rate or (2000, 5000)]
    plan += [("/large", rate) for rate in given.large_rate or (1000,)]
    found: dict[tuple[str, float, str], list[Round]] = {}
    with tempfile.TemporaryDirectory(prefix="router-latency-") as text, contextlib.ExitStack() as stack:
        folder = Path(text)
        folder.chmod(0o755)
        backend = free_port()
        stack.enter_context(running(backend_command(folder, backend), backend, folder / "backend.out"))
        ports = {NO_PROXY: backend}
        for name in given.proxy or PROXIES:
            port = ports[name] = free_port()
            own = folder / name.replace(" ", "-")
            own.mkdir()
            own.chmod(0o755)
            stack.enter_context(running(PROXIES[name](own, port, backend), port, folder / f"{name}.out"))
        for _ in range(given.rounds):
            for path, rate in plan:
                for name, port in ports.items():
                    found.setdefault((path, rate, name), []).append(one_round(port, path, rate, given.seconds))
    text = report(found)
    print(text)
    figures = Figures()
    for (path, rate, name), rounds in found.items():
        scenario = f"router latency, {'100 KB' if path == '/large' else '26 B'} at {rate:.0f}/s"
        for each in rounds:
            for percentile, value in zip(("p50", "p90", "p99", "p99.9"), each.percentiles, strict=True):
                figures.add(scenario, name, percentile, "ms", value)
            figures.add(scenario, name, "failed", "requests", each.failed)
    figures.append_to(given.json)
    if given.save:
        file = HERE / "results" / f"{datetime.now(UTC):%Y-%m-%d-%H%M}-router-latency.md"
        file.write_text("# Router: latency at fixed rates\n\n" + text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
