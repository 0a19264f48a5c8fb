"""The history on disk: what was appended is read again, whatever was cut, compressed, removed or damaged meanwhile."""

import asyncio
import errno
import os
import random
import re
from collections.abc import Coroutine
from pathlib import Path

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from dynod.core.history_plan import START, Position
from dynod.core.log_line import LogBatch
from dynod.core.log_reading import LineReader
from dynod.logs.history_folder import HistoryFolder
from dynod.logs.history_reader import HistoryReader
from dynod.logs.history_sink import HistorySink

NOW = 1_700_000_000.0
DAY_S = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def line(number: int, *, stamp: str = "2023-11-14T22:13:20.000000+00:00") -> bytes:
    return f"{stamp} app[web.1]: line {number}\n".encode()


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(line(number) for number in range(first, first + count))


def append(folder: HistoryFolder, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[folder.append(view) :]


def read_all(folder: HistoryFolder, position: Position = START, *, max_bytes: int = 20_000) -> tuple[bytes, int]:
    """Everything from a position on, and how many lines were gone."""
    reader = HistoryReader(folder, position)
    found, lost = [], 0
    while True:
        piece = reader.read(max_bytes)
        lost += piece.lost
        found.append(piece.data)
        if not piece.data:
            reader.close()
            assert reader.position == folder.end
            return b"".join(found), lost


def open_folder(path: Path, clock: Clock, **limits: float) -> HistoryFolder:
    numbers = {name: int(value) if name.endswith("bytes") else value for name, value in limits.items()}
    return HistoryFolder(path, clock=clock, **numbers)  # type: ignore[arg-type]  # by keyword, as its signature has them


def numbers(data: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"line (\d+)\n", data)]


def test_what_was_appended_is_read_over_segments_and_cores(tmp_path: Path) -> None:
    clock = Clock()
    for core in range(3):
        folder = open_folder(tmp_path / "app", clock, segment_bytes=1000)
        for start in range(core * 100, core * 100 + 100, 10):
            append(folder, lines(10, start))
        folder.close()
    assert folder.end.line == 300
    assert len(folder.extents()) > 5
    data, lost = read_all(folder)
    assert (numbers(data), lost) == (list(range(300)), 0)
    assert folder.end.offset == len(data)


def test_files_are_for_nobody_elses_eyes(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "app", Clock(), segment_bytes=100)
    append(folder, lines(3))
    append(folder, lines(3))
    folder.keep_house()
    folder.close()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "app").iterdir()}
    assert (tmp_path / "app").stat().st_mode & 0o777 == 0o700
    assert set(modes.values()) == {0o600}


def test_a_line_cut_by_a_crash_is_cut_off_and_may_come_again(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "app", Clock())
    append(folder, lines(2) + line(2)[:20])
    assert folder.end.line == 0, "nobody may read on into a half line"
    folder.close()
    folder = open_folder(tmp_path / "app", Clock())
    assert folder.end.line == 2
    append(folder, lines(1, 2))
    assert numbers(read_all(folder)[0]) == [0, 1, 2]
    folder.close()


def test_finished_segments_are_compressed_and_read_all_the_same(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "app", Clock(), segment_bytes=2000)
    for start in range(0, 200, 10):
        append(folder, lines(10, start))
    reader = HistoryReader(folder, START)
    first = reader.read(16 * 1024)
    folder.keep_house()
    names = sorted(path.name for path in (tmp_path / "app").iterdir())
    assert [name.endswith(".gz") for name in names] == [True] * (len(names) - 1) + [False]
    rest = b""
    while (piece := reader.read(16 * 1024)).data:
        rest += piece.data
    assert numbers(first.data + rest) == list(range(200))
    assert numbers(read_all(folder)[0]) == list(range(200))
    reader.close()
    folder.close()


@pytest.mark.skipif(not Path("/proc/thread-self/io").exists(), reason="nothing tells what a thread has read")
def test_a_compressed_segment_is_unpacked_once_however_many_pieces_it_is_read_in(tmp_path: Path) -> None:
    """A piece ends with a whole line, before what was read for it: to go back there must not begin anew."""
    folder = open_folder(tmp_path / "app", Clock(), segment_bytes=1 << 20)
    for _ in range(60):
        append(folder, b"".join(b"%0300x\n" % random.getrandbits(1200) for _ in range(110)))
    folder.keep_house()
    packed = sum(path.stat().st_size for path in (tmp_path / "app").glob("*.gz"))
    assert packed > 0
    before = bytes_read()
    assert len(read_all(folder, max_bytes=256 * 1024)[0]) == folder.end.offset
    assert bytes_read() - before < 1.1 * (packed + folder.end.offset - folder.extents()[-1].start.offset)
    folder.close()


