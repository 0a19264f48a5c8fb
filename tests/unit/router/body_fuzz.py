"""Mutated chunked bodies against the router's reader and everybody else's; head_fuzz.py runs it, and is the program.

What is looked for: a body that goes on although a backend's parser would find its end elsewhere, or other bytes in it.
What goes on is made as relay.py makes it, and behind it stands a second request that every reader must find.
"""

import random
from typing import Final

import httptools
from gunicorn.config import Config  # type: ignore[import-untyped]  # gunicorn ships no types
from gunicorn.http import RequestParser  # type: ignore[import-untyped]  # gunicorn ships no types

from router.core.request_body import RequestBody
from router.errors import ChunkError, HeadError
from router.head_grammar import allowed_trailers
from router.head_values import HeadLimits

LIMITS: Final = HeadLimits(request_line=8192, line=8192, fields=1000)
HEAD: Final = b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
NEXT: Final = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
EVIL: Final = (
    b"GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n"  # what a body may well hold, and nobody may take for a request
)
BODIES: Final = [
    b"5\r\nhello\r\n0\r\n\r\n",
    b"%x\r\n%b\r\n0\r\n\r\n" % (len(EVIL), EVIL),
    b'a;x="y\\"z";w\r\n0123456789\r\n1\r\n0\r\n0\r\nX-Sum: 1\r\n\r\n',
    b"000005\r\n0\r\n\r\n\r\n0\r\nHost: b\r\nContent-Length: 7\r\n\r\n",
    b"0\r\n\r\n",
]
PIECES: Final = [
    *(bytes([byte]) for byte in (0, 9, 10, 11, 13, 32, 34, 43, 45, 48, 49, 59, 61, 65, 70, 71, 92, 95, 103, 128, 255)),
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"0\r\n",
        b"0\r\n\r\n",
        b"\r\n\r\n",
        b";a=b",
        b';a="',
        b"0x",
        b"fffffffffffffff",
        b"  ",
        b"\\\r\n",
    ),
    *(b"X: y\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", EVIL),
]


def mutated(rng: random.Random) -> bytes:
    """A chunked body with up to three changes, and the next request behind it."""
    body = bytearray(rng.choice(BODIES))
    for _ in range(rng.randint(0, 3)):
        place = rng.randrange(len(body) + 1)
        match rng.randrange(4):
            case 0:
                body[place:place] = rng.choice(PIECES)
            case 1:
                del body[place : place + rng.randint(1, 3)]
            case 2:
                body[place : place + 1] = rng.choice(PIECES)
            case _:
                body[place:place] = bytes([rng.randrange(256)])
    return bytes(body) + NEXT


def relayed(rng: random.Random, raw: bytes) -> tuple[bytes, int] | None:
    """What goes to the backend of a body that came in pieces, and its length; None if it is refused or not whole."""
    body = RequestBody(length=-1, chunked=True, most=0)
    out = b""
    start = 0
    try:
        while start < len(raw) and not body.done:
            end = min(len(raw), start + rng.randint(1, 40))
            out += body.feed(raw[start:end])
            start = end
        if not body.done:
            return None
        out += b"0\r\n" + allowed_trailers(body.trailers or b"", LIMITS) + b"\r\n"
    except (ChunkError, HeadError):
        return None
    return out, body.size


_GUNICORN: Final = Config()


class _Reader:
    def __init__(self) -> None:
        self.bodies = [b""]
        self.targets: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self.targets.append(url)

    def on_body(self, data: bytes) -> None:
        self.bodies[-1] += data

    def on_message_complete(self) -> None:
        self.bodies.append(b"")


def by_llhttp(message: bytes) -> tuple[list[bytes], bytes]:
    """The targets of all requests, and the body of the first."""
    reader = _Reader()
    httptools.HttpRequestParser(reader).feed_data(message)
    return reader.targets, reader.bodies[0]


def by_gunicorn(message: bytes) -> tuple[list[bytes], bytes]:
    """The targets of all requests, and the body of the first."""
    targets, bodies = [], []
    for request in RequestParser(_GUNICORN, iter([message]), ("192.0.2.9", 1)):
        targets.append(request.uri.encode("latin-1"))
        bodies.append(request.body.read())
    return targets, bodies[0]


def check(rng: random.Random) -> tuple[bytes, int] | None:
    """One body; the whole message that goes on and its body's length, or None. An assertion fails where it may not."""
    raw = mutated(rng)
    got = relayed(rng, raw)
    if got is None:
        return None
    out, size = got
    targets, body = by_llhttp(HEAD + out + NEXT)
    assert targets == [b"/body", b"/next"], (raw, targets)
    assert len(body) == size, (raw, body)
    assert by_gunicorn(HEAD + out + NEXT) == (targets, body), raw
    return HEAD + out, size
