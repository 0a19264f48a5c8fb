"""What the router's own code costs per request, without sockets: both connections on transports that only count.

    python loadtests/router_micro.py [--profile]

Prints µs for a request that comes again on its connection (`same`), for one whose fields and answer are new (`varied`),
and for the single steps that comments in the hot path give numbers for.
"""

import argparse
import asyncio
import cProfile
import pstats
import sys
import time
from collections.abc import Callable, Sequence

import uvloop

from router import AppCondition, Backend, Router, RouterSettings, record_lines
from router.backend_link import BackendLink
from router.client_connection import ClientConnection
from router.core.request_record import RequestRecord
from router.head_values import HeadLimits

FIELDS = (
    b"Host: www.example.test\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nReferer: http://www.example.test/\r\n"
    b"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nSec-Fetch-Dest: document\r\n"
    b"Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\nPriority: u=0, i\r\nConnection: keep-alive\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 15:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 26\r\nConnection: keep-alive\r\nX-Frame-Options: DENY\r\nX-Content-Type-Options: nosniff\r\n"
    b"Referrer-Policy: same-origin\r\nVary: Cookie\r\nCache-Control: no-store\r\n"
    b"ETag: %d\r\n\r\nHello from the backend, ok"
)


class FakeTransport(asyncio.Transport):
    """Takes everything, sends nothing."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 40000)})
        self.written = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += len(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


def timed(call: Callable[[], object], count: int) -> float:
    """µs per call, the best of five runs."""
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        for _ in range(count):
            call()
        best = min(best, time.process_time() - started)
    return best / count * 1e6


class Pair:
    """A client connection with one idle backend connection, ready for a request."""

    def __init__(self, on_records: Callable[[Sequence[RequestRecord]], None]) -> None:
        self.router = Router(RouterSettings(idle_reuse_s=1e9), on_records=on_records)
        self.router.set_app("demo", condition=AppCondition.SERVING)
        self.router.set_default_app("demo")
        self.router.add_backend("demo", Backend(id="b", label="web.1", host="127.0.0.1", port=1))
        context = self.router._ready()  # noqa: SLF001  # the shell is built by hand, without sockets
        app = self.router._app("demo")  # noqa: SLF001  # as above
        limits = HeadLimits(request_line=8192, line=524288, fields=1000)
        entry = app.pool.entries()[0]
        self.link = BackendLink(
            entry,
            app.idle,
            limits=limits,
            via=b"dynod",
            date=self.router._http_date,  # noqa: SLF001  # as above
        )
        self.link.connection_made(FakeTransport())
        app.keep(self.link)
        self.client = ClientConnection(context, port=b"80", scheme=b"http")
        self.client.connection_made(FakeTransport())
        self.number = 0

    def same(self) -> None:
        self.client.data_received(SAME_REQUEST)
        self.link.data_received(SAME_ANSWER)

    def varied(self) -> None:
        self.number += 1
        self.client.data_received(b"GET /items/%d HTTP/1.1\r\nX-N: %d\r\n%b\r\n" % (self.number, self.number, FIELDS))
        self.link.data_received(ANSWER % self.number)


SAME_REQUEST = b"GET / HTTP/1.1\r\n" + FIELDS + b"\r\n"
SAME_ANSWER = ANSWER % 1


async def run(profile: bool) -> None:
    lines = 0

    def on_records(records: Sequence[RequestRecord]) -> None:
        nonlocal lines
        lines += len(record_lines.lines(records)) > 0

    pair = Pair(on_records)
    for name in ("same", "varied"):
        call = getattr(pair, name)
        print(f"{name}: {timed(call, 20000):.2f} µs a request (head, claim, relay, record, log line)")
        if profile:
            profiler = cProfile.Profile()
            profiler.enable()
            for _ in range(20000):
                call()
            profiler.disable()
            pstats.Stats(profiler).sort_stats("tottime").print_stats(18)
    await pair.router.shutdown(drain_timeout_s=0)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(given.profile))
    return 0


if __name__ == "__main__":
    sys.exit(main())