def bytes_read() -> int:
    """By this thread's system calls."""
    return int(Path("/proc/thread-self/io").read_text().split()[1])


def test_a_compression_that_was_cut_short_leaves_the_plain_file(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "app", Clock(), segment_bytes=500)
    append(folder, lines(20))
    append(folder, lines(20, 20))
    folder.close()
    first = min((tmp_path / "app").iterdir())
    (tmp_path / "app" / f"{first.name}.gz.making").write_bytes(b"half")
    folder = open_folder(tmp_path / "app", Clock(), segment_bytes=500)
    assert numbers(read_all(folder)[0]) == list(range(40))
    assert not list((tmp_path / "app").glob("*.making"))
    folder.close()


def test_what_is_too_much_goes_oldest_first_and_is_counted(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "app", Clock(), segment_bytes=1000, most_bytes=600)
    for start in range(0, 1000, 10):
        append(folder, lines(10, start))
    folder.keep_house()
    size = sum(path.stat().st_size for path in (tmp_path / "app").iterdir())
    assert size <= 600 + 1500, "what is being written stays"
    data, lost = read_all(folder)
    found = numbers(data)
    assert found == list(range(1000 - len(found), 1000))
    assert lost + len(found) == 1000
    assert lost == folder.begin.line
    folder.close()


def test_a_weeks_lines_go_also_of_an_app_that_is_silent(tmp_path: Path) -> None:
    clock = Clock()
    folder = open_folder(tmp_path / "app", clock)
    append(folder, lines(5))
    clock.now += 2 * DAY_S
    append(folder, lines(5, 5))
    clock.now += 6 * DAY_S
    folder.keep_house()
    assert numbers(read_all(folder)[0]) == [5, 6, 7, 8, 9]
    clock.now += 2 * DAY_S
    folder.keep_house()
    assert read_all(folder) == (b"", 10)
    append(folder, lines(1, 10))
    assert numbers(read_all(folder, Position(*folder.begin))[0]) == [10]
    folder.close()


def test_a_damaged_segment_is_skipped_and_its_lines_counted(tmp_path: Path) -> None:
    """After a loss of power a file may be short, or hold zeros."""
    folder = open_folder(tmp_path / "app", Clock(), segment_bytes=1000)
    for start in range(0, 100, 10):
        append(folder, lines(10, start))
    folder.close()
    paths = sorted((tmp_path / "app").iterdir())
    os.truncate(paths[1], 100)
    paths[2].write_bytes(b"\0" * paths[2].stat().st_size)
    folder = open_folder(tmp_path / "app", Clock(), segment_bytes=1000)
    data, lost = read_all(folder)
    assert len(numbers(data)) + lost == 100
    assert numbers(data)[-1] == 99
    folder.close()


def test_a_file_that_somebody_removed_is_written_anew(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "app", Clock())
    append(folder, lines(5))
    for path in (tmp_path / "app").iterdir():
        path.unlink()
    folder.keep_house()
    append(folder, lines(5, 5))
    data, lost = read_all(folder)
    assert (numbers(data), lost) == ([5, 6, 7, 8, 9], 5)
    folder.close()


def test_a_cursor_from_a_history_that_was_emptied_begins_at_the_beginning(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "app", Clock())
    append(folder, lines(5))
    reader = HistoryReader(folder, Position(1_000_000, 5_000))
    assert numbers(reader.read(20_000).data) == [0, 1, 2, 3, 4]
    reader.close()
    folder.close()


@settings(max_examples=40, deadline=None)
@given(
    writes=st.lists(st.integers(1, 30), min_size=1, max_size=20),
    segment_bytes=st.integers(100, 3000),
    skip=st.floats(0, 1),
    tidy=st.booleans(),
)
def test_any_place_can_be_gone_on_from(
    tmp_path_factory: pytest.TempPathFactory, writes: list[int], segment_bytes: int, skip: float, tidy: bool
) -> None:
    """Whatever was read before a crash, what is read after it follows without a gap; skipping counts right."""
    folder = open_folder(tmp_path_factory.mktemp("history") / "app", Clock(), segment_bytes=segment_bytes)
    total = 0
    for count in writes:
        append(folder, lines(count, total))
        total += count
    if tidy:
        folder.keep_house()
    reader = HistoryReader(folder, START)
    at = reader.line_at(int(folder.end.offset * skip))
    data, lost = read_all(folder, at)
    assert lost == 0
    assert numbers(data) == list(range(at.line, total))
    backwards = b"".join(reversed(list(reader.backwards(at))))
    assert numbers(backwards) == list(range(at.line))
    reader.close()
    folder.close()


