"""The router in scenes of real life, beside nginx in the same run: many dynos, failing ones, slow clients, and more.

    python -m loadtests.router_scenes [SCENE ...] [--rounds 3] [--seconds 3] [--json FILE]

dynos       100 web dynos behind one router
failing     a fifth of ten dynos refuses connections: requests that failed, and what the others' cost
slow        300 clients that send a byte of a head every second, while 32 others are served
websockets  1,000 clients, each of which sends 200 bytes and waits for the echo, over and over
uploads     32 clients, each of which sends bodies of 1 MB, over and over
flood       `dynod up` whose worker writes as many lines as it can while its web dyno is asked: with, and without

Rates are the client's own on a machine of two cores, where it takes most of one: CPU of the proxy by work done, by the
operating system's account, is what compares. A closed loop (wrk, and the clients here) does not feel what it would have
sent during a stall; for latency at fixed rates see `router_latency`.
"""

import argparse
import asyncio
import contextlib
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import uvloop

from loadtests.measured import Figures
from loadtests.router_cpu import (
    ANSWER_FIELDS,
    cpu_s,
    family,
    free_port,
    load,
    nginx,
    running,
    wait_for,
)

DYNOS = 100
FEW = 10
FAILING = 2
SLOW = 300
SOCKETS = 1000
UPLOADERS = 32
MEGABYTE = b"x" * (1 << 20)
MESSAGE = b"\x82\xfe\x00\xc8" + bytes(4) + bytes(200)  # a masked binary frame; masked with zeros
UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
PROXIES = ("dynod-router", "nginx")


class Round(NamedTuple):
    """Where a scene works, for how long, and where its figures go."""

    folder: Path
    seconds: float
    figures: Figures

    def add(self, scene: str, name: str, **figures: tuple[float, str]) -> None:
        for measure, (value, unit) in figures.items():
            self.figures.add(scene, name, measure.replace("_", " "), unit, value)


# --- contestants ------------------------------------------------------------------------------------------------------


def proxy_command(name: str, folder: Path, port: int, backends: Sequence[int]) -> list[str]:
    """A proxy in front of so many backends; both say what they did in an access log."""
    if name == "dynod-router":
        (folder / "router.toml").write_text("max_connections = 8000\n")
        command = [sys.executable, "-m", "router", "--listen", f"127.0.0.1:{port}"]
        for backend in backends:
            command += ["--backend", f"127.0.0.1:{backend}"]
        return [*command, "--access-log", str(folder / "router.access"), "--config", str(folder / "router.toml")]
    servers = " ".join(f"server 127.0.0.1:{backend};" for backend in backends)
    server = f"""
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream back {{ random two least_conn; {servers} keepalive 256; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:PORT backlog=4096; client_max_body_size 0;
    location / {{ proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      proxy_request_buffering off; proxy_buffering off; proxy_set_header X-Request-Id $request_id;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}"""
    return nginx(folder, "proxy", port, server, log=True)


