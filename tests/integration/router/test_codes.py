"""Every H code, raised by a real cause: status, page, log line, and nothing left behind."""

import asyncio
import socket
from dataclasses import replace

import pytest
from integration.router.bench import (
    APP,
    FAST,
    GET,
    OK,
    Answer,
    ScriptedBackend,
    Wire,
    answering,
    bench,
    closed_port,
    on_loop,
    soon,
)

from router import CODES, AppCondition, Backend, Code, RequestRecord, format_line


def is_page(answer: Answer, status: int) -> None:
    """The answer is the router's error page."""
    assert answer.status == status
    assert answer.get("content-type") == "text/html; charset=utf-8"
    assert answer.get("cache-control") == "no-cache, no-store"
    assert b"<title>" in answer.body
    assert b"//" not in answer.body, "the page loads something from elsewhere"


@pytest.mark.parametrize(
    ("condition", "code", "status", "line"),
    [
        (AppCondition.CRASHED, Code.APP_CRASHED, 503, 'at=error code=H10 desc="App crashed" method=GET'),
        (
            AppCondition.NO_WEB,
            Code.NO_WEB_PROCESSES,
            503,
            'at=error code=H14 desc="No web processes running" method=GET',
        ),
        (AppCondition.MAINTENANCE, Code.MAINTENANCE, 503, 'at=info code=H80 desc="Maintenance mode" method=GET'),
        (AppCondition.BLANK, Code.BLANK_APP, 502, 'at=info code=H81 desc="Blank app" method=GET'),
    ],
)
@on_loop
async def test_a_condition_without_dynos_has_its_code(
    condition: AppCondition, code: Code, status: int, line: str
) -> None:
    async with bench(condition=condition) as run:
        client = await run.client()
        for _ in range(2):
            await client.send(GET)
            is_page(await client.answer(), status)  # and the connection is kept
        record = await run.record(2)
        assert (record.code, record.status) == (code, status)
        text = format_line(record)
        assert text.startswith(line)
        assert f'fwd="127.0.0.1" dyno= connect= service= status={status} bytes= protocol=http' in text


@on_loop
async def test_the_titles_are_herokus() -> None:
    async with bench(condition=AppCondition.CRASHED) as run:
        assert b"<title>Application Error</title>" in (await run.ask()).body
        run.router.set_app(APP, condition=AppCondition.MAINTENANCE)
        assert b"<title>Offline for Maintenance</title>" in (await run.ask()).body


@on_loop
async def test_the_operators_own_pages_are_framed_with_the_same_status() -> None:
    async with bench(
        condition=AppCondition.CRASHED,
        error_page_url="https://e.test/?a=1&b=2",
        maintenance_page_url="https://m.test/",
    ) as run:
        answer = await run.ask()
        assert answer.status == 503
        assert b'<iframe src="https://e.test/?a=1&amp;b=2">' in answer.body
        run.router.set_app(APP, condition=AppCondition.MAINTENANCE)
        assert b'<iframe src="https://m.test/">' in (await run.ask()).body


@on_loop
async def test_each_app_has_its_own_pages() -> None:
    async with bench() as run:
        for name in ("one", "two"):
            settings = replace(
                FAST, error_page_url=f"https://{name}.test/error", maintenance_page_url=f"https://{name}.test/down"
            )
            run.router.set_app(name, condition=AppCondition.CRASHED, hosts=[f"{name}.test"], settings=settings)
        for condition, page in ((AppCondition.CRASHED, "error"), (AppCondition.MAINTENANCE, "down")):
            for name in ("one", "two"):
                run.router.set_app(name, condition=condition)
                answer = await run.ask(b"GET / HTTP/1.1\r\nHost: %b.test\r\n\r\n" % name.encode())
                assert answer.status == 503
                assert f'<iframe src="https://{name}.test/{page}">'.encode() in answer.body


@on_loop
async def test_a_head_request_gets_the_page_without_its_body() -> None:
    async with bench(condition=AppCondition.CRASHED) as run:
        client = await run.client()
        for _ in range(2):
            await client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.answer(head_only=True)).status == 503


@on_loop
async def test_h11_when_the_queue_is_full_or_too_slow() -> None:
    answer_now = asyncio.Event()

    async def script(wire: Wire) -> None:
        while True:
            await wire.head()
            await answer_now.wait()
            await wire.send(OK)

    async with (
        ScriptedBackend(script) as backend,
        bench(backend, max_in_flight=1, max_queue=1, queue_timeout_s=0.1) as run,
    ):
        working = await run.client()
        await working.send(GET)
        await backend.connections(1)
        waiting = await run.client()
        await waiting.send(GET)
        is_page(await waiting.answer(), 503)  # waited its 0.1 s
        record = await run.record(1)
        assert record.code is Code.BACKLOG_TOO_DEEP
        assert record.queue_ms > 90
        await waiting.send(GET)
        await soon(lambda: run.router.queued(APP) >= 1)
        is_page(await run.ask(), 503)  # no place in the queue
        assert (await run.record(2)).queue_ms < 90
        answer_now.set()
        assert (await working.answer()).status == 200
        assert (await waiting.answer()).status == 200


