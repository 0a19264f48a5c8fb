"""Mutated messages against the router's parsers and against everybody else's. Also a program, for long runs:

    make fuzz FUZZ_ARGS='--count 1000000 [--seed N] [--parser plain]'

What is looked for: a crash, an answer that is no HeadError, and above all a message that goes on although a backend's
parser would read it differently from how it was judged: another framing, another field, another host. The readers
asked are llhttp with its callbacks (Node, aiohttp), gunicorn's, aiohttp's pure-Python one, the standard library's, and,
as real servers behind a socket (support/head_judges.py), nginx and Node's http.
"""

import argparse
import contextlib
import email.parser
import email.policy
import io
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import Mock

import httptools
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParserPy
from gunicorn.config import Config  # type: ignore[import-untyped]  # gunicorn ships no types
from gunicorn.http import RequestParser  # type: ignore[import-untyped]  # gunicorn ships no types
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]  # gunicorn ships no types
from unit.router import body_fuzz

from router import http_head, plain_head
from router.errors import HeadError
from router.head_judge import judge_answer, judge_request
from router.head_values import Asks, Forwarding, HeadLimits, RequestHead, ResponseHead
from router.http_head import answer_of
from support import installed
from support.head_judges import Judge, judge

LIMITS = HeadLimits(request_line=8192, line=8192, fields=1000)
BY = Forwarding(peer=b"192.0.2.9", port=b"80", scheme=b"http", trusted=False, via=b"dynod")
BEHIND_PROXY = Forwarding(peer=b"127.0.0.1", port=b"80", scheme=b"http", trusted=True, via=b"dynod")
FRESH_ID = b"i" * 20
AT_MS = 1
DATE = b"Mon, 23 Nov 2026 15:00:00 GMT"

REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"POST /x?y=z HTTP/1.1\r\nHost: a.test:80\r\nContent-Length: 5\r\nAccept: */*\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"PUT / HTTP/1.0\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX_Forwarded_For: 5\r\nX-Request-Id: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE, X-Y\r\nX-Y: 1\r\nCookie: a=b; c=d\r\n\r\n",
]
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
    b"HTTP/1.0 302 Found\r\nLocation: /a\r\nSet-Cookie: a=b; Path=/\r\nSet-Cookie: c=d\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nDate: x\r\nVia: 1.1 y\r\nKeep-Alive: timeout=5\r\n\r\n",
]
PIECES = [
    *(bytes([byte]) for byte in (0, 9, 10, 11, 12, 13, 32, 43, 44, 45, 48, 58, 59, 95, 127, 128, 133, 160, 255)),
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n ",
        b"\r\n\t",
        b": ",
        b" :",
        b"\t:",
        b", ",
        b"chunked",
        b"identity",
        b"0",
        b"5",
        b"+5",
    ),
    *(b"Content-Length: 5\r\n", b"Content-Length: 6\r\n", b"content_length: 7\r\n", b"Content-Length : 5\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding:\tchunked\r\n", b"transfer-encoding: x\r\n"),
    *(
        b"Host: b\r\n",
        b"Connection: close\r\n",
        b"Connection: Host, Content-Length\r\n",
        b"Upgrade: h2c\r\n",
        b"X: y\r\n",
    ),
    *(b" HTTP/1.1", b" HTTP/1.0", b"GET ", b"http://a/", b"*", b"//", b"/../", b"%00", b"#", b"\\", b"@", b"[::1]"),
]


def mutated(rng: random.Random, seed: bytes) -> bytes:
    """`seed` with one to five changes."""
    message = bytearray(seed)
    for _ in range(rng.randint(1, 5)):
        place = rng.randrange(len(message) + 1)
        match rng.randrange(6):
            case 0:
                message[place:place] = rng.choice(PIECES)
            case 1:
                del message[place : place + rng.randint(1, 4)]
            case 2:
                message[place : place + 1] = rng.choice(PIECES)
            case 3:
                lines = bytes(message).split(b"\r\n")
                lines.insert(rng.randrange(1, len(lines) + 1), rng.choice(lines))
                message = bytearray(b"\r\n".join(lines))
            case 4:
                message[place:place] = bytes([rng.randrange(256)])
            case _:
                lines = bytes(message).split(b"\r\n")
                lines.insert(min(len(lines), rng.randint(1, 3)), rng.choice(PIECES).removesuffix(b"\r\n"))
                message = bytearray(b"\r\n".join(lines))
    end = bytes(message).find(b"\r\n\r\n")
    return bytes(message[: end + 4]) if end >= 0 else bytes(message) + b"\r\n\r\n"