@contextlib.contextmanager
def proxied(name: str, folder: Path, backends: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Port and pid of a running proxy."""
    port = free_port()
    with running(proxy_command(name, folder, port, backends), port, folder / f"{name}.out") as pid:
        yield port, pid


@contextlib.contextmanager
def answering(folder: Path, count: int) -> Iterator[list[int]]:
    """So many backends, which are one nginx on as many ports."""
    ports = sorted({free_port() for _ in range(count * 2)})[:count]
    listens = " ".join(f"listen 127.0.0.1:{port} backlog=4096;" for port in ports)
    answer = f'{ANSWER_FIELDS} return 200 "Hello from the backend, ok";'
    command = nginx(folder, "backend", ports[0], f"server {{ {listens} location / {{ {answer} }} }}", log=False)
    with running(command, ports[0], folder / "backend.out"):
        yield ports


# --- scenes that wrk loads --------------------------------------------------------------------------------------------


def wrk(scene: str, name: str, at: tuple[int, int], given: Round) -> None:
    """Throughput, p99, CPU a request and failures of the proxy of this port and pid."""
    port, pid = at
    load(port, "varied", 1, 32, given.folder)
    pids = family(pid)
    before = cpu_s(pids)
    requests, rate, _p50, p99, failed = load(port, "varied", given.seconds, 32, given.folder)
    used = (cpu_s(pids) - before) / requests * 1e6
    given.add(
        scene,
        name,
        cpu=(used, "µs/request"),
        throughput=(rate, "requests/s"),
        p99=(p99, "ms"),
        failed=(failed, "requests"),
    )


def dynos(given: Round) -> None:
    with answering(given.folder, DYNOS) as backends:
        for name in PROXIES:
            with proxied(name, given.folder, backends) as at:
                wrk(f"router, {DYNOS} dynos", name, at, given)


def failing(given: Round) -> None:
    with answering(given.folder, FEW) as backends, contextlib.ExitStack() as stack:
        # bound and not listening: nobody else gets the port, and a connection to it is refused
        broken = [stack.enter_context(socket.socket()) for _ in range(FAILING)]
        for each in broken:
            each.bind(("127.0.0.1", 0))
        mixed = [*backends[FAILING:], *(each.getsockname()[1] for each in broken)]
        for name in PROXIES:
            with proxied(name, given.folder, mixed) as at:
                wrk("router, a fifth of the dynos failing", name, at, given)


def slow(given: Round) -> None:
    with answering(given.folder, 1) as backends:
        for name in PROXIES:
            with proxied(name, given.folder, backends) as at, dribbling(at[0]):
                wrk(f"router, {SLOW} slow clients", name, at, given)


@contextlib.contextmanager
def dribbling(port: int) -> Iterator[None]:
    """Clients in a process of their own, that send a head byte by byte, one a second, until they are killed."""
    code = (
        "import socket,sys,time\n"
        f"all=[socket.create_connection(('127.0.0.1',{port})) for _ in range({SLOW})]\n"
        "[s.sendall(b'GET / HTTP/1.1\\r\\nHost: a\\r\\nX: ') for s in all]\n"
        "print('there',flush=True)\n"
        "while True:\n"
        " time.sleep(1)\n"
        " for s in all:\n"
        "  try: s.sendall(b'x')\n"
        "  except OSError: pass\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()


# --- scenes with clients of our own -----------------------------------------------------------------------------------


class Echo(asyncio.Protocol):
    """A backend that becomes a tunnel and sends back what comes; a POST's body it counts and answers."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = -1  # bytes of a body; -1: a head is expected; -2: a tunnel
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        if self._left == -2:
            self._transport.write(data)
            return
        if self._left >= 0:
            self._body(len(data))
            return
        self._head += data
        head, found, rest = bytes(self._head).partition(b"\r\n\r\n")
        if not found:
            return
        self._head.clear()
        if b"pgrade: websocket" in head:
            self._left = -2
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
            )
            return
        self._left = int(head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r")[0])
        self._body(len(rest))

    def _body(self, count: int) -> None:
        self._left -= count
        if self._left <= 0:
            self._left = -1
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def echo() -> None:
    """The backend as a process: prints its port, then serves."""

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=4096)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    uvloop.run(serve())


@contextlib.contextmanager
def echoing() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-m", "loadtests.router_scenes", "--echo"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def connections(port: int, count: int) -> AsyncIterator[list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    try:
        yield opened
    finally:
        for _reader, writer in opened:
            writer.close()