@on_loop
async def test_a_queued_request_gets_the_dyno_when_it_is_free_and_its_wait_is_reported() -> None:
    answer_now = asyncio.Event()

    async def script(wire: Wire) -> None:
        while True:
            await wire.head()
            await answer_now.wait()
            await wire.send(OK)

    async with ScriptedBackend(script) as backend, bench(backend, max_in_flight=1) as run:
        clients = [await run.client() for _ in range(3)]
        for client in clients:
            await client.send(GET)
        await soon(lambda: run.router.queued(APP) >= 2)
        assert run.router.in_flight(APP) == {backend.backend.id: 1}
        answer_now.set()
        for client in clients:
            assert (await client.answer()).status == 200
        await run.record(3)
        assert sorted(record.queue_ms > 0 for record in run.records) == [False, True, True]


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


@on_loop
async def test_h19_when_a_connection_takes_too_long() -> None:
    # A listener whose queue is full: the kernel drops the SYN, nothing answers.
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = []
        try:
            for _ in range(3):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(address)
                fillers.append(filler)
            await asyncio.sleep(0.05)
            lost = Backend(id="lost", label="web.1", host="127.0.0.1", port=address[1])
            async with bench(lost, connect_timeout_s=0.2) as run:
                is_page(await run.ask(), 503)
                record = await run.record()
                assert record.code is Code.CONNECT_TIMEOUT
                assert " service= status=503 bytes= " in format_line(record)
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.parametrize("condition", [AppCondition.BOOTING, AppCondition.SERVING, AppCondition.PARKED])
@on_loop
async def test_h20_when_no_dyno_comes_up(condition: AppCondition) -> None:
    async with bench(condition=condition, boot_hold_s=0.1) as run:
        is_page(await run.ask(), 503)
        record = await run.record()
        assert record.code is Code.BOOT_TIMEOUT
        assert record.queue_ms > 90


@on_loop
async def test_a_held_request_goes_to_the_dyno_that_comes_up() -> None:
    async with ScriptedBackend(answering(OK, body=4)) as backend, bench(condition=AppCondition.BOOTING) as run:
        client = await run.client()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
        await soon(lambda: run.router.queued(APP) >= 1)
        run.router.add_backend(APP, backend.backend)
        assert (await client.answer()).body == b"hello"


@on_loop
async def test_parked_requests_wait_although_a_dyno_is_there() -> None:
    async with ScriptedBackend(answering(OK)) as backend, bench(backend, condition=AppCondition.PARKED) as run:
        client = await run.client()
        await client.send(GET)
        await soon(lambda: run.router.queued(APP) >= 1)
        assert not backend.wires
        run.router.set_app(APP, condition=AppCondition.SERVING)
        assert (await client.answer()).body == b"hello"


@on_loop
async def test_a_client_that_leaves_the_queue_leaves_nothing() -> None:
    async with bench(condition=AppCondition.BOOTING) as run:
        client = await run.client()
        await client.send(GET)
        await soon(lambda: run.router.queued(APP) >= 1)
        client.reset()
        record = await run.record()
        assert record.code is Code.CLIENT_INTERRUPTED
        assert run.router.queued(APP) == 0


@on_loop
async def test_h21_when_nothing_listens() -> None:
    nowhere = Backend(id="n", label="web.1", host="127.0.0.1", port=closed_port())
    async with bench(nowhere) as run:
        is_page(await run.ask(), 503)
        record = await run.record()
        assert record.code is Code.CONNECT_REFUSED
        assert " service= status=503 bytes= " in format_line(record)


@on_loop
async def test_a_refused_connection_is_tried_at_another_dyno_even_for_a_post() -> None:
    nowhere = Backend(id="n", label="web.2", host="127.0.0.1", port=closed_port())
    async with ScriptedBackend(answering(OK, body=4)) as backend, bench(nowhere, backend) as run:
        for _ in range(8):
            assert (await run.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")).status == 200
        await run.record(8)
        assert sum(record.attempts for record in run.records) <= 9  # quarantined after its first refusal


@on_loop
async def test_h34_when_every_dyno_is_quarantined_for_too_long() -> None:
    nowhere = Backend(id="n", label="web.1", host="127.0.0.1", port=closed_port())
    async with bench(nowhere, boot_hold_s=0.1) as run:
        await run.ask()
        is_page(await run.ask(), 503)
        assert (await run.record(2)).code is Code.ALL_QUARANTINED


@on_loop
async def test_h22_beyond_the_open_limit() -> None:
    async with bench(condition=AppCondition.BOOTING, max_open=1) as run:
        first = await run.client()
        await first.send(GET)
        await soon(lambda: run.router.queued(APP) >= 1)
        is_page(await run.ask(), 503)
        assert (await run.record()).code is Code.CONNECTION_LIMIT


@on_loop
async def test_h24_when_the_router_ends_before_the_answer() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await wire.ended()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(GET)
        await client.head()
        await client.exactly(4)
        assert await run.router.shutdown(drain_timeout_s=0.05) == 1
        assert await client.ended() == "reset"
        record = await run.record()
        assert (record.code, record.status) == (Code.FORCED_CLOSE, None)
        assert " status= bytes=" in format_line(record)


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


def test_every_code_has_a_meaning_and_a_cause() -> None:
    assert set(CODES) == set(Code)
    assert all(
        meaning.desc and meaning.trigger and meaning.at in ("info", "warning", "error") for meaning in CODES.values()
    )
