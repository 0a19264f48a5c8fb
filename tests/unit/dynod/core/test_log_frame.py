"""Framing: any way of cutting a byte stream gives the same lines, and no byte is lost, added or counted twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.log_frame import LINE_LIMIT, frame, last_line

LIMIT = 8  # small, so that hypothesis meets it


def expected_lines(stream: bytes, limit: int) -> list[bytes]:
    """The definition, written as plainly as possible: split, strip one CR, slice."""
    lines: list[bytes] = []
    bodies = stream.split(b"\n")
    if bodies[-1] == b"":
        bodies.pop()
    for body in bodies:
        content = body.removesuffix(b"\r")
        lines.extend(content[at : at + limit] for at in range(0, max(len(content), 1), limit))
    return lines


def framed_in_chunks(chunks: list[bytes], limit: int) -> bytes:
    """What a pump does: offer what is not covered again, in front of the next bytes; flush at the end."""
    held = b""
    text = b""
    for chunk in chunks:
        held += chunk
        lines, covered = frame(held, limit)
        assert (lines == b"") == (covered == 0)
        text += lines
        held = held[covered:]
        assert b"\n" not in held
        assert len(held) <= limit + 1
    return text + last_line(held)


awkward_bytes = st.lists(
    st.one_of(
        st.sampled_from([b"\n", b"\r", b"\r\n", b"\r\r\n", b"\x00", b"\xff", b"a" * LIMIT, b"b" * (LIMIT + 1)]),
        st.binary(max_size=20),
    )
).map(b"".join)


@given(stream=awkward_bytes, data=st.data())
def test_any_chunking_gives_the_same_lines(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(min_value=0, max_value=len(stream)))))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    lines = expected_lines(stream, LIMIT)
    assert framed_in_chunks(chunks, LIMIT) == b"".join(line + b"\n" for line in lines)


@given(stream=awkward_bytes)
def test_byte_by_byte_gives_the_same_lines(stream: bytes) -> None:
    lines = expected_lines(stream, LIMIT)
    assert framed_in_chunks([stream[i : i + 1] for i in range(len(stream))], LIMIT) == b"".join(
        line + b"\n" for line in lines
    )


@given(stream=awkward_bytes)
def test_bytes_are_preserved_but_for_line_ends(stream: bytes) -> None:
    def without_line_ends(data: bytes) -> bytes:
        return data.replace(b"\n", b"").replace(b"\r", b"")

    assert without_line_ends(framed_in_chunks([stream], LIMIT)) == without_line_ends(stream)


@given(stream=awkward_bytes)
def test_no_line_is_longer_than_the_limit(stream: bytes) -> None:
    text = framed_in_chunks([stream], LIMIT)
    assert all(len(line) <= LIMIT for line in text.split(b"\n"))


@pytest.mark.parametrize(
    ("data", "text", "covered"),
    [
        (b"", b"", 0),
        (b"half", b"", 0),
        (b"\n", b"\n", 1),
        (b"one\ntwo\nhal", b"one\ntwo\n", 8),
        (b"one\r\ntwo\r\n", b"one\ntwo\n", 10),
        (b"10%\r20%\n", b"10%\r20%\n", 8),
        (b"x" * 10_000, b"", 0),
        (b"x" * 10_000 + b"\n", b"x" * 10_000 + b"\n", 10_001),
        (b"x" * 10_000 + b"\r", b"", 0),
        (b"x" * 10_000 + b"\r\n", b"x" * 10_000 + b"\n", 10_002),
        (b"x" * 10_001, b"x" * 10_000 + b"\n", 10_000),
        (b"x" * 10_001 + b"\n", b"x" * 10_000 + b"\nx\n", 10_002),
        (b"a\n" + b"x" * 20_000 + b"\nb\nhalf", b"a\n" + (b"x" * 10_000 + b"\n") * 2 + b"b\n", 20_005),
        (b"a\n" + b"x" * 25_000, b"a\n" + (b"x" * 10_000 + b"\n") * 2, 20_002),
        (b"\xff\x00\xfe\n", b"\xff\x00\xfe\n", 4),
    ],
)
def test_lines_at_herokus_limit(data: bytes, text: bytes, covered: int) -> None:
    assert LINE_LIMIT == 10_000
    assert frame(data) == (text, covered)


@pytest.mark.parametrize(("rest", "line"), [(b"", b""), (b"bye", b"bye\n"), (b"bye\r", b"bye\n"), (b"\xff", b"\xff\n")])
def test_the_half_line_at_the_end_becomes_a_line(rest: bytes, line: bytes) -> None:
    assert last_line(rest) == line