async def talk(port: int, seconds: float, pids: Sequence[int]) -> tuple[int, float, float]:
    """Messages echoed to a thousand WebSocket clients, their p99 in ms, and CPU seconds of `pids` meanwhile."""
    took: list[float] = []

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, until: float) -> None:
        await asyncio.sleep(random.random())
        while (began := time.perf_counter()) < until:
            writer.write(MESSAGE)
            await reader.readexactly(len(MESSAGE))
            took.append(time.perf_counter() - began)

    async with connections(port, SOCKETS) as opened:
        for reader, writer in opened:
            writer.write(
                b"GET /socket HTTP/1.1\r\nHost: a\r\n"
                + UPGRADE
                + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            if b" 101 " not in (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0]:
                raise SystemExit("no tunnel")
        before = cpu_s(pids)
        until = time.perf_counter() + seconds + 1
        await asyncio.gather(*(client(reader, writer, until) for reader, writer in opened))
        return len(took), sorted(took)[int(len(took) * 0.99)] * 1000, cpu_s(pids) - before


async def upload(port: int, seconds: float) -> int:
    """Megabytes taken."""
    taken = 0
    until = time.perf_counter() + seconds
    head = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(MEGABYTE)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        while time.perf_counter() < until:
            writer.write(head)
            writer.write(MEGABYTE)
            await writer.drain()
            if not (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200"):
                raise SystemExit("an upload was not taken")
            taken += 1

    async with connections(port, UPLOADERS) as opened:
        await asyncio.gather(*(client(reader, writer) for reader, writer in opened))
    return taken


def websockets(given: Round) -> None:
    with echoing() as backend:
        for name in PROXIES:
            with proxied(name, given.folder, [backend]) as (port, pid):
                pids = family(pid)
                rss = rss_kb(pids[-1])
                count, p99, used = uvloop.run(talk(port, given.seconds, pids))
                given.add(
                    f"router, {SOCKETS} websockets",
                    name,
                    cpu=(used / count * 1e6, "µs/message"),
                    throughput=(count / (given.seconds + 1), "messages/s"),
                    p99=(p99, "ms"),
                    memory_grown=((rss_kb(pids[-1]) - rss) / SOCKETS, "KB each"),
                )


def uploads(given: Round) -> None:
    with echoing() as backend:
        for name in PROXIES:
            with proxied(name, given.folder, [backend]) as (port, pid):
                pids = family(pid)
                before, began = cpu_s(pids), time.perf_counter()
                count = uvloop.run(upload(port, given.seconds))
                rate, used = count / (time.perf_counter() - began), (cpu_s(pids) - before) / count * 1e6
                given.add(f"router, {UPLOADERS} uploads of 1 MB", name, cpu=(used, "µs/MB"), throughput=(rate, "MB/s"))


def rss_kb(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])


# --- the whole of dynod -----------------------------------------------------------------------------------------------


def flood(given: Round) -> None:
    """What a dyno that floods the log costs those who ask another one."""
    root = Path(__file__).parent.parent
    for name, workers in (("quiet", 0), ("with a flood of lines", 1)):
        app = given.folder / f"flood-{workers}"
        app.mkdir()
        flooding = root / "loadtests" / "peers" / "flooding_dyno.py"
        backend = f"{sys.executable} -m loadtests.router_scenes --answer"
        (app / "Procfile").write_text(f"web: cd {root} && {backend}\nworker: {sys.executable} {flooding} 1000000000\n")
        port = free_port()
        command = [sys.executable, "-P", "-m", "dynod", "up", "-C", str(app), "-p", f"127.0.0.1:{port}"]
        with Path(os.devnull).open("w") as nowhere:
            up = subprocess.Popen([*command, "web=1", f"worker={workers}"], stdout=nowhere, stderr=nowhere, cwd=root)
            try:
                wait_for(port)
                answered(port)
                # One request at a time: with two cores, more would measure the queue for them.
                load(port, "same", 1, 1, given.folder)
                _requests, rate, p50, p99, failed = load(port, "same", given.seconds, 1, given.folder)
            finally:
                up.send_signal(signal.SIGTERM)
                up.wait()
        given.add(
            "requests beside a log flood",
            name,
            throughput=(rate, "requests/s"),
            p50=(p50, "ms"),
            p99=(p99, "ms"),
            failed=(failed, "requests"),
        )


def answered(port: int, host: str = "a") -> None:
    """Wait until a dyno is up behind this port."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            if client.recv(100).startswith(b"HTTP/1.1 200"):
                return
        time.sleep(0.05)
    raise SystemExit("no dyno came up")


def answer() -> None:
    """A web dyno that says ok."""

    class Ok(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

        def data_received(self, data: bytes) -> None:
            for _ in range(data.count(b"\r\n\r\n")):
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Ok, "127.0.0.1", int(os.environ["PORT"]))
        await server.serve_forever()

    uvloop.run(serve())


# --- running and reporting --------------------------------------------------------------------------------------------

SCENES: dict[str, Callable[[Round], None]] = {
    each.__name__: each for each in (dynos, failing, slow, websockets, uploads, flood)
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", nargs="*", choices=[[], *SCENES])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--json", type=Path, help="append the figures to this file")
    parser.add_argument("--echo", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.echo or given.answer:
        (echo if given.echo else answer)()
        return 0
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    figures = Figures()
    for _ in range(given.rounds):
        for name in given.scene or SCENES:
            with tempfile.TemporaryDirectory(prefix="router-scene-") as text:
                folder = Path(text)
                folder.chmod(0o755)
                SCENES[name](Round(folder, given.seconds, figures))
    figures.show()
    figures.append_to(given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
