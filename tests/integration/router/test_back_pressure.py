"""Nothing is buffered whole: who does not read stops who writes, in both directions, in tunnels and over pipelines.

One side writes and the other does not read, until the router reads no further itself; what it holds in memory is looked
at all the while: its own buffers, with room for one read of the loop beyond the limit.
"""

import asyncio
import socket
from collections.abc import Iterator

from integration.router.bench import GET, Bench, ScriptedBackend, Wire, bench, on_loop, soon

from router.client_connection import ClientConnection

WRITE_BUFFER = 65536
ONE_READ = 256 * 1024  # what uvloop reads at once
MOST_HELD = WRITE_BUFFER + ONE_READ
PIECE = b"x" * 65536
WHOLE = 256 << 20  # far beyond what all buffers between two sides, the kernel's included, can hold
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"


class Flood:
    """Writes pieces until nobody takes them any more. `sent` counts bytes handed to the transport."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.sent = 0
        wire.writer.transport.set_write_buffer_limits(high=0)
        self.task = asyncio.ensure_future(self._write())

    async def _write(self) -> None:
        while self.sent < WHOLE:
            self.wire.writer.write(PIECE)
            self.sent += len(PIECE)
            await self.wire.writer.drain()


async def stopped_reading(run: Bench) -> None:
    """Until the router takes no more from somebody."""

    def stopped() -> bool:
        assert held(run) <= MOST_HELD, "the router takes more than it can pass on"
        return any(not transport.is_reading() for transport in transports(run))

    await soon(stopped)


def transports(run: Bench) -> Iterator[asyncio.Transport]:
    """Every socket of the router, clients' and dynos'."""
    context = run.router._context
    assert context is not None
    for connection in context.connections:
        assert isinstance(connection, ClientConnection)
        yield connection.transport
        if connection.exchange.link is not None:
            yield connection.exchange.link.transport
    for tunnel in context.tunnels:
        yield tunnel._client.transport
        yield tunnel._backend.transport


def held(run: Bench) -> int:
    """What the router holds for one side in memory, at most."""
    return max((transport.get_write_buffer_size() for transport in transports(run)), default=0)


def pause(wire: Wire) -> None:
    """Read no more, with little room in the kernel."""
    wire.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's transport reads


def resume(wire: Wire) -> None:
    wire.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above


@on_loop
async def test_an_answer_waits_for_a_client_that_does_not_read() -> None:
    floods: list[Flood] = []

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % WHOLE)
        floods.append(Flood(wire))
        await floods[0].task

    async with ScriptedBackend(script) as backend, bench(backend, write_buffer=WRITE_BUFFER) as run:
        client = await run.client()
        pause(client)
        await client.send(GET)
        await soon(lambda: floods)
        await stopped_reading(run)
        assert floods[0].sent < WHOLE
        resume(client)
        await client.head()
        await client.exactly(WHOLE // 8)  # and it goes on
        assert held(run) <= MOST_HELD
        client.reset()
        assert (await run.record()).code == "H27"


@on_loop
async def test_a_request_body_waits_for_a_dyno_that_does_not_read() -> None:
    read_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        pause(wire)
        await read_on.wait()
        resume(wire)
        while await wire.reader.read(1 << 20):
            pass

    async with ScriptedBackend(script) as backend, bench(backend, write_buffer=WRITE_BUFFER) as run:
        client = await run.client()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % WHOLE)
        flood = Flood(client)
        await stopped_reading(run)
        assert flood.sent < WHOLE
        before = flood.sent
        read_on.set()
        await soon(lambda: flood.sent > before + WHOLE // 8)  # and it goes on
        assert held(run) <= MOST_HELD
        flood.task.cancel()
        client.reset()
        assert (await run.record()).code == "H27"


@on_loop
async def test_a_tunnel_waits_for_the_side_that_does_not_read() -> None:
    read_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(SWITCHED)
        pause(wire)
        await read_on.wait()
        resume(wire)
        while await wire.reader.read(1 << 20):
            pass

    async with ScriptedBackend(script) as backend, bench(backend, write_buffer=WRITE_BUFFER) as run:
        client = await run.client()
        await client.send(UPGRADE)
        await client.head()
        flood = Flood(client)
        await stopped_reading(run)
        assert flood.sent < WHOLE
        before = flood.sent
        read_on.set()
        await soon(lambda: flood.sent > before + WHOLE // 8)
        assert held(run) <= MOST_HELD
        flood.task.cancel()
        client.reset()
        assert (await run.record()).status == 101


@on_loop
async def test_a_client_that_pipelines_and_reads_nothing_is_read_no_further() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"y" * 20_000
    asked = 0

    async def script(wire: Wire) -> None:
        nonlocal asked
        while True:
            await wire.head()
            asked += 1
            await wire.send(answer)

    async with ScriptedBackend(script) as backend, bench(backend, write_buffer=WRITE_BUFFER) as run:
        client = await run.client()
        pause(client)
        pipelined = 20_000
        client.writer.write(GET * pipelined)
        await stopped_reading(run)
        assert asked < pipelined / 2, "answers were asked for that nobody takes"
        resume(client)
        for _ in range(100):  # and it goes on
            assert len((await client.answer()).body) == 20_000
        client.reset()
        await soon(lambda: not run.router._connections())
        assert {record.code for record in run.records} <= {None, "H27"}
