"""What passes through: heads, bodies and their framing, both ways."""

import asyncio

import pytest
from integration.router.bench import FAST, GET, OK, ScriptedBackend, Wire, answering, bench, on_loop

from router import Code, format_line


@on_loop
async def test_a_request_and_its_answer_pass_with_the_routers_fields() -> None:
    async with ScriptedBackend(answering(OK)) as backend, bench(backend) as run:
        answer = await run.ask(
            b"GET /a?b=1 HTTP/1.1\r\nHost: demo.test\r\nX-Mine: yes\r\nConnection: keep-alive\r\n\r\n"
        )
        assert (answer.status, answer.body) == (200, b"hello")
        assert answer.get("via") == "1.1 dynod"
        assert answer.get("date") is not None
        record = await run.record()
        sent = backend.wires[0].got.decode().split("\r\n")
        assert sent[:3] == ["GET /a?b=1 HTTP/1.1", "Host: demo.test", "X-Mine: yes"]
        assert sent[3:7] == [
            "X-Forwarded-For: 127.0.0.1",
            "X-Forwarded-Proto: http",
            f"X-Forwarded-Port: {run.port}",
            "Via: 1.1 dynod",
        ]
        assert sent[7].startswith("X-Request-Start: ")
        assert sent[8] == f"X-Request-Id: {record.request_id.decode()}"
        line = format_line(record)
        assert line.startswith('at=info method=GET path="/a?b=1" host=demo.test request_id=')
        assert f' fwd="127.0.0.1" dyno=web.1 connect={int(record.connect_ms or 0)}ms service=' in line
        assert line.endswith(f"ms status=200 bytes={len(answer.head) + 5} protocol=http")


@on_loop
async def test_a_traceparent_is_passed_on_and_logged_where_that_is_wanted() -> None:
    """Whatever it is, it goes on as it came; in the line it is only where it is sound."""
    sound = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for wanted in (False, True):
        async with ScriptedBackend(answering(OK)) as backend, bench(backend, log_traceparent=wanted) as run:
            for number, said in enumerate((sound, "none of w3c's"), start=1):
                for plain in (b"", b"TE: trailers\r\n"):  # what is no plain head is read by another reader
                    assert (
                        await run.ask(
                            b"GET / HTTP/1.1\r\nHost: a\r\ntraceparent: %b\r\n%b\r\n" % (said.encode(), plain)
                        )
                    ).status == 200
                    line = format_line(await run.record(2 * number - (not plain)))
                    logged = f" traceparent={sound}" if wanted and said == sound else ""
                    assert line.endswith(f" protocol=http{logged}")
            got = b"".join(wire.got for wire in backend.wires).decode()
            assert got.count(f"\r\ntraceparent: {sound}\r\n") == 2
            assert got.count("\r\ntraceparent: none of w3c's\r\n") == 2


@on_loop
async def test_one_connection_carries_many_requests_over_one_backend_connection() -> None:
    async with ScriptedBackend(answering(OK)) as backend, bench(backend) as run:
        client = await run.client()
        for _ in range(20):
            await client.send(GET)
            assert (await client.answer()).body == b"hello"
        await run.record(20)
        assert len(backend.wires) == 1


@on_loop
async def test_pipelined_requests_are_answered_in_order() -> None:
    async def script(wire: Wire) -> None:
        while True:
            path = (await wire.head()).split(b" ")[1]
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(50)))
        for number in range(50):
            assert (await client.answer()).body == b"/%d" % number


@on_loop
async def test_a_body_with_length_reaches_the_backend_and_the_next_request_too() -> None:
    async with ScriptedBackend(answering(OK, body=5)) as backend, bench(backend) as run:
        client = await run.client()
        for _ in range(2):
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345")
            assert (await client.answer()).status == 200
        assert backend.wires[0].got.count(b"12345") == 2
        assert (await run.record(2)).bytes_in == 5


@on_loop
async def test_the_first_byte_of_a_chunk_leaves_when_it_arrives() -> None:
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\nx")
        await go_on.wait()
        await wire.send(b"y" * 0x3FF + b"\r\n0\r\n\r\n")

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(GET)
        await client.head()
        assert await client.exactly(6) == b"400\r\nx"
        go_on.set()
        assert await client.exactly(0x3FF) == b"y" * 0x3FF
        assert await client.until(b"0\r\n\r\n")


