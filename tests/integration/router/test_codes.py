"""H codes of apps without a backend that may be asked, each raised by a real cause: status, page and log line."""

import asyncio
import socket
from dataclasses import replace

import pytest
from integration.router.bench import (
    APP,
    FAST,
    GET,
    OK,
    ScriptedBackend,
    Wire,
    answering,
    bench,
    closed_port,
    on_loop,
    soon,
)
from integration.router.pages import is_page

from router import CODES, AppCondition, Backend, Code, format_line


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


def test_every_code_has_a_meaning_and_a_cause() -> None:
    assert set(CODES) == set(Code)
    assert all(
        meaning.desc and meaning.trigger and meaning.at in ("info", "warning", "error") for meaning in CODES.values()
    )
