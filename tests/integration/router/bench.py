"""The raw-socket bench: a router, a scripted backend that records exact bytes, and a client that sends exact bytes.

All three live on one uvloop. Nothing here sleeps: tests wait for bytes, for a connection's end, for a record. A
limit of ten seconds on every wait exists only to fail.
"""

import asyncio
import contextlib
import itertools
import os
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, ParamSpec, Self

import uvloop

from router import AppCondition, Backend, RequestRecord, Router, RouterSettings

LIMIT_S = 10.0
APP = "demo"
P = ParamSpec("P")


def on_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on a fresh uvloop."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*args, **kwargs))

    return run


class Wire:
    """One end of a TCP connection, as bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.got = b""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), LIMIT_S)

    async def send_split(self, data: bytes, *cuts: int) -> None:
        """Send in pieces, each in a TCP segment of its own that the other side's loop has had the time to read."""
        start = 0
        for cut in (*cuts, len(data)):
            if cut > start:
                self.writer.write(data[start:cut])
                await self.writer.drain()
                for _ in range(6):
                    await asyncio.sleep(0)
            start = cut

    async def until(self, mark: bytes) -> bytes:
        try:
            data = await asyncio.wait_for(self.reader.readuntil(mark), LIMIT_S)
        except asyncio.IncompleteReadError as error:
            raise AssertionError(f"connection ended after {error.partial!r}, before {mark!r}") from error
        self.got += data
        return data

    async def head(self) -> bytes:
        return await self.until(b"\r\n\r\n")

    async def exactly(self, count: int) -> bytes:
        try:
            data = await asyncio.wait_for(self.reader.readexactly(count), LIMIT_S)
        except asyncio.IncompleteReadError as error:
            raise AssertionError(f"connection ended after {error.partial!r}, {count} bytes expected") from error
        self.got += data
        return data

    async def rest(self) -> bytes:
        """Everything until the other side ends."""
        data = await asyncio.wait_for(self.reader.read(), LIMIT_S)
        self.got += data
        return data

    async def ended(self) -> str:
        """Wait for the end; `"eof"` or `"reset"`. Bytes before it are in `got`."""
        try:
            await self.rest()
        except ConnectionError:
            return "reset"
        return "eof"

    async def answer(self, *, head_only: bool = False) -> "Answer":
        """One answer, by a parser of the bench's own: readable, and knowing nothing of the router's."""
        head = await self.head()
        lines = head[:-4].decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        fields = [(name.lower(), value.strip(" ")) for name, _, value in (line.partition(":") for line in lines[1:])]
        by_name = dict(fields)
        if head_only or status < 200 or status in (204, 304):
            body = b""
        elif by_name.get("transfer-encoding") == "chunked":
            body = await self._chunks()
        elif "content-length" in by_name:
            body = await self.exactly(int(by_name["content-length"]))
        else:
            body = await self.rest()
        return Answer(status=status, head=head, fields=fields, body=body)

    async def _chunks(self) -> bytes:
        body = b""
        while True:
            size = int(await self.until(b"\r\n"), 16)
            if size == 0:
                while await self.until(b"\r\n") != b"\r\n":
                    pass
                return body
            body += await self.exactly(size)
            assert await self.exactly(2) == b"\r\n"

    def end(self) -> None:
        """Say that nothing more comes, and go on reading."""
        self.writer.write_eof()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    head: bytes
    fields: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str | None:
        values = [value for key, value in self.fields if key == name]
        assert len(values) <= 1, f"{name} comes {len(values)} times"
        return values[0] if values else None


Script = Callable[[Wire], Awaitable[None]]


