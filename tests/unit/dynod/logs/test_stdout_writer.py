"""The writer: whole, in order, receipts after writing, whatever descriptor it is given and whenever the reader goes."""

import asyncio
import errno
import os
import pty
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from dynod.logs.stdout_writer import StdoutWriter
from dynod.logs.write_mark import WriteMark

LINE = b"x" * 99 + b"\n"


class Written:
    """A writer and what it reported."""

    def __init__(
        self,
        fd: int,
        *,
        stall_s: float = 10.0,
        limit: int = 1 << 20,
        ends_broken_line: bool = False,
        mark: WriteMark | None = None,
    ) -> None:
        self.fd = fd
        self.rooms = 0
        self.closed: list[OSError] = []
        self.receipts: list[int] = []
        self.event = asyncio.Event()
        self.writer = StdoutWriter(
            asyncio.get_running_loop(),
            fd=fd,
            announce=lambda lines, _: b"gap of %d\n" % lines,
            on_room=self._room,
            on_closed=self._close,
            stall_s=stall_s,
            limit=limit,
            full_disk_retry_s=0.001,
            ends_broken_line=ends_broken_line,
            mark=mark,
        )

    def _room(self) -> None:
        self.rooms += 1
        self.event.set()

    def _close(self, error: OSError) -> None:
        self.closed.append(error)
        self.event.set()

    def _receive(self, number: int) -> None:
        self.receipts.append(number)
        self.event.set()

    def write(self, data: bytes, number: int, *, patient: bool = True) -> bool:
        return self.writer.write(data, "web.1", lambda: self._receive(number), patient=patient)

    async def until(self, holds: Callable[[], object]) -> None:
        while not holds():
            self.event.clear()
            await self.event.wait()


@asynccontextmanager
async def writing(
    fd: int,
    *,
    stall_s: float = 10.0,
    limit: int = 1 << 20,
    ends_broken_line: bool = False,
    mark: WriteMark | None = None,
) -> AsyncIterator[Written]:
    # A descriptor of its own: a thread that is left behind in a write must not find another test's pipe at this number.
    own = os.dup(fd)
    written = Written(own, stall_s=stall_s, limit=limit, ends_broken_line=ends_broken_line, mark=mark)
    written.writer.start()
    try:
        async with asyncio.timeout(20):
            yield written
            await written.writer.flush_and_close(5.0)
    finally:
        if not written.writer._thread.is_alive():
            os.close(own)


def play(scenario: Coroutine[object, object, None]) -> None:
    uvloop.run(scenario)


def test_a_file_gets_everything_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        with (tmp_path / "out").open("wb") as out:
            async with writing(out.fileno()) as written:
                for number in range(1000):
                    written.write(b"%d\n" % number, number)
            assert written.receipts == list(range(1000))
        assert [int(line) for line in (tmp_path / "out").read_bytes().split()] == list(range(1000))

    play(scenario())


def test_a_receipt_comes_after_the_write() -> None:
    async def scenario() -> None:
        read_end, write_end = os.pipe()
        async with writing(write_end) as written:
            written.write(LINE * 10_000, 1)
            taken = 0
            while taken < 900_000:  # the pipe holds 64 KiB: the write cannot have ended
                taken += len(await asyncio.to_thread(os.read, read_end, 900_000 - taken))
            assert written.receipts == []
            while taken < 1_000_000:
                taken += len(await asyncio.to_thread(os.read, read_end, 1_000_000 - taken))
            await written.until(lambda: written.receipts)
        os.close(read_end)
        os.close(write_end)

    play(scenario())


def test_a_full_buffer_asks_for_patience_and_says_when_there_is_room() -> None:
    async def scenario() -> None:
        read_end, write_end = os.pipe()
        async with writing(write_end, limit=1000, stall_s=0) as written:
            number = 0
            while written.write(LINE * 1000, number):
                number += 1
            assert not written.write(LINE, number + 1)
            assert written.rooms == 0
            total = len(LINE) * (1000 * (number + 1) + 1)
            taken = 0
            while taken < total:
                taken += len(await asyncio.to_thread(os.read, read_end, 1 << 20))
            await written.until(lambda: written.rooms and len(written.receipts) == number + 2)
            assert written.rooms == 1
            assert written.write(LINE, number + 2)
            os.read(read_end, 1000)
        os.close(read_end)
        os.close(write_end)

    play(scenario())


def test_a_stall_gives_room_drops_the_oldest_and_announces_them() -> None:
    async def scenario() -> None:
        read_end, write_end = os.pipe()
        async with writing(write_end, limit=1000, stall_s=0.05) as written:
            number = 0
            while written.write(LINE * 1000, number):
                number += 1
            await written.until(lambda: written.rooms)
            await written.until(lambda: len(written.receipts) == number + 1)
            assert written.write(b"newest\n", number + 1)
            await written.until(lambda: len(written.receipts) == number + 2)
            dropped = sum(written.writer.dropped.values())
            output = b""
            while not output.endswith(b"newest\n"):
                output += await asyncio.to_thread(os.read, read_end, 1 << 20)
            assert output.count(LINE) + dropped == 1000 * (number + 1)
            assert output.endswith(b"gap of %d\nnewest\n" % dropped)
        os.close(read_end)
        os.close(write_end)

    play(scenario())