@on_loop
async def test_the_first_byte_of_a_request_chunk_leaves_when_it_arrives() -> None:
    arrived = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        assert await wire.exactly(6) == b"400\r\nx"
        arrived.set()
        assert (await wire.until(b"0\r\n\r\n")) == b"y" * 0x3FF + b"\r\n0\r\n\r\n"
        await wire.send(OK)

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n400\r\nx")
        await asyncio.wait_for(arrived.wait(), 10)
        await client.send(b"y" * 0x3FF + b"\r\n0\r\n\r\n")
        assert (await client.answer()).status == 200
        assert (await run.record()).bytes_in == 0x400


@on_loop
async def test_trailers_pass_but_none_that_frames_or_routes() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        assert (await wire.until(b"0\r\nX-Sum: 1\r\n\r\n")).startswith(b"1\r\na\r\n")
        await wire.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            b"1;ext=1\r\nb\r\n0\r\nX-Sum: 2\r\nContent-Length: 9\r\n\r\n"
        )

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b'1;q="\\"x"\r\na\r\n0\r\nX-Sum: 1\r\nHost: b\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n'
        )
        assert b"Trailer: X-Sum" in await client.head()
        assert await client.until(b"\r\n\r\n") == b"1\r\nb\r\n0\r\nX-Sum: 2\r\n\r\n"


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@on_loop
async def test_an_answer_without_body_ends_with_its_head(status: bytes) -> None:
    answer = b"HTTP/1.1 %b\r\nETag: x\r\n\r\n" % status
    async with ScriptedBackend(answering(answer)) as backend, bench(backend) as run:
        client = await run.client()
        for _ in range(2):
            await client.send(GET)
            assert (await client.answer()).status == int(status[:3])
        assert len(backend.wires) == 1


@on_loop
async def test_the_answer_to_head_keeps_its_length_and_has_no_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n"
    async with ScriptedBackend(answering(answer)) as backend, bench(backend) as run:
        client = await run.client()
        for _ in range(2):
            await client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.answer(head_only=True)).get("content-length") == "4096"
        assert len(backend.wires) == 1


@on_loop
async def test_an_answer_delimited_by_its_connection_is_chunked_for_the_client() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.0 200 OK\r\n\r\nuntil")
        await wire.send(b" the end")
        wire.close()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        for _ in range(2):
            await client.send(GET)
            answer = await client.answer()
            assert (answer.body, answer.get("transfer-encoding")) == (b"until the end", "chunked")


@on_loop
async def test_an_old_client_gets_no_chunks_and_its_connection_closed() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    async with ScriptedBackend(answering(chunked)) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        answer = await client.answer()
        assert (answer.body, answer.get("transfer-encoding"), answer.get("connection")) == (
            b"hello world",
            None,
            "close",
        )
        assert answer.head.startswith(b"HTTP/1.1 200")


@on_loop
async def test_an_old_client_that_asks_for_it_keeps_its_connection() -> None:
    async with ScriptedBackend(answering(OK)) as backend, bench(backend) as run:
        client = await run.client()
        for _ in range(2):
            await client.send(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            answer = await client.answer()
            assert (answer.body, answer.get("connection")) == (b"hello", "keep-alive")
        await client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        assert (await client.answer()).get("connection") == "close"
        assert await client.ended() == "eof"


@on_loop
async def test_interim_answers_pass_to_a_new_client_and_not_to_an_old_one() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    async with ScriptedBackend(answering(hints + OK)) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(GET)
        first = await client.answer()
        assert (first.status, first.get("link")) == (103, "</a.css>")
        assert (await client.answer()).body == b"hello"
        assert (await run.ask(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")).status == 200


@on_loop
async def test_expect_continue_goes_end_to_end() -> None:
    async def script(wire: Wire) -> None:
        assert b"\r\nExpect: 100-continue\r\n" in await wire.head()
        await wire.send(b"HTTP/1.1 100 Continue\r\nX-Extra: 1\r\n\r\n")
        await wire.exactly(4)
        await wire.send(OK)

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 4\r\n\r\n")
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"body")
        assert (await client.answer()).status == 200


@on_loop
async def test_a_backend_that_never_says_continue_does_not_hang_the_request() -> None:
    async with ScriptedBackend(answering(OK, body=4)) as backend, bench(backend, continue_after_s=0.05) as run:
        client = await run.client()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"body")
        assert (await client.answer()).status == 200


@on_loop
async def test_a_final_answer_instead_of_continue_ends_the_connection() -> None:
    refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
    async with ScriptedBackend(answering(refusal)) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.get("connection")) == (403, "close")
        assert await client.ended() == "eof"


