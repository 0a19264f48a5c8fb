"""H codes that a client causes, by what it sends or takes: status, page, log line, and nothing left behind."""

import asyncio

import pytest
from integration.router.bench import (
    GET,
    OK,
    ScriptedBackend,
    Wire,
    answering,
    bench,
    on_loop,
)
from integration.router.pages import is_page

from router import Code, format_line


@pytest.mark.parametrize(
    ("fields", "status", "cause"),
    [
        (b"Expect: magic\r\nContent-Length: 1\r\n", 417, "unsupported expect header value"),
        (b"Connection: ,\r\n", 400, "bad header"),
        (b"Broken\r\n", 400, "bad header"),
    ],
)
@on_loop
async def test_h26_for_a_bad_head(fields: bytes, status: int, cause: str) -> None:
    async with ScriptedBackend(answering(OK)) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
        is_page(await client.answer(), status)
        assert await client.ended() == "eof"
        record = await run.record()
        assert (record.code, record.cause) == (Code.REQUEST_ERROR, cause)
        assert f'at=error code=H26 desc="Request Error" cause="{cause}" method=GET path="/x" ' in format_line(record)
        assert not backend.wires


@on_loop
async def test_h26_for_a_bad_chunk_and_the_dyno_is_cut_off() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        assert await wire.ended() in ("eof", "reset")
        assert b"0\r\n\r\n" not in wire.got

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
        is_page(await client.answer(), 400)
        assert await client.ended() == "eof"
        assert (await run.record()).cause == "bad chunk"


@on_loop
async def test_h28_when_a_client_stops_inside_its_body() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.ended()

    async with ScriptedBackend(script) as backend, bench(backend, idle_timeout_s=0.1) as run:
        client = await run.client()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        assert (await client.answer()).status == 408
        record = await run.record()
        assert (record.code, record.status, record.at) == (Code.CLIENT_IDLE, 499, "warning")


@on_loop
async def test_h28_when_a_body_comes_too_slowly_although_it_comes() -> None:
    """Never idle for long, so that the rolling limit does not see it; the dyno is let go."""
    ended = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.ended()
        ended.set()

    async def drip(client: Wire) -> None:
        while True:
            await client.send(b"x")
            await asyncio.sleep(0.01)  # what is tried: a client that sends a hundred bytes a second

    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    async with (
        ScriptedBackend(script) as backend,
        bench(backend, min_body_rate=10_000, min_body_rate_after_s=0.1, idle_timeout_s=5.0) as run,
    ):
        client = await run.client()
        await client.send(head)
        dripping = asyncio.ensure_future(drip(client))
        answer = await client.answer()
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        is_page(answer, 408)
        assert answer.get("connection") == "close"
        record = await run.record()
        assert (record.code, record.status, record.at) == (Code.CLIENT_IDLE, 499, "warning")
        assert record.bytes_in < 1000
        assert " status=499 bytes=0 " in format_line(record)
        await asyncio.wait_for(ended.wait(), 10)
        client.close()
        await client.ended()


@on_loop
async def test_a_body_at_the_rate_asked_for_is_not_cut() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.exactly(300_000)
        await wire.send(OK)

    async with (
        ScriptedBackend(script) as backend,
        bench(backend, min_body_rate=1000, min_body_rate_after_s=0.0) as run,
    ):
        client = await run.client()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n")
        for _ in range(30):
            await client.send(b"x" * 10_000)
        assert (await client.answer()).status == 200


@on_loop
async def test_h28_when_a_client_takes_nothing_of_its_answer() -> None:
    size = 64 << 20

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        await wire.send(b"x" * size)

    async with ScriptedBackend(script) as backend, bench(backend, idle_timeout_s=0.2) as run:
        client = await run.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's transport reads
        await client.send(GET)
        record = await run.record()
        assert record.code is Code.CLIENT_IDLE
        client.writer.transport.abort()
