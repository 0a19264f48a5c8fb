"""Messages cut anywhere give the same result: every position of every message, on real sockets, both sides.

The bench sends the first piece, lets the loop read it, then sends the second. Unit tests of the parsers try all
pairs of cuts without sockets; here the state that connections keep between reads is what is tried.
"""

import re

import pytest
from integration.router.bench import ScriptedBackend, Wire, bench, on_loop

REQUESTS = {
    "plain": b"GET /p?q HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
    "length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n1234567",
    "chunked": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'5;x="\\"";y\r\n12345\r\na\r\n1234567890\r\n0\r\nX-T: 1\r\nHost: z\r\n\r\n'
    ),
    "pipelined": (
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n123\r\n"
        b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
    ),
}

ANSWERS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nX: y\r\n\r\n1234567",
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'5;x="\\"";y\r\n12345\r\na\r\n1234567890\r\n0\r\nX-T: 1\r\nHost: z\r\n\r\n'
    ),
    "interim": b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
    "until close": b"HTTP/1.0 200 OK\r\nX: y\r\n\r\n1234567",
}

BAD_REQUESTS = {
    "bare LF": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\nY: c\r\n\r\n",
    "bare CR": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n",
    "obs-fold": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
    "two framings": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
}


def positions(message: bytes) -> range:
    return range(1, len(message))


def steady(head_and_body: bytes) -> bytes:
    """What the backend was sent, without what differs every time, chunk boundaries left out."""
    return re.sub(rb"(X-Request-(?:Id|Start): )[^\r]*|(X-Forwarded-Port: )\d+", rb"\1\2", head_and_body)


def unchunked(body: bytes) -> tuple[bytes, bytes]:
    """A chunked body's bytes and its trailers; fails on anything but exact framing."""
    out = b""
    while True:
        match = re.match(rb"([0-9a-f]+)\r\n", body)
        assert match is not None, body
        size = int(match.group(1), 16)
        body = body[match.end() :]
        if size == 0:
            return out, body
        out += body[:size]
        assert body[size : size + 2] == b"\r\n", body
        body = body[size + 2 :]


async def echo_what_came(wire: Wire) -> None:
    """Answer each request with its path and body, as the backend read them."""
    while True:
        head = await wire.head()
        length = re.search(rb"Content-Length: (\d+)", head)
        if b"Transfer-Encoding: chunked" in head:
            raw = b""
            while not raw.endswith(b"0\r\n\r\n") and b"\r\n0\r\n" not in raw:
                raw += await wire.until(b"\r\n")
            if not raw.endswith(b"0\r\n\r\n"):
                raw += await wire.until(b"\r\n\r\n")
            body = b"|".join(unchunked(raw))
        else:
            body = await wire.exactly(int(length.group(1))) if length else b""
        said = head.split(b" ")[1] + b"|" + body
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))


WHAT_CAME = {
    "plain": [b"/p?q|"],
    "length": [b"/|1234567"],
    "chunked": [b"/|123451234567890|X-T: 1\r\n\r\n"],
    "pipelined": [b"/1|123", b"/2|", b"/3|"],
}


@pytest.mark.parametrize("name", REQUESTS)
@on_loop
async def test_a_request_cut_anywhere_arrives_the_same(name: str) -> None:
    message = REQUESTS[name]
    async with ScriptedBackend(echo_what_came) as backend, bench(backend) as run:
        heads: set[bytes] = set()
        for cut in positions(message):
            client = await run.client()
            await client.send_split(message, cut)
            for expected in WHAT_CAME[name]:
                assert (await client.answer()).body == expected, cut
            client.close()
            for wire in backend.wires:
                heads.update(steady(part) for part in re.findall(rb"(?s)[A-Z]+ /.*?\r\n\r\n", wire.got))
                wire.got = b""
        assert len(heads) == len(WHAT_CAME[name]), heads


@pytest.mark.parametrize("name", REQUESTS)
@on_loop
async def test_a_request_sent_byte_by_byte_arrives_the_same(name: str) -> None:
    message = REQUESTS[name]
    async with ScriptedBackend(echo_what_came) as backend, bench(backend) as run:
        client = await run.client()
        await client.send_split(message, *positions(message))
        for expected in WHAT_CAME[name]:
            assert (await client.answer()).body == expected


@pytest.mark.parametrize("name", BAD_REQUESTS)
@on_loop
async def test_a_bad_request_cut_anywhere_is_refused(name: str) -> None:
    message = BAD_REQUESTS[name]
    async with ScriptedBackend(echo_what_came) as backend, bench(backend) as run:
        for cut in positions(message):
            client = await run.client()
            await client.send_split(message, cut)
            assert (await client.answer()).status == 400, cut
            assert await client.ended() in ("eof", "reset")
        assert not backend.wires


@pytest.mark.parametrize("http10", [False, True])
@pytest.mark.parametrize("name", ANSWERS)
@on_loop
async def test_an_answer_cut_anywhere_arrives_the_same(name: str, http10: bool) -> None:  # a table's column
    message = ANSWERS[name]
    cut = 0

    async def script(wire: Wire) -> None:
        while True:
            await wire.head()
            await wire.send_split(message, cut)
            if name == "until close":
                return

    request = b"GET / HTTP/1.%d\r\nHost: a\r\n\r\n" % (not http10)
    async with ScriptedBackend(script) as backend, bench(backend) as run:
        seen = set()
        for cut in (*positions(message), 0):  # noqa: B007  # the script reads it
            client = await run.client()
            await client.send(request)
            answer = await client.answer()
            if answer.status == 103:
                assert not http10
                assert answer.get("link") == "a"
                answer = await client.answer()
            seen.add((answer.status, answer.body, re.sub(rb"Date: [^\r]*", b"", answer.head)))
            client.close()
        assert len(seen) == 1, seen
        [(status, body, _)] = seen
        assert (status, body) in [(200, b"1234567"), (200, b"123451234567890"), (204, b"")]


@pytest.mark.parametrize("mistake", [b"HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n", b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n"])
@on_loop
async def test_a_bad_answer_cut_anywhere_is_a_503(mistake: bytes) -> None:
    cut = 0

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send_split(mistake, cut)
        await wire.ended()

    # POST: never tried again, and a dyno that keeps giving bad answers is put aside, which is not what is tried here.
    async with bench() as run:
        for cut in positions(mistake):  # the script reads it
            async with ScriptedBackend(script) as backend:
                run.router.add_backend("demo", backend.backend)
                answer = await run.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
                assert (answer.status, answer.get("content-type")) == (503, "text/html; charset=utf-8"), cut
                run.router.remove_backend("demo", backend.backend.id)