class ScriptedBackend:
    """A backend that runs `script` for each connection and keeps every byte it was sent."""

    def __init__(self, script: Script, label: str = "web.1") -> None:
        self.script = script
        self.label = label
        self.wires: list[Wire] = []
        self.port = 0
        self.faults: list[BaseException] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for wire in self.wires:
            wire.writer.transport.abort()
        assert not self.faults, self.faults

    @property
    def backend(self) -> Backend:
        return Backend(id=f"id-{self.label}-{self.port}", label=self.label, host="127.0.0.1", port=self.port)

    async def connections(self, count: int) -> None:
        """Wait until that many connections have been made."""
        async with self._arrived:
            await asyncio.wait_for(self._arrived.wait_for(lambda: len(self.wires) >= count), LIMIT_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        wire = Wire(reader, writer)
        self.wires.append(wire)
        async with self._arrived:
            self._arrived.notify_all()
        try:
            await self.script(wire)
        except (ConnectionError, asyncio.CancelledError):
            pass
        except AssertionError as error:
            if "connection ended after b''" not in str(error):
                self.faults.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()


def answering(answer: bytes, *, body: int = 0) -> Script:
    """A script that gives the same answer to every request of `body` bytes, on a kept connection."""

    async def script(wire: Wire) -> None:
        while True:
            await wire.head()
            if body:
                await wire.exactly(body)
            await wire.send(answer)

    return script


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET / HTTP/1.1\r\nHost: demo.test\r\n\r\n"

FAST = RouterSettings(
    connect_timeout_s=5.0,
    keepalive_timeout_s=9.0,
    trusted_keepalive_timeout_s=9.0,
    linger_s=0.2,
    slow_start_s=0.0,
)


@dataclass
class Bench:
    """A running router and what it has said."""

    router: Router
    port: int
    records: list[RequestRecord]
    _news: asyncio.Condition
    _wires: list[Wire] = field(default_factory=list)

    async def client(self) -> Wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 26)
        wire = Wire(reader, writer)
        self._wires.append(wire)
        return wire

    async def ask(self, request: bytes = GET, *, head_only: bool = False) -> Answer:
        """One request on a connection of its own."""
        wire = await self.client()
        await wire.send(request)
        answer = await wire.answer(head_only=head_only)
        wire.close()
        return answer

    async def record(self, count: int = 1) -> RequestRecord:
        """Wait until `count` requests have ended; the last of them."""
        await asyncio.wait_for(self._until(count), LIMIT_S)
        assert len(self.records) == count, [(record.path, record.code, record.status) for record in self.records]
        return self.records[-1]

    async def _until(self, count: int) -> None:
        async with self._news:
            await self._news.wait_for(lambda: len(self.records) >= count)

    def nothing_left(self) -> None:
        """No claim, waiting request or tunnel is left."""
        assert not any(self.router.in_flight(APP).values()), self.router.in_flight(APP)
        assert not any(self.router.tunnels(APP).values())
        assert self.router.queued(APP) == 0

    def every_record_is_counted(self) -> None:
        """The metrics have each request once, under its app, dyno, status and code."""
        counted = {
            (sample.labels["app"], sample.labels["dyno"], sample.labels["status"], sample.labels["code"]): sample.value
            for family in self.router.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "dynod_router_requests_total"
        }
        said = Counter(
            (
                record.app,
                record.dyno.decode(),
                f"{record.status // 100}xx" if record.status else "",
                record.code.value if record.code else "",
            )
            for record in self.records
        )
        assert counted == said, (counted, said)


@contextlib.asynccontextmanager
async def bench(
    *backends: ScriptedBackend | Backend,
    condition: AppCondition = AppCondition.SERVING,
    settings: RouterSettings = FAST,
    on_overdue: Callable[[RequestRecord, float], None] | None = None,
    **changes: Any,
) -> AsyncIterator[Bench]:
    """A router with one app, reached by any Host, on a loopback port; ended and looked over afterwards."""
    records: list[RequestRecord] = []
    news = asyncio.Condition()
    told: set[asyncio.Task[None]] = set()

    async def tell() -> None:
        async with news:
            news.notify_all()

    def on_records(batch: Sequence[RequestRecord]) -> None:
        records.extend(batch)
        task = asyncio.get_running_loop().create_task(tell())
        told.add(task)
        task.add_done_callback(told.discard)

    router = Router(replace(settings, **changes), on_records=on_records, on_overdue=on_overdue)
    router.set_app(APP, condition=condition)
    router.set_default_app(APP)
    for item in backends:
        router.add_backend(APP, item.backend if isinstance(item, ScriptedBackend) else item)
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as sock:
        await router.start([sock])
        one = Bench(router, sock.getsockname()[1], records, news)
        try:
            yield one
        finally:
            for wire in one._wires:
                wire.close()
            await router.shutdown(drain_timeout_s=1.0)
            one.nothing_left()
            one.every_record_is_counted()


def closed_port(address: str = "127.0.0.1") -> int:
    """A port on which nothing listens."""
    with socket.create_server((address, 0)) as sock:
        return int(sock.getsockname()[1])


_addresses = itertools.count(1)


def own_address() -> str:
    """A loopback address that no other test uses: a program that must be told its port finds it free there."""
    number = next(_addresses)
    return f"127.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}.{number % 250 + 1}"


async def soon(true: Callable[[], object]) -> None:
    """Wait until `true()` is; the loop goes on meanwhile."""
    async with asyncio.timeout(LIMIT_S):
        while not true():  # noqa: ASYNC110  # what is asked about is the router's own state, which tells nobody
            await asyncio.sleep(0)