# --- the sink ---------------------------------------------------------------------------------------------------------


class Notes:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.rooms = 0
        self.receipts = 0
        self.changed = asyncio.Event()

    def say(self, text: str) -> None:
        self.said.append(text)
        self.changed.set()

    def room(self) -> None:
        self.rooms += 1
        self.changed.set()

    def receipt(self) -> None:
        self.receipts += 1
        self.changed.set()

    async def until(self, count: int) -> None:
        while self.receipts < count:
            self.changed.clear()
            await self.changed.wait()


class SmallDisk(HistoryFolder):
    """A folder on a disk with so much room."""

    room = 1 << 40

    def append(self, data: memoryview) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = super().append(data[: self.room])
        self.room -= count
        return count


def play(scenario: Coroutine[object, object, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario

    uvloop.run(bounded())


def batch(number: int) -> LogBatch:
    return LogBatch(time=NOW + number, source="app", ps="web.1", text=b"line %d\n" % number)


def test_the_sink_gives_receipts_for_what_is_on_disk(tmp_path: Path) -> None:
    async def scenario() -> None:
        notes = Notes()
        folder = HistoryFolder(tmp_path / "app", clock=Clock(), segment_bytes=500)
        sink = HistorySink(asyncio.get_running_loop(), folder, on_room=notes.room, say=notes.say)
        sink.start()
        for number in range(100):
            sink.accept(batch(number), notes.receipt)
        offset = await sink.settled()
        await notes.until(100)
        data, lost = read_all(folder)
        assert (numbers(data), lost, offset) == (list(range(100)), 0, len(data))
        batches, unreadable = LineReader().batches(data)
        assert unreadable == 0
        assert batches == [batch(number) for number in range(100)]
        assert await sink.flush_and_close(5.0)

    play(scenario())


def test_a_full_disk_costs_counted_lines_and_nobody_waits_for_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        notes = Notes()
        folder = SmallDisk(tmp_path / "app", clock=Clock())
        folder.room = 5000
        sink = HistorySink(asyncio.get_running_loop(), folder, on_room=notes.room, say=notes.say, limit=10_000)
        sink.start()
        for number in range(200):  # more than the disk takes, and no more than whoever heeds back-pressure brings
            sink.accept(batch(number), notes.receipt)
        while not notes.said:
            notes.changed.clear()
            await notes.changed.wait()
        for number in range(200, 2000):
            sink.accept(batch(number), notes.receipt)
        await notes.until(2000)  # while the disk is still full
        assert len(notes.said) == 1
        assert "No space left" in notes.said[0]
        dropped = sum(sink.dropped.values())
        assert dropped > 0
        folder.room = 1 << 40
        while len(notes.said) < 2:
            notes.changed.clear()
            await notes.changed.wait()
        sink.accept(batch(2000), notes.receipt)
        await sink.settled()
        await notes.until(2001)
        assert await sink.flush_and_close(5.0)
        data, _lost = read_all(folder)
        found = numbers(data)
        assert len(found) + sum(sink.dropped.values()) == 2001
        assert found == sorted(set(found))
        announced = re.findall(rb" app\[log-shuttle\]: Error L12: (\d+) messages dropped since [0-9T:+-]{25}\.\n", data)
        assert sum(map(int, announced)) == sum(sink.dropped.values())
        assert f"{dropped}"[:1]  # it was counted while it lasted
        assert "written again" in notes.said[1]

    play(scenario())


def test_waiting_for_lines_ends_when_there_are_some(tmp_path: Path) -> None:
    async def scenario() -> None:
        folder = HistoryFolder(tmp_path / "app", clock=Clock())
        notes = Notes()
        sink = HistorySink(asyncio.get_running_loop(), folder, on_room=notes.room, say=notes.say)
        sink.start()
        waiting = asyncio.ensure_future(sink.grown(START))
        await asyncio.sleep(0)
        assert not waiting.done()
        sink.accept(batch(1), None)
        await waiting
        assert sink.end.line == 1
        await sink.flush_and_close(5.0)

    play(scenario())