def forwarded(head: bytes, by: Forwarding = BY) -> RequestHead:
    """A head, read as the relay reads it: for a plain one first, then thoroughly.

    Raises:
        HeadError: where the router refuses.

    """
    plain = http_head.RequestReader(by, LIMITS).read(head, FRESH_ID, AT_MS)
    if plain is None:
        return judge_request(head, by=by, limits=LIMITS, fresh_id=FRESH_ID, at_ms=AT_MS)
    return plain_request(plain)


def plain_request(plain: plain_head.PlainRequest) -> RequestHead:
    """What a reader of plain heads says, as the value that stands for any head."""
    method, target, host, request_id, fwd, protocol, out, length, persistent, _ = plain
    return RequestHead(
        method=method,
        target=target,
        host=host,
        request_id=request_id,
        fwd=fwd,
        protocol=protocol,
        out=out,
        asks=Asks(length=length, persistent=persistent),
    )


class _Collector:
    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.url = b""
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True


def by_llhttp(head: bytes, target: bytes) -> list[tuple[bytes, bytes]] | None:
    """The fields as llhttp reads them; None for a method that it does not know."""
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserInvalidMethodError:
        return None
    assert collector.complete
    assert collector.url in {target, b""}, (collector.url, target)
    return collector.fields


_GUNICORN = Config()
_GUNICORN.set("permit_unconventional_http_method", True)


def by_gunicorn(head: bytes) -> list[tuple[bytes, bytes]] | None:
    """The fields as gunicorn reads them; None where it refuses, which is its right."""
    try:
        request = next(RequestParser(_GUNICORN, iter([head]), ("192.0.2.9", 1)))
    except (ParseException, StopIteration):
        return None
    except NotImplementedError:
        return None
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers]


def by_aiohttp(head: bytes) -> list[tuple[bytes, bytes]] | None:
    """The fields as aiohttp's own parser reads them; None where it refuses."""
    parser = HttpRequestParserPy(Mock(), Mock(), 2**16)  # a head alone asks nothing of protocol and loop
    try:
        messages, _, _ = parser.feed_data(head)
    except HttpProcessingError:
        return None
    if not messages:
        return None
    return [(name.lower(), value) for name, value in messages[0][0].raw_headers]


def by_standard_library(head: bytes) -> list[tuple[bytes, bytes]]:
    """The fields as http.client and http.server read them."""
    text = head.partition(b"\r\n")[2].decode("latin-1")
    message = email.parser.Parser(policy=email.policy.compat32).parse(io.StringIO(text, newline=""))
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in message.items()]