def test_a_reader_that_leaves_is_told_once_and_keeps_nobody_waiting() -> None:
    async def scenario() -> None:
        read_end, write_end = os.pipe()
        async with writing(write_end, limit=1000, stall_s=0) as written:
            number = 0
            while written.write(LINE * 1000, number):
                number += 1
            os.close(read_end)
            await written.until(lambda: written.closed and len(written.receipts) == number + 1)
            assert [error.errno for error in written.closed] == [errno.EPIPE]
            assert written.rooms == 1
            assert written.write(LINE, number + 1)
            await written.until(lambda: len(written.receipts) == number + 2)
            assert dict(written.writer.dropped) == {}
        assert len(written.closed) == 1
        os.close(write_end)

    play(scenario())


def test_a_terminal_that_goes_away_is_a_reader_that_leaves() -> None:
    async def scenario() -> None:
        ours, terminal = pty.openpty()
        async with writing(terminal) as written:
            written.write(b"hello\n", 1)
            assert await asyncio.to_thread(os.read, ours, 100) == b"hello\r\n"
            os.close(ours)
            written.write(b"anyone?\n", 2)
            await written.until(lambda: written.closed)
            assert written.closed[0].errno == errno.EIO
        os.close(terminal)

    play(scenario())


def test_a_descriptor_left_non_blocking_is_waited_for() -> None:
    async def scenario() -> None:
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        async with writing(write_end) as written:
            written.write(LINE * 5000, 1)
            output = b""
            while len(output) < 500_000:
                output += await asyncio.to_thread(os.read, read_end, 1 << 20)
            await written.until(lambda: written.receipts)
            assert output == LINE * 5000
            assert not written.closed
        assert not os.get_blocking(write_end)  # somebody else's affair, and left as it was
        os.close(read_end)
        os.close(write_end)

    play(scenario())


def test_a_full_disk_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def scenario() -> None:
        out = os.open("/dev/full", os.O_WRONLY)
        failed = threading.Event()
        write = os.write

        def noticed(fd: int, data: bytes) -> int:
            try:
                return write(fd, data)
            except OSError:
                failed.set()
                raise

        monkeypatch.setattr(os, "write", noticed)
        async with writing(out) as written:
            written.write(b"hello\n", 1)
            await asyncio.to_thread(failed.wait)
            assert not written.closed
            room = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
            os.dup2(room, written.fd)
            os.close(room)
            await written.until(lambda: written.receipts)
        assert (tmp_path / "out").read_bytes() == b"hello\n"
        assert not written.closed
        os.close(out)

    play(scenario())


def test_closing_waits_no_longer_than_it_may_and_gives_no_false_receipt() -> None:
    async def scenario() -> None:
        read_end, write_end = os.pipe()
        async with writing(write_end, limit=1000, stall_s=0) as written:
            number = 0
            while written.write(LINE * 1000, number):
                number += 1
            assert not await written.writer.flush_and_close(0.01)
            assert written.write(LINE, number + 1)
            await asyncio.sleep(0)
            assert written.receipts == []
            os.close(read_end)  # lets the thread go
        os.close(write_end)

    play(scenario())


def test_whoever_comes_after_a_kill_knows_whether_a_write_was_under_way() -> None:
    async def scenario() -> None:
        read_end, write_end = os.pipe()
        mark = WriteMark()
        later = WriteMark(os.dup(mark.fd))  # as the next core has it
        try:
            async with writing(write_end, mark=mark) as written:
                written.write(b"one\n", 1)
                await written.until(lambda: written.receipts)
                states = [later.is_set]
                written.write(b"x" * 200_000 + b"\n", 2)  # more than the pipe holds
                assert os.read(read_end, 4) == b"one\n"
                left = 200_001
                while left > 0:  # what is read after the pipe was full was written in the middle of a write
                    left -= len(await asyncio.to_thread(os.read, read_end, 1 << 16))
                    states.append(later.is_set or left < 1 << 16)
                await written.until(lambda: written.receipts[1:])
                assert states == [False, *[True] * (len(states) - 1)]
                assert not later.is_set
        finally:
            for each in (mark, later):
                each.close()
            os.close(read_end)
            os.close(write_end)

    play(scenario())


def test_a_line_that_a_killed_core_broke_is_ended_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        with (tmp_path / "out").open("wb") as out:
            async with writing(out.fileno(), ends_broken_line=True) as written:
                written.write(b"one\n", 1)
                await written.until(lambda: written.receipts)
                written.write(b"two\n", 2)
        assert (tmp_path / "out").read_bytes() == b"\none\ntwo\n"

    play(scenario())
