"""H codes that a backend causes, by what it answers or does not: status, page, log line, and nothing left behind."""

import asyncio

import pytest
from integration.router.bench import (
    GET,
    OK,
    ScriptedBackend,
    Wire,
    bench,
    on_loop,
)
from integration.router.pages import is_page

from router import Code, RequestRecord, format_line


@on_loop
async def test_h12_without_a_byte_in_time() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.ended()  # the router hangs up on it

    async with ScriptedBackend(script) as backend, bench(backend, first_byte_timeout_s=0.1) as run:
        client = await run.client()
        await client.send(GET)
        is_page(await client.answer(), 503)
        record = await run.record()
        assert record.code is Code.REQUEST_TIMEOUT
        assert record.service_ms is not None
        assert record.service_ms > 90
        text = format_line(record)
        assert text.startswith('at=error code=H12 desc="Request timeout" method=GET path="/" host=demo.test ')
        assert " dyno=web.1 connect=" in text
        assert " status=503 bytes=0 protocol=http" in text
        await client.send(GET)  # the connection is kept
        is_page(await client.answer(), 503)


@on_loop
async def test_h12_that_is_not_enforced_is_said_when_it_is_so_and_once() -> None:
    answer_now = asyncio.Event()
    said: list[tuple[str, str, float]] = []

    def overdue(record: RequestRecord, seconds: float) -> None:
        said.append((record.path.decode(), record.dyno.decode(), seconds))
        asyncio.get_running_loop().call_later(0.15, answer_now.set)  # two more limits pass

    async def script(wire: Wire) -> None:
        await wire.head()
        await answer_now.wait()
        await wire.send(OK)

    async with (
        ScriptedBackend(script) as backend,
        bench(backend, first_byte_timeout_s=0.05, enforce_first_byte=False, on_overdue=overdue) as run,
    ):
        client = await run.client()
        await client.send(GET)
        assert (await client.answer()).body == b"hello"
        assert said == [("/", "web.1", 0.05)]
        record = await run.record()
        assert (record.code, record.status) == (Code.REQUEST_TIMEOUT, 200)


@on_loop
async def test_h13_when_the_dyno_closes_without_a_word() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        is_page(await run.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"), 503)
        record = await run.record()
        assert (record.code, record.attempts) == (Code.NO_RESPONSE, 1)
        assert len(backend.wires) == 1


@on_loop
async def test_h15_when_an_answer_stops() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await wire.ended()

    async with ScriptedBackend(script) as backend, bench(backend, idle_timeout_s=0.1) as run:
        client = await run.client()
        await client.send(GET)
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK")
        assert await client.exactly(4) == b"half"
        assert await client.rest() == b""  # cut, no page inside the answer
        record = await run.record()
        assert (record.code, record.status) == (Code.IDLE_CONNECTION, 503)


@on_loop
async def test_the_rolling_limit_starts_again_with_every_byte() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            await asyncio.sleep(0.06)
            await wire.send(b"x")

    async with ScriptedBackend(script) as backend, bench(backend, idle_timeout_s=0.3) as run:
        assert (await run.ask()).body == b"x" * 8


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nName : x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nName: a\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nName: a\x00b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nName: a\rb\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
@on_loop
async def test_h17_for_what_is_not_http(answer: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(answer)
        await wire.ended()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        is_page(await run.ask(), 503)
        record = await run.record()
        assert record.code is Code.POOR_RESPONSE
        assert 'code=H17 desc="Poorly formatted HTTP response" ' in format_line(record)


@pytest.mark.parametrize(
    ("head", "cause"),
    [
        (b"Content-Length: 5\r\nContent-Length: 6", "invalid content length"),
        (b"Content-Length: +5", "invalid content length"),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked", "invalid content length"),
        (b"Content-Length: 99999999999999999999", "invalid content length"),
        (b"Transfer-Encoding: gzip, chunked", "invalid content length"),
        (b"Set-Cookie: a=" + b"x" * 8192 + b"\r\nContent-Length: 0", "oversized cookie"),
        (b"X: " + b"x" * 524288 + b"\r\nContent-Length: 0", "oversized header"),
    ],
)
@on_loop
async def test_h25_for_what_is_ambiguous_or_too_large(head: bytes, cause: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\nhello")
        await wire.ended()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        is_page(await run.ask(), 502)
        record = await run.record()
        assert (record.code, record.cause) == (Code.HTTP_RESTRICTION, cause)
        assert f'at=error code=H25 desc="HTTP restriction: {cause}" method=' in format_line(record)


@on_loop
async def test_h25_for_an_endless_status_line() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 " + b"x" * 8200 + b"\r\n\r\n")
        await wire.ended()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        is_page(await run.ask(), 502)
        assert (await run.record()).cause == "oversized status line"


@on_loop
async def test_h18_when_an_answer_breaks_off_and_no_page_hides_it() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(GET)
        await client.head()
        assert await client.rest() == b"half"
        record = await run.record()
        assert (record.code, record.status) == (Code.SERVER_INTERRUPTED, 503)
        assert format_line(record).startswith(
            'sock=backend at=error code=H18 desc="Server Request Interrupted" method='
        )


@on_loop
async def test_a_broken_chunked_answer_has_no_last_chunk() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n4\r\nha")

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(GET)
        await client.head()
        assert await client.rest() == b"4\r\nhalf\r\n4\r\nha"


@on_loop
async def test_an_answer_to_an_old_client_that_breaks_off_is_reset_not_ended() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        wire.reset()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        assert await client.ended() == "reset"
        assert (await run.record()).code is Code.SERVER_INTERRUPTED


@on_loop
async def test_a_bad_chunk_from_the_dyno_cuts_the_answer() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await wire.send(b"-1\r\n")
        await wire.ended()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(GET)
        await client.head()
        assert await client.rest() == b"4\r\nhalf\r\n"
        assert (await run.record()).code is Code.HTTP_RESTRICTION
