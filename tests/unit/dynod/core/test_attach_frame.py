"""Frames of an attached session come out as they went in, however the stream is cut; anything else is refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.attach_frame import (
    MOST_BYTES,
    SIGNALS,
    Data,
    EndOfInput,
    Exit,
    Frame,
    FrameError,
    FrameReader,
    SendSignal,
    Taken,
    WindowSize,
    encode,
)

CELLS = st.integers(0, 65_535)
# What a person is told may quote a path that is no UTF-8.
REASONS = st.binary(max_size=200).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Data, st.binary(max_size=1000)),
    st.builds(WindowSize, CELLS, CELLS),
    st.builds(SendSignal, st.sampled_from(sorted(SIGNALS))),
    st.just(EndOfInput()),
    st.builds(Taken, st.integers(0, 2**64 - 1)),
    st.builds(Exit, st.integers(-(2**31), 2**31 - 1), REASONS),
)


@given(st.lists(FRAMES, max_size=20), st.data())
def test_any_cut_of_the_stream_yields_the_same_frames(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(map(encode, frames))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    reader = FrameReader()
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    seen = [frame for piece in pieces for frame in reader.feed(piece)]
    assert seen == frames
    assert list(map(type, seen)) == list(map(type, frames))


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_waited_for_and_nothing_else_happens(garbage: bytes) -> None:
    reader = FrameReader()
    try:
        frames = reader.feed(garbage)
    except FrameError:
        return
    assert b"".join(map(encode, frames)) == garbage[: len(b"".join(map(encode, frames)))]


@given(st.lists(FRAMES, min_size=1, max_size=5))
def test_a_frame_cut_short_is_not_given(frames: list[Frame]) -> None:
    stream = b"".join(map(encode, frames))
    assert FrameReader().feed(stream[:-1]) == frames[:-1]


def test_the_largest_frame_passes_and_one_more_byte_does_not() -> None:
    assert FrameReader().feed(encode(Data(b"x" * MOST_BYTES))) == [Data(b"x" * MOST_BYTES)]
    with pytest.raises(ValueError, match="are the most"):
        encode(Data(b"x" * (MOST_BYTES + 1)))
    with pytest.raises(FrameError, match="are the most"):
        FrameReader().feed(struct.pack(">cI", b"d", MOST_BYTES + 1))


@pytest.mark.parametrize(
    "stream",
    [
        b"?\0\0\0\0",  # no such kind, said as soon as the head is there
        b"w\0\0\0\3abc",
        b"s\0\0\0\4KILL",  # a dyno is stopped by ps:stop, in order
        b"s\0\0\0\1\xff",
        b"e\0\0\0\1x",
        b"t\0\0\0\1x",
        b"x\0\0\0\3abc",
    ],
)
def test_a_malformed_frame_is_refused(stream: bytes) -> None:
    with pytest.raises(FrameError):
        FrameReader().feed(stream)


@pytest.mark.parametrize("frame", [WindowSize(-1, 80), WindowSize(24, 65_536), SendSignal("KILL")])
def test_what_would_be_refused_is_not_sent(frame: Frame) -> None:
    with pytest.raises(ValueError, match=r"no window|not passed on"):
        encode(frame)
