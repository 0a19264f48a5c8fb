"""What RFC 9112 calls invalid or ambiguous is refused: 400, the connection closed, nothing forwarded."""

import asyncio

import pytest
from integration.router.bench import GET, OK, ScriptedBackend, Wire, answering, bench, on_loop

from router import Code

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"

REFUSED = {
    "no version": b"GET /\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "lower-case http": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "tab in request line": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "space at the line's end": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "space before the method": b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "fragment": b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    "byte above ASCII in the target": b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n",
    "control byte in the target": b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    "relative target": b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk with GET": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "method with a bad byte": b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "method of 128 bytes": b"G" * 128 + b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    "target's host differs": b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "user in the target": b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "no Host, old": b"GET / HTTP/1.0\r\n\r\n",
    "empty Host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "Host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "Host with a user": b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "Host with a list": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "Host with a bad port": b"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n",
    "bare LF after the request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "bare LF after a field": b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "bare LF at the end": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "only LFs": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare CR in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
    "bare CR in the request line": b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
    "NUL in a name": b"GET / HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n",
    "control byte in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: \x0b\r\n\r\n",
    "DEL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n",
    "obs-fold": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
    "obs-fold of the first field": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "tab fold": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
    "tab before the colon": b"GET / HTTP/1.1\r\nHost: a\r\nX\t: b\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    "bad byte in a name": b"GET / HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n",
    "byte above ASCII in a name": b"GET / HTTP/1.1\r\nHost: a\r\n\xc3\xa4: b\r\n\r\n",
    "length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "the same length twice": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "length list": POST + b"Content-Length: 5, 5\r\n\r\nhello",
    "length +5": POST + b"Content-Length: +5\r\n\r\nhello",
    "length -5": POST + b"Content-Length: -5\r\n\r\nhello",
    "length 1_0": POST + b"Content-Length: 1_0\r\n\r\nhellohello",
    "length 0x5": POST + b"Content-Length: 0x5\r\n\r\nhello",
    "length 5 5": POST + b"Content-Length: 5 5\r\n\r\nhello",
    "length 5.0": POST + b"Content-Length: 5.0\r\n\r\nhello",
    "length in another script": POST + b"Content-Length: \xd9\xa5\r\n\r\nhello",
    "length 2^63": POST + b"Content-Length: 9223372036854775808\r\n\r\nhello",
    "length 2^64+5": POST + b"Content-Length: 18446744073709551621\r\n\r\nhello",
    "empty length": POST + b"Content-Length:\r\n\r\n",
    "length after a vertical tab": POST + b"Content-Length: \x0b5\r\n\r\nhello",
    "coding xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "coding gzip": POST + b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
    "coding gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding chunked, gzip": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "coding identity": POST + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "coding twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding in two fields": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "coding quoted": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "coding with a parameter": POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "coding with a comma": POST + b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
    "coding after a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "coding folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "empty coding": POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "long request line": b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "long field": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 8192 + b"\r\n\r\n",
    "long name": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a" * 1001 + b": b\r\n\r\n",
    "too many fields": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: b\r\n" * 1000 + b"\r\n",
    "endless head": b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"b" * 1000 + b"\r\n") * 70,
    "endless request line": b"GET /" + b"a" * 9000,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 20,
}

BAD_CHUNKS = {
    "size -1": b"-1\r\n",
    "size +1": b"+1\r\nx\r\n",
    "size 0x1": b"0x1\r\nx\r\n",
    "size 1_0": b"1_0\r\n",
    "empty size": b"\r\n",
    "blank before the size": b" 1\r\nx\r\n",
    "blank after the size": b"1 \r\nx\r\n",
    "size of 17 digits": b"10000000000000001\r\n",
    "bare LF after the size": b"1\nx\r\n",
    "bare CR after the size": b"1\rx\r\n",
    "no CRLF after the data": b"1\r\nxx\r\n",
    "LF after the data": b"1\r\nx\n0\r\n\r\n",
    "NUL in an extension": b"1;a=\x00\r\nx\r\n",
    "LF in an extension": b"1;a=\nb\r\nx\r\n",
    "CR in an extension": b"1;a=\rb\r\nx\r\n",
    "extension without a name": b"1;=b\r\nx\r\n",
    "endless extension": b"1;" + b"a" * 2000,
    "obs-fold in the trailers": b"0\r\nX: a\r\n b\r\n\r\n",
    "space before a trailer's colon": b"0\r\nX : a\r\n\r\n",
    "bare LF in the trailers": b"0\r\nX: a\nY: b\r\n\r\n",
    "endless trailers": b"0\r\n" + b"X: aaaaaaaaaaaaaaaaa\r\n" * 2000,
}


