"""A sealed stream opens with its passphrase, whole and as it was, or not at all."""

import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.sealed_file import (
    FRAME_BYTES,
    HEADER_BYTES,
    MAGIC,
    TAG_BYTES,
    SealedFileError,
    Unsealed,
    is_sealed,
    sealed,
)

CHEAP = (4, 8, 1)
SECRET = "correct horse battery staple"
BEGIN = HEADER_BYTES + TAG_BYTES  # of the first frame
WHOLE = FRAME_BYTES + TAG_BYTES  # a frame that is not the last
CONTENT = bytes(itertools.islice(itertools.cycle(range(251)), 2 * FRAME_BYTES + 1000))
FILE = b"".join(sealed([CONTENT], SECRET, costs=CHEAP))


def opened(file: bytes, passphrase: str = SECRET) -> bytes:
    return Unsealed(io.BytesIO(file), passphrase).readall() or b""


@given(st.lists(st.integers(0, FRAME_BYTES + 7), max_size=4), st.integers(1, 2 * FRAME_BYTES))
def test_however_it_comes_and_is_read_it_is_the_same(sizes: list[int], step: int) -> None:
    pieces = [CONTENT[:size] for size in sizes]
    file = b"".join(sealed(pieces, SECRET, costs=CHEAP))
    reader, found = Unsealed(io.BytesIO(file), SECRET), bytearray()
    while piece := reader.read(step):
        found += piece
    assert bytes(found) == b"".join(pieces)


@pytest.mark.parametrize("size", [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 2 * FRAME_BYTES])
def test_a_frame_that_is_just_full_may_be_the_last(size: int) -> None:
    file = b"".join(sealed([CONTENT[:size]], SECRET, costs=CHEAP))
    assert opened(file) == CONTENT[:size]
    assert len(file) == BEGIN + size + TAG_BYTES * max(1, -(-size // FRAME_BYTES))


def test_nothing_of_it_is_to_be_seen_and_no_two_files_are_the_same() -> None:
    again = b"".join(sealed([CONTENT], SECRET, costs=CHEAP))
    assert FILE[BEGIN:] != again[BEGIN:]
    assert CONTENT[:32] not in FILE


@given(st.integers(0, len(FILE) - 1), st.integers(0, 7))
def test_a_bit_that_is_another_is_noticed(at: int, bit: int) -> None:
    altered = bytearray(FILE)
    altered[at] ^= 1 << bit
    with pytest.raises(SealedFileError):
        opened(bytes(altered))


@given(st.one_of(st.integers(0, len(FILE) - 1), st.sampled_from([BEGIN, BEGIN + WHOLE, BEGIN + 2 * WHOLE])))
def test_an_end_that_is_missing_is_noticed(length: int) -> None:
    with pytest.raises(SealedFileError):
        opened(FILE[:length])


def test_frames_that_are_moved_left_out_repeated_or_of_another_file_are_noticed() -> None:
    head, first, second, last = FILE[:BEGIN], FILE[BEGIN:][:WHOLE], FILE[BEGIN + WHOLE :][:WHOLE], FILE[-1016:]
    other = b"".join(sealed([CONTENT], SECRET, costs=CHEAP))
    assert opened(head + first + second + last) == CONTENT
    for frames in (
        (second, first, last),
        (first, last),
        (first, first, second, last),
        (first, second, last, last),
        (first, second, last, b"more"),
        (last,),
        (other[BEGIN:][:WHOLE], second, last),
    ):
        with pytest.raises(SealedFileError, match="cut short, or altered"):
            opened(head + b"".join(frames))


def test_another_passphrase_is_told_from_a_file_that_was_altered() -> None:
    with pytest.raises(SealedFileError, match="that is not its passphrase"):
        opened(FILE, SECRET + " ")
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert opened(b"".join(sealed([b"x"], composed, costs=CHEAP)), decomposed) == b"x"


@pytest.mark.parametrize("costs", [(21, 8, 1), (17, 255, 1), (17, 8, 255), (0, 8, 1), (17, 0, 1)])
def test_a_stranger_s_file_cannot_ask_for_all_memory(costs: tuple[int, int, int]) -> None:
    asking = MAGIC + bytes(costs) + FILE[len(MAGIC) + len(costs) :]
    with pytest.raises(SealedFileError, match="more memory"):
        opened(asking)


def test_what_is_sealed_is_known_by_its_beginning() -> None:
    for content, expected in ((FILE, True), (b"\x1f\x8b\x08", False), (b"", False)):
        file = io.BytesIO(content)
        assert is_sealed(file) is expected
        assert file.tell() == 0