def ours(head: bytes) -> list[tuple[bytes, bytes]]:
    """The fields as the grammar says, of a head that the router wrote."""
    lines = head[:-4].split(b"\r\n")[1:]
    return [(name.lower(), value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]


def check_request(head: bytes) -> bool:
    """One head; whether it goes on. An assertion fails where it may not."""
    try:
        request = forwarded(head)
    except HeadError:
        return False
    out, asks, target = request.out, request.asks, request.target
    assert out.endswith(b"\r\n\r\n")
    assert out.count(b"\r\n\r\n") == 1, "two heads in one"
    assert b"\n" not in out.replace(b"\r\n", b""), "a bare LF goes on"
    assert b"\r" not in out.replace(b"\r\n", b""), "a bare CR goes on"
    assert re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", out) is None, "a control byte goes on"
    expected = ours(out)
    names = [name for name, _ in expected]
    for name in (b"host", b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id", b"x-request-start", b"via"):
        assert names.count(name) == 1, name
    lengths = [value for name, value in expected if name == b"content-length"]
    codings = [value for name, value in expected if name == b"transfer-encoding"]
    assert lengths == ([b"%d" % asks.length] if asks.length >= 0 else [])
    assert codings == ([b"chunked"] if asks.chunked else [])
    assert not (lengths and codings)
    assert (b"host", request.host) in expected
    assert not any(name.replace(b"_", b"-") in _OURS and b"_" in name for name in names), names
    for read in (by_llhttp(out, target), by_gunicorn(out), by_aiohttp(out)):
        if read is not None:
            kept = [(name, value.strip(b" \t")) for name, value in read]
            # A reader may drop fields (gunicorn those with an underscore), never see others.
            assert kept == expected or all(item in expected for item in kept), (kept, expected)
            framing = [item for item in kept if item[0] in (b"content-length", b"transfer-encoding", b"host")]
            assert framing == [
                item for item in expected if item[0] in (b"content-length", b"transfer-encoding", b"host")
            ]
    assert [(name, value.strip(b" \t")) for name, value in by_standard_library(out)] == expected
    return True


_OURS = frozenset(
    b"content-length transfer-encoding host x-forwarded-for x-forwarded-proto x-forwarded-port x-request-id".split()
)


def _date() -> bytes:
    return DATE


def check_answer(head: bytes) -> bool:
    """One answer's head; whether it goes on."""
    try:
        plain = http_head.AnswerReader(b"dynod", LIMITS, _date).read(head)
        answer = answer_of(plain) if plain is not None else judge_answer(head, via=b"dynod", limits=LIMITS, date=DATE)
    except HeadError as error:
        if error.status not in (502, 503):
            raise
        return False
    out = answer.ready
    assert out.endswith(b"\r\n\r\n")
    assert out.count(b"\r\n\r\n") == 1, "an answer is split"
    assert b"\n" not in out.replace(b"\r\n", b"")
    assert b"\r" not in out.replace(b"\r\n", b"")
    expected = ours(out)
    names = [name for name, _ in expected]
    assert not set(names) & {b"connection", b"keep-alive", b"upgrade", b"proxy-connection"}
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    assert names.count(b"via") == 1
    if answer.status == 101:
        return True  # its head is written by the relay, with the fields of the upgrade
    collector = _Collector()
    httptools.HttpResponseParser(collector).feed_data(out)
    assert [(name, value.strip(b" \t")) for name, value in collector.fields] == expected
    return True


_IN_USE = http_head.RequestReader, http_head.AnswerReader
_TWINS = ((plain_head.RequestReader, plain_head.AnswerReader), _IN_USE)


@contextlib.contextmanager
def parser_of_ours(*, plain: bool) -> Iterator[None]:
    """Heads are read without the compiled module, or with it where it is built."""
    http_head.RequestReader, http_head.AnswerReader = _TWINS[not plain]  # type: ignore[misc,assignment]  # twins
    try:
        yield
    finally:
        http_head.RequestReader, http_head.AnswerReader = _IN_USE  # type: ignore[misc]  # as it was


def check_twins(head: bytes) -> bool:
    """What a reader of plain heads takes, the judge takes, and understands the same. Whether one took it."""
    taken = 0
    line = re.match(rb"[^\n]*(?=\n)", head)
    block = head[line.end() :] if line else head
    for start in (b"GET /a HTTP/1.1\r", head[: line.end()] if line else b""):
        for by in (BY, BEHIND_PROXY):
            for request_reader, _ in _TWINS:
                reader = request_reader(by, LIMITS)
                for ahead in (b"", b"GET /", b"x"):  # the second time from what it remembers
                    plain = reader.read(start + block + ahead, FRESH_ID, AT_MS)
                    if plain is not None:
                        taken += 1
                        end = (start + block).find(b"\r\n\r\n") + 4
                        assert plain[-1] == end
                        _same_request((start + block)[:end], by, plain_request(plain))
    for status in (b"HTTP/1.1 200 OK\r", b"HTTP/1.1 204 No Content\r", b"HTTP/1.1 304 \r"):
        for _, answer_reader in _TWINS:
            answers = answer_reader(b"dynod", LIMITS, _date)
            for body in (b"", b"12345", b"123456"):
                data = status + block + body
                answer = answers.read(data)
                if answer is not None:
                    taken += 1
                    end = data.find(b"\r\n\r\n") + 4
                    assert answer[9] == end
                    expected = judge_answer(data[:end], via=b"dynod", limits=LIMITS, date=DATE)
                    assert _values(answer_of(answer)) == _values(expected), (answer, _values(expected))
                    whole = expected.status == 200 and expected.length == len(data) - end
                    assert answer[10] == whole, answer
                    assert answer[1] == expected.ready + (data[end:] if whole else b"")
    return bool(taken)


def _same_request(head: bytes, by: Forwarding, taken: RequestHead) -> None:
    expected = judge_request(head, by=by, limits=LIMITS, fresh_id=FRESH_ID, at_ms=AT_MS)
    for name in RequestHead.__slots__:
        mine, other = getattr(taken, name), getattr(expected, name)
        if name == "asks":
            mine, other = _values(mine), _values(other)
        assert mine == other, (name, mine, other)


def _values(thing: Asks | ResponseHead) -> dict[str, object]:
    return {name: getattr(thing, name) for name in type(thing).__slots__}


@dataclass(slots=True)
class Passed:
    """How many of each kind went on."""

    requests: int = 0
    answers: int = 0
    bodies: int = 0


def ask_servers(judges: Sequence[Judge], head: bytes, rng: random.Random) -> None:
    """What goes on of a request whose head is valid, with a body, put to real servers."""
    request = forwarded(head)
    asks = request.asks
    if asks.length > LONGEST_BODY_SENT or asks.upgrade:
        return  # nobody waits for 10**17 bytes; an upgrade is a tunnel, behind which no second request is one
    if asks.chunked:
        body, length = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body_fuzz.EVIL), body_fuzz.EVIL), len(body_fuzz.EVIL)
    else:
        length = max(0, asks.length)
        body = (body_fuzz.EVIL * 100)[:length] if rng.random() < 0.5 else rng.randbytes(length)
    for one in judges:
        said = one.disagrees(
            request.out + body, method=request.method, target=request.target, host=request.host, length=length
        )
        assert said is None, said