@pytest.mark.parametrize("name", REFUSED)
@on_loop
async def test_refused_with_400_and_nothing_forwarded(name: str) -> None:
    async with ScriptedBackend(answering(OK)) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(REFUSED[name] + GET)  # what follows on the connection is not served either
        answer = await client.answer()
        assert (answer.status, answer.get("connection")) == (400, "close")
        assert await client.ended() == "eof"
        record = await run.record()
        assert record.code is Code.REQUEST_ERROR
        assert not backend.wires


@pytest.mark.parametrize("name", BAD_CHUNKS)
@on_loop
async def test_a_bad_chunk_ends_the_request_and_is_not_forwarded(name: str) -> None:
    ended = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.ended()
        ended.set()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        await backend.connections(1)
        await client.send(BAD_CHUNKS[name] + GET)
        answer = await client.answer()
        assert (answer.status, answer.get("connection")) == (400, "close")
        assert await client.ended() == "eof"
        await asyncio.wait_for(ended.wait(), 10)
        body = backend.wires[0].got.partition(b"\r\n\r\n")[2]
        assert b"2\r\nok\r\n".startswith(body[:7]), body
        assert b"0\r\n" not in body, "the dyno was told that the body is whole"
        assert b"GET" not in body
        assert len(backend.wires) == 1