@on_loop
async def test_an_early_answer_survives_a_body_that_is_still_coming() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        wire.reset()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 2_000_000)
        answer = await client.answer()
        assert (answer.status, answer.body) == (413, b"big")


@on_loop
async def test_a_large_body_passes_unchanged_with_a_slow_reader() -> None:
    size = 8 << 20
    body = bytes(range(256)) * (size // 256)

    async def script(wire: Wire) -> None:
        await wire.head()
        assert await wire.exactly(size) == body
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        await wire.send(body)

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        await client.send(body)
        await client.head()
        assert await client.exactly(size) == body


@on_loop
async def test_a_client_that_said_all_and_ended_its_side_gets_its_answer() -> None:
    answer_now = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await answer_now.wait()
        await wire.send(OK)

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        client.end()
        await backend.connections(1)
        answer_now.set()
        assert (await client.answer()).body == b"hello"
        assert await client.ended() == "eof"


@on_loop
async def test_a_client_that_goes_away_ends_the_backends_request() -> None:
    ended = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.ended()
        ended.set()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(GET)
        await backend.connections(1)
        client.close()
        await asyncio.wait_for(ended.wait(), 10)
        record = await run.record()
        assert (record.code, record.status) == (Code.CLIENT_INTERRUPTED, 499)
        assert format_line(record).startswith('sock=client at=warning code=H27 desc="Client Request Interrupted" ')


@on_loop
async def test_a_client_that_resets_ends_the_backends_request() -> None:
    ended = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.ended()
        ended.set()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
        await backend.connections(1)
        client.reset()
        await asyncio.wait_for(ended.wait(), 10)
        assert (await run.record()).code is Code.CLIENT_INTERRUPTED


@on_loop
async def test_an_upgrade_becomes_a_tunnel_with_half_close() -> None:
    async def script(wire: Wire) -> None:
        head = await wire.head()
        assert b"\r\nConnection: Upgrade\r\nUpgrade: chat/1\r\n" in head
        await wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat/1\r\n\r\nfirst")
        assert await wire.rest() == b"early and late"
        await wire.send(b" and last")
        wire.end()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat/1\r\n\r\nearly")
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert b"\r\nConnection: Upgrade\r\nUpgrade: chat/1\r\n" in head
        assert await client.exactly(5) == b"first"
        assert run.router.tunnels("demo") == {backend.backend.id: 1}
        assert run.router.in_flight("demo") == {backend.backend.id: 0}
        await client.send(b" and late")
        client.end()
        assert await client.rest() == b" and last"
        record = await run.record()
        assert (record.status, record.code, record.upgraded) == (101, None, True)


@on_loop
async def test_a_refused_upgrade_leaves_an_ordinary_connection() -> None:
    async with ScriptedBackend(answering(OK)) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert (await client.answer()).body == b"hello"
        await client.send(GET)
        assert (await client.answer()).body == b"hello"


@on_loop
async def test_server_sent_events_arrive_one_by_one() -> None:
    tick = asyncio.Semaphore(0)

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(3):
            await tick.acquire()
            await wire.send(b"data: %d\n\n" % number)

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(GET)
        await client.head()
        for number in range(3):
            tick.release()
            assert await client.until(b"\n\n\r\n") == b"9\r\ndata: %d\n\n\r\n" % number
        assert await client.until(b"0\r\n\r\n")


@on_loop
async def test_settings_of_the_bench_are_the_products() -> None:
    assert FAST.idle_reuse_unsafe_s == 0.5


@on_loop
async def test_upgrade_required_says_which_protocol() -> None:
    answer = b"HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n"
    async with ScriptedBackend(answering(answer)) as backend, bench(backend) as run:
        got = await run.ask()
        assert (got.status, got.get("upgrade"), got.get("connection")) == (426, "websocket", "Upgrade")
