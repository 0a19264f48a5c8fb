"""The chunked coding: any cutting gives the same, and only the grammar passes."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.chunked import ChunkReader
from router.core.request_body import RequestBody
from router.errors import BodyTooLargeError, ChunkError

EXTENSIONS = [b"", b";a", b";a=b", b';a="b;\\"c"', b" ; a = b", b";a;b=c"]


def feed_all(reader: ChunkReader, pieces: list[bytes], *, keep_framing: bool) -> tuple[bytes, bytes]:
    out = b""
    for number, piece in enumerate(pieces):
        got, rest = reader.feed(piece, keep_framing=keep_framing)
        out += got
        if reader.done:
            return out, rest + b"".join(pieces[number + 1 :])
    return out, b""


def cut(message: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(message), *(position % (len(message) + 1) for position in cuts)})
    return [message[start:end] for start, end in pairwise(edges)]


def decoded(framed: bytes) -> bytes:
    """A plain decoder without mercy, for what the reader wrote (the last chunk is not there)."""
    out = b""
    while framed:
        match = re.match(rb"([0-9A-Fa-f]+)\r\n", framed)
        assert match is not None, framed
        size = int(match.group(1), 16)
        assert size
        framed = framed[match.end() :]
        out += framed[:size]
        assert framed[size : size + 2] == b"\r\n"
        framed = framed[size + 2 :]
    return out


@given(
    chunks=st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.sampled_from(EXTENSIONS)), max_size=6),
    trailers=st.sampled_from([b"", b"X: y\r\n", b"X: y\r\nZ: \r\n"]),
    rest=st.binary(max_size=20),
    cuts=st.lists(st.integers(0, 10_000), max_size=8),
    keep_framing=st.booleans(),
)
def test_any_cutting_gives_the_same_body(
    chunks: list[tuple[bytes, bytes]], trailers: bytes, rest: bytes, cuts: list[int], keep_framing: bool
) -> None:
    body = b"".join(data for data, _ in chunks)
    message = b"".join(b"%X%b\r\n%b\r\n" % (len(data), extension, data) for data, extension in chunks)
    message += b"0;last\r\n" + trailers + b"\r\n"
    reader = ChunkReader()
    out, surplus = feed_all(reader, cut(message + rest, cuts), keep_framing=keep_framing)
    assert reader.done
    assert (decoded(out) if keep_framing else out) == body
    assert surplus == rest
    assert reader.trailers == trailers
    assert reader.body_bytes == len(body)


@given(st.binary(max_size=60), st.lists(st.integers(0, 100), max_size=4))
def test_nonsense_never_passes_as_data(noise: bytes, cuts: list[int]) -> None:
    """Whatever comes: either an error, or what went out is exact framing of what a strict decoder would read."""
    reader = ChunkReader()
    try:
        out, _ = feed_all(reader, cut(noise, cuts), keep_framing=True)
    except ChunkError:
        return
    if reader.done:
        decoded(out)


@pytest.mark.parametrize("size", [b"-1", b"+1", b"0x1", b"1_0", b" 1", b"1 ", b"", b"g", b"1" * 16, "\u0661".encode()])
def test_sizes_are_plain_hex(size: bytes) -> None:
    with pytest.raises(ChunkError):
        ChunkReader().feed(size + b"\r\nx\r\n")


@pytest.mark.parametrize("start", [b"5\n", b"5\rx", b"zz", b"5;\x00", b"x"])
def test_what_cannot_become_a_size_is_refused_at_once(start: bytes) -> None:
    with pytest.raises(ChunkError):
        ChunkReader().feed(start)


@given(body=st.binary(max_size=50), rest=st.binary(max_size=10), cuts=st.lists(st.integers(0, 100), max_size=5))
def test_a_body_by_length_ends_exactly(body: bytes, rest: bytes, cuts: list[int]) -> None:
    if not body:
        return
    reader = RequestBody(length=len(body), chunked=False, most=0)
    out = b""
    pieces = cut(body + rest, cuts)
    for number, piece in enumerate(pieces):
        out += reader.feed(piece)
        if reader.done:
            assert reader.surplus + b"".join(pieces[number + 1 :]) == rest
            break
    assert (out, reader.size, reader.done) == (body, len(body), True)


def test_a_chunked_body_has_its_limit() -> None:
    body = RequestBody(length=-1, chunked=True, most=4)
    assert body.feed(b"4\r\nabcd\r\n") == b"4\r\nabcd\r\n"
    with pytest.raises(BodyTooLargeError):
        body.feed(b"1\r\nx")