@on_loop
async def test_connect_is_refused_with_405() -> None:
    async with ScriptedBackend(answering(OK)) as backend, bench(backend) as run:
        answer = await run.ask(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
        assert (answer.status, answer.get("connection")) == (405, "close")
        assert answer.get("allow") is not None


@on_loop
async def test_a_body_beyond_the_limit_is_413_before_the_dyno_sees_it() -> None:
    async with ScriptedBackend(answering(OK)) as backend, bench(backend, max_body=10) as run:
        client = await run.client()
        await client.send(POST + b"Content-Length: 11\r\n\r\n")
        assert (await client.answer()).status == 413
        assert not backend.wires
        assert (await run.ask(POST + b"Content-Length: 0\r\n\r\n")).status == 200


@on_loop
async def test_a_chunked_body_beyond_the_limit_is_413_and_the_dyno_is_cut_off() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.ended()

    async with ScriptedBackend(script) as backend, bench(backend, max_body=10) as run:
        client = await run.client()
        await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n")
        await backend.connections(1)
        await client.send(b"1\r\nx\r\n")
        assert (await client.answer()).status == 413


@on_loop
async def test_a_slow_head_is_cut_off() -> None:
    async with bench(head_timeout_s=0.1) as run:
        client = await run.client()
        await client.send(b"GET / HTTP/1.1\r\nHost")
        answer = await client.answer()
        assert (answer.status, answer.get("connection")) == (408, "close")
        assert await client.ended() == "eof"


@on_loop
async def test_a_head_that_drips_is_cut_off_however_steadily() -> None:
    """Slowloris: every byte is in time, the head never is; the limit is not moved by bytes."""

    async def drip(client: Wire) -> None:
        while True:
            await client.send(b"x")
            await asyncio.sleep(0.01)  # what is tried: a client that sends a byte now and then

    async with ScriptedBackend(answering(OK)) as backend, bench(backend, head_timeout_s=0.2) as run:
        client = await run.client()
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        dripping = asyncio.ensure_future(drip(client))
        answer = await client.answer()
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        assert (answer.status, answer.get("connection")) == (408, "close")
        record = await run.record()
        assert (record.code, record.cause) == (Code.REQUEST_ERROR, "slow head")
        assert not backend.wires


@on_loop
async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with bench(keepalive_timeout_s=0.1) as run:
        client = await run.client()
        assert await client.rest() == b""
        assert run.records == []


FORGED = (
    b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Host: evil\r\n"
    b"Forwarded: for=6.6.6.6;proto=https\r\nX-Forwarded-Ssl: on\r\nX-Request-Start: 1\r\nX-Forwarded-Scheme: https\r\n"
    b"X_Forwarded_For: 7.7.7.7\r\nX-Forwarded_Proto: https\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\n"
)


@on_loop
async def test_what_a_stranger_says_about_itself_is_replaced() -> None:
    async with ScriptedBackend(answering(OK)) as backend, bench(backend, trusted_proxies=()) as run:
        await run.ask(b"GET / HTTP/1.1\r\nHost: demo.test\r\n" + FORGED + b"\r\n")
        sent = backend.wires[0].got.decode().lower().split("\r\n")
        assert [line for line in sent if "forwarded" in line] == [
            "x-forwarded-host: demo.test",
            "x-forwarded-for: 6.6.6.6, 127.0.0.1",
            "x-forwarded-proto: http",
            f"x-forwarded-port: {run.port}",
        ]
        assert not [line for line in sent if "_" in line or line == "x-request-start: 1"]
        record = await run.record()
        assert (record.fwd, record.protocol) == (b"6.6.6.6,127.0.0.1", "http")


@on_loop
async def test_a_trusted_proxy_is_believed() -> None:
    async with ScriptedBackend(answering(OK)) as backend, bench(backend) as run:
        await run.ask(b"GET / HTTP/1.1\r\nHost: demo.test\r\n" + FORGED + b"\r\n")
        sent = backend.wires[0].got.decode().lower().split("\r\n")
        assert [line for line in sent if "forwarded" in line] == [
            "x-forwarded-host: evil",
            "forwarded: for=6.6.6.6;proto=https",
            "x-forwarded-ssl: on",
            "x-forwarded-scheme: https",
            "x-forwarded-for: 6.6.6.6, 127.0.0.1",
            "x-forwarded-proto: https",
            "x-forwarded-port: 443",
        ]
        assert (await run.record()).protocol == "https"


@pytest.mark.parametrize(
    ("host", "proto", "port"),
    [
        (b"a.test", b"https", b"443"),
        (b"a.test", b"http", b"80"),
        (b"a.test:8443", b"https", b"8443"),
        (b"[::1]", b"https", b"443"),
        (b"[::1]:8443", b"https", b"8443"),
        (b"a.test:", b"https", b"443"),
    ],
)
@on_loop
async def test_a_proxy_that_names_the_scheme_alone_means_its_port(host: bytes, proto: bytes, port: bytes) -> None:
    head = b"GET / HTTP/1.1\r\nHost: %b\r\nX-Forwarded-Proto: %b\r\n" % (host, proto)
    async with ScriptedBackend(answering(OK)) as backend, bench(backend) as run:
        for more in (b"", b"Connection: x\r\n"):  # by the compiled scan, where it is built, and without it
            await run.ask(head + more + b"\r\n")
        assert backend.wires[0].got.count(b"\r\nX-Forwarded-Port: %b\r\n" % port) == 2
    async with ScriptedBackend(answering(OK)) as backend, bench(backend, trusted_proxies=()) as run:
        await run.ask(head + b"\r\n")
        assert b"\r\nX-Forwarded-Port: %d\r\n" % run.port in backend.wires[0].got


@on_loop
async def test_fields_of_one_hop_stop_here_and_those_that_connection_names() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n"
        b"Proxy-Connection: x\r\nTE: x\r\nProxy-Authenticate: Basic\r\nVia: 1.0 inner\r\nContent-Length: 0\r\n\r\n"
    )
    async with ScriptedBackend(answering(answer)) as backend, bench(backend) as run:
        got = await run.ask(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop, Host, X-Forwarded-For\r\nX-Hop: 1\r\n"
            b"TE: trailers\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\nUpgrade: websocket\r\n"
            b"Via: 1.0 outer\r\nHTTP2-Settings: x\r\n\r\n"
        )
        assert [name for name, _ in got.fields] == ["proxy-authenticate", "date", "via", "content-length", "connection"]
        assert (got.get("via"), got.get("connection")) == ("1.0 inner, 1.1 dynod", "close")
        sent = backend.wires[0].got.decode().lower()
        names = [line.partition(":")[0] for line in sent.split("\r\n")[1:-2]]
        assert names == [
            "host",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-port",
            "via",
            "x-request-start",
            "x-request-id",
        ]
        assert "\r\nvia: 1.0 outer, 1.1 dynod\r\n" in sent


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"01234567890123456789", True),
        (b"A+b/c=d-0123456789abcdef", True),
        (b"x" * 200, True),
        (b"x" * 201, False),
        (b"x" * 19, False),
        (b"0123456789_0123456789", False),
        (b"0123456789.0123456789", False),
        (b"", False),
    ],
)
@on_loop
async def test_a_request_id_is_kept_only_if_valid(given: bytes, kept: bool) -> None:  # a table's column
    async with ScriptedBackend(answering(OK)) as backend, bench(backend) as run:
        await run.ask(b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: " + given + b"\r\n\r\n")
        record = await run.record()
        assert (record.request_id == given) is kept
        assert b"\r\nX-Request-Id: " + record.request_id + b"\r\n" in backend.wires[0].got
        assert backend.wires[0].got.lower().count(b"x-request-id") == 1


@on_loop
async def test_h2c_does_not_become_a_tunnel() -> None:
    async with ScriptedBackend(answering(OK)) as backend, bench(backend) as run:
        await run.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n")
        assert b"pgrade" not in backend.wires[0].got


@on_loop
async def test_an_absolute_target_goes_on_as_a_path() -> None:
    async with ScriptedBackend(answering(OK)) as backend, bench(backend) as run:
        for target in (b"http://a.test/x?y", b"HTTP://A.test", b"https://a.test?z"):
            await run.ask(b"GET " + target + b" HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        lines = [part.split(b" HTTP")[0] for part in backend.wires[0].got.split(b"GET ")[1:]]
        assert lines == [b"/x?y", b"/", b"/?z"]


@on_loop
async def test_any_other_method_passes() -> None:
    async with ScriptedBackend(answering(OK)) as backend, bench(backend) as run:
        for method in (b"PROPFIND", b"FOO", b"M-SEARCH", b"get"):
            assert (await run.ask(method + b" / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).status == 200
        assert (await run.ask(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
        assert backend.wires[0].got.count(b"OPTIONS * HTTP/1.1\r\n") == 1


@on_loop
async def test_surplus_bytes_from_a_dyno_never_reach_the_next_client() -> None:
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(OK + evil)
        await wire.ended()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        for number in range(1, 4):
            await client.send(GET)
            assert (await client.answer()).body == b"hello"
            assert len(backend.wires) == number  # never used again


@on_loop
async def test_bytes_on_an_idle_dyno_connection_close_it() -> None:
    speak = asyncio.Event()
    closed = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(OK)
        await speak.wait()
        await wire.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await wire.ended()
        closed.set()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        assert (await run.ask()).body == b"hello"
        speak.set()
        await asyncio.wait_for(closed.wait(), 10)
        assert (await run.ask()).body == b"hello"
        assert len(backend.wires) == 2


@on_loop
async def test_a_body_with_an_answer_that_has_none_is_not_passed() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nEVIL")
        await wire.ended()

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        client = await run.client()
        for _ in range(2):
            await client.send(GET)
            answer = await client.answer()
            assert (answer.status, answer.get("content-length")) == (204, None)
        assert len(backend.wires) == 2
