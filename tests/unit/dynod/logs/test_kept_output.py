"""What commands print, kept in segments: bounded from its beginning, readable while it grows, never a half answer."""

import asyncio
import os
from pathlib import Path

import pytest

from dynod.logs.kept_output import KeptOutput
from dynod.release_output import ReleaseOutput


def text_of(kept: KeptOutput, number: int) -> bytes:
    found = b""
    for segment in kept.segments(number):
        descriptor = kept.open(number, segment)
        assert descriptor is not None
        with os.fdopen(descriptor, "rb") as file:
            found += file.read()
    return found


def test_it_is_cut_from_its_beginning_in_large_steps(tmp_path: Path) -> None:
    kept = KeptOutput(tmp_path / "a", segment_bytes=100)
    lines = [b"%03d 56789\n" % number for number in range(100)]
    for line in lines:
        kept.append(5, line)
        assert len(text_of(kept, 5)) <= 200
    text = text_of(kept, 5)
    assert text == b"".join(lines[-len(text) // 10 :])
    assert len(text) > 100
    assert kept.segments(4) == []


def test_old_outputs_go_when_there_are_too_many_and_never_the_newest(tmp_path: Path) -> None:
    kept = KeptOutput(tmp_path, segment_bytes=1000, most_bytes=250)
    for number in range(1, 6):
        kept.append(number, b"x" * 99 + b"\n")
    assert [number for number in range(1, 6) if kept.segments(number)] == [3, 4, 5]
    kept.append(6, b"x" * 999 + b"\n")
    kept.append(7, b"y\n")
    assert [number for number in range(1, 8) if kept.segments(number)] == [7]


def test_lines_that_find_no_room_are_counted_and_announced(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("in the way of the folder")
    kept = KeptOutput(tmp_path / "a")
    kept.append(5, b"one\ntwo\n")
    kept.append(5, b"three\n")
    (tmp_path / "a").unlink()
    kept.append(5, b"four\n")
    kept.append(5, b"five\n")
    notice, *rest = text_of(kept, 5).splitlines()
    assert notice.startswith(b"[dynod: 3 lines of output could not be kept: ")
    assert rest == [b"four", b"five"]


@pytest.mark.parametrize("segment_bytes", [3, 1000])
def test_it_is_streamed_from_its_beginning_to_its_end(tmp_path: Path, segment_bytes: int) -> None:
    async def play() -> None:
        output = ReleaseOutput(KeptOutput(tmp_path, segment_bytes=segment_bytes))
        output.goes_to(5)
        handed_on: asyncio.Queue[str] = asyncio.Queue()

        async def write(ps: str, line: bytes) -> None:
            output.copy(ps, line, lambda: handed_on.put_nowait(ps))()
            assert await handed_on.get() == ps

        await write("release.7", b"first\n")
        seen: asyncio.Queue[bytes] = asyncio.Queue()

        async def follow() -> None:
            async for piece in output.stream(5):
                if piece:
                    seen.put_nowait(piece)

        following = asyncio.create_task(follow())
        assert await seen.get() == b"first\n"
        for line in (b"second\n", b"third\n"):
            await write("release.7", line)
            assert await seen.get() == line
        await write("web.1", b"somebody else\n")
        output.goes_to(None)
        await following
        assert seen.empty()
        again = b"".join([piece async for piece in output.stream(5)])
        assert again == (b"second\nthird\n" if segment_bytes == 3 else b"first\nsecond\nthird\n")
        assert [piece async for piece in output.stream(6)] == []

    asyncio.run(play())


def test_it_counts_as_handed_on_once_both_places_have_it(tmp_path: Path) -> None:
    async def play() -> None:
        output = ReleaseOutput(KeptOutput(tmp_path))
        output.goes_to(5)
        handed_on = asyncio.Event()
        sink_has_it = output.copy("release.1", b"line\n", handed_on.set)
        stream = output.stream(5)
        while await anext(stream) != b"line\n":
            pass
        await stream.aclose()
        assert not handed_on.is_set()
        sink_has_it()
        await handed_on.wait()
        web = handed_on.set
        assert output.copy("web.1", b"line\n", web) is web

    asyncio.run(play())