LONGEST_BODY_SENT = 3000


def run(
    count: int, seed: int, report: Callable[[str], None] = print, *, judges: Sequence[Judge] = (), every: int = 1
) -> Passed:
    """`count` messages of each kind; how many of each went on. Real servers judge one in `every`."""
    rng = random.Random(seed)
    passed = Passed()
    started = time.monotonic()
    for number in range(count):
        head = mutated(rng, rng.choice(REQUESTS))
        try:
            goes_on = check_request(head)
            passed.requests += goes_on
            check_twins(head)
            if goes_on and judges and number % every == 0:
                ask_servers(judges, head, rng)
            head = mutated(rng, rng.choice(ANSWERS))
            passed.answers += check_answer(head)
            check_twins(head)
            head = b"a body"
            if (whole := body_fuzz.check(rng)) is not None:
                passed.bodies += 1
                head, length = whole
                for one in judges if number % every == 0 else ():
                    said = one.disagrees(head, method=b"POST", target=b"/body", host=b"a", length=length)
                    assert said is None, said
        except Exception as error:
            raise AssertionError(f"seed {seed}, message {number}: {head!r}: {error!r}") from error
        if number and number % 100_000 == 0:
            report(f"{number} of each, {number / (time.monotonic() - started):.0f}/s")
    return passed


def main(argv: Sequence[str]) -> int:
    """Run as a program: see the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--parser", choices=["compiled", "plain"], help="which of ours decides (both are compared)")
    parser.add_argument("--no-servers", action="store_true", help="ask the parsers in this process alone")
    given = parser.parse_args(argv)
    if given.parser == "compiled" and not http_head.COMPILED:
        parser.error("the compiled parser is not built")
    names = [] if given.no_servers else [name for name in ("nginx", "node") if installed.found(name)]
    print(f"seed {given.seed}; servers asked: {', '.join(names) or 'none'}", flush=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(parser_of_ours(plain=given.parser == "plain"))
        judges = []
        for name in names:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dynod-judge-")))
            judges.append(stack.enter_context(judge(name, folder)))
        passed = run(given.count, given.seed, judges=judges)
        asked = "".join(f"; {one.name} agreed on {one.agreed}, refused {one.refused}" for one in judges)
    print(
        f"{given.count} of each: {passed.requests} requests, {passed.answers} answers and {passed.bodies} chunked "
        f"bodies went on, none read differently{asked}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
