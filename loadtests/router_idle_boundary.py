"""POSTs at the moment when the dyno closes its idle connections: how many fail, of 100,000.

    python -m loadtests.router_idle_boundary [--count 100000] [--idle-ms 30]

The dyno closes a connection that has been idle for `--idle-ms`; 64 clients on kept connections each ask again a random
-5 … +3 ms around that. A POST is never sent twice, so every connection that the dyno closes under one is a failed
request unless the router avoids it (contracts.md section 8: age, what the dyno was seen doing, a look at the socket).

The dyno is a process of its own: in one loop with the router it would decide to close long before the close is seen.
One that was stopped, on a machine that is busy with other things, finds its timer due before it has read what waits for
it, however young the router knew the connection to be. So stops of either loop of more than half the limit are counted,
and each failure is told with its time since the start and the router's longest stop in the second before it.
"""

import argparse
import asyncio
import random
import signal
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence

import uvloop

from router import AppCondition, Backend, RequestRecord, Router, RouterSettings

REQUEST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLIENTS = 64
LOOK_S = 0.005


class Dyno(asyncio.Protocol):
    """Answers POSTs, closes what is idle for too long."""

    def __init__(self, idle_s: float, closed: list[int]) -> None:
        self.idle_s = idle_s
        self.closed = closed
        self.transport: asyncio.Transport
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream transport

    def data_received(self, data: bytes) -> None:
        if not data.endswith(b"body"):
            return
        self.transport.write(ANSWER)
        if self.timer is not None:
            self.timer.cancel()
        self.timer = asyncio.get_running_loop().call_later(self.idle_s, self.close)

    def close(self) -> None:
        self.closed[0] += 1
        self.transport.close()


class Stalls:
    """Stops of the loop, looked for every few milliseconds."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.count = 0
        self.longest = 0.0
        self.last_second: deque[float] = deque([0.0], maxlen=int(1 / LOOK_S))

    async def watch(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(LOOK_S)
            stall = time.perf_counter() - before - LOOK_S
            self.count += stall > self.limit_s
            self.longest = max(self.longest, stall)
            self.last_second.append(stall)


async def client(
    port: int, count: int, idle_s: float, *, rng: random.Random, seen: Counter[bytes], stalls: Stalls, started: float
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        status = head.split(b" ")[1]
        seen[status] += 1
        if status != b"200":
            print(
                f"{status.decode()} {time.monotonic() - started:.2f} s after the start, "
                f"after a stop of {max(stalls.last_second) * 1000:.0f} ms"
            )
        if b"Content-Length: 2\r\n" not in head:
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            await reader.readexactly(length)
        else:
            await reader.readexactly(2)
        await asyncio.sleep(idle_s + rng.uniform(-0.005, 0.003))
    writer.close()


async def serve(idle_s: float) -> int:
    """The dyno: says its port, and at SIGTERM how many idle connections it has closed."""
    loop = asyncio.get_running_loop()
    closed = [0]
    server = await loop.create_server(lambda: Dyno(idle_s, closed), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    stalls = Stalls(idle_s / 2)
    watch = asyncio.ensure_future(stalls.watch())
    await stop.wait()
    watch.cancel()
    print(f"{closed[0]} idle connections, stopped {stalls.count} times, at most {stalls.longest * 1000:.0f} ms")
    return 0


async def run(count: int, idle_s: float) -> int:
    records: Counter[str] = Counter()

    def on_records(batch: Sequence[RequestRecord]) -> None:
        for record in batch:
            records[f"{record.status} {record.code or ''}"] += 1
            records["attempts"] += record.attempts

    dyno = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtests.router_idle_boundary", "--dyno", "--idle-ms", str(idle_s * 1000)),
        stdout=asyncio.subprocess.PIPE,
    )
    if dyno.stdout is None:
        raise RuntimeError("no pipe from the dyno")
    dyno_port = int(await dyno.stdout.readline())
    router = Router(RouterSettings(), on_records=on_records)
    router.set_app("demo", condition=AppCondition.SERVING)
    router.set_default_app("demo")
    router.add_backend("demo", Backend(id="b", label="web.1", host="127.0.0.1", port=dyno_port))
    started = time.monotonic()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as sock:
        await router.start([sock])
        seen: Counter[bytes] = Counter()
        rng = random.Random(1)
        each = count // CLIENTS
        stalls = Stalls(idle_s / 2)
        watch = asyncio.ensure_future(stalls.watch())
        port = sock.getsockname()[1]
        asking = [
            client(port, each, idle_s, rng=rng, seen=seen, stalls=stalls, started=started) for _ in range(CLIENTS)
        ]
        await asyncio.gather(*asking)
        watch.cancel()
        await router.shutdown(drain_timeout_s=5)
    dyno.terminate()
    said = (await dyno.stdout.read()).decode().strip()
    await dyno.wait()
    failed = sum(seen.values()) - seen[b"200"]
    print(
        f"{sum(seen.values())} POSTs at an idle limit of {idle_s * 1000:.0f} ms in {time.monotonic() - started:.0f} s: "
        f"{failed} failed; {dict(records)}; the dyno closed {said}; the router was stopped for more than "
        f"{idle_s * 500:.0f} ms {stalls.count} times, at most {stalls.longest * 1000:.0f} ms"
    )
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_032, help="a multiple of 64")
    parser.add_argument("--idle-ms", type=float, default=30)
    parser.add_argument("--dyno", action="store_true", help="be the dyno")
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(given.idle_ms / 1000) if given.dyno else run(given.count, given.idle_ms / 1000))


if __name__ == "__main__":
    sys.exit(main())
