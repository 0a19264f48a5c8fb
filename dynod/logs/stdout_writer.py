"""Writes the app stream to dynod's stdout or to the app's history: one thread that may block, behind a bounded buffer.

Flow: stream → text → buffer (core) → **writer** → terminal, file or pipe; in `serve`, the history's newest segment. A
thread with blocking writes, because an event loop cannot wait for a regular file, and O_NONBLOCK set on a terminal
would stay there for the shell (contracts 3).
All decisions are log_buffer's and are made in the loop's thread; the thread only writes what it is given.
Knows nothing of lines, dynos or formats, but for the one line that announces a gap, which it is given a maker for.
"""

import asyncio
import errno
import os
import queue
import select
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from dynod.core.log_buffer import BUFFER_BYTES, STALL_S, Entry, LogBuffer, Receipt
from dynod.logs.write_mark import WriteMark

PORTION_BYTES: Final = 128 * 1024
PORTIONS_OUT: Final = 2  # one being written, one at hand so that the thread need not wait for the loop
WRITE_BYTES: Final = 64 * 1024  # a pipe's usual capacity
SLOW_WRITE_BYTES: Final = select.PIPE_BUF  # to a slow reader: a write that blocks tells of no progress until it returns
SLOW_S: Final = 0.1
FULL_DISK_RETRY_S: Final = 0.5  # nothing tells when a file system has room again
FULL: Final = (errno.ENOSPC, errno.EDQUOT)

Announce = Callable[[int, float], bytes]  # lines dropped, since when (epoch seconds)


class Target(Protocol):
    """Where the bytes go, if not to a descriptor: something that lasts, so that every trouble with it may pass."""

    def append(self, data: memoryview, /) -> int:
        """Write some of it, in the writer's thread. Raises OSError."""
        ...

    def wrote(self) -> None:
        """Something has been written (called in the loop's thread)."""
        ...

    def troubled(self, error: OSError | None) -> None:
        """Writing fails from now on, or, None, works again (called in the loop's thread)."""
        ...


class StdoutWriter:
    """Owns the writing side of one descriptor, not the descriptor. Methods are called from the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        fd: int = -1,
        target: Target | None = None,
        announce: Announce,
        on_room: Callable[[], None],
        on_closed: Callable[[OSError], None],
        stall_s: float = STALL_S,
        limit: int = BUFFER_BYTES,
        full_disk_retry_s: float = FULL_DISK_RETRY_S,
        mark: WriteMark | None = None,
        ends_broken_line: bool = False,
    ) -> None:
        """`on_room` is called when writing may go on after `write` returned False; `on_closed` once, when nobody
        can read any more (EPIPE, or EIO of a terminal that has gone). `ends_broken_line`: an earlier core was killed,
        perhaps in the middle of a line; `mark` tells the next one whether this one was. `target` is written to instead
        of `fd`, and tried again whatever it says.
        """
        self._loop = loop
        self._fd = fd
        self._target = target
        self._announce = announce
        self._on_room = on_room
        self._on_closed = on_closed
        self._full_disk_retry_s = full_disk_retry_s
        self._buffer = LogBuffer(limit=limit, stall_s=stall_s, now=time.monotonic())
        self._jobs: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()  # at most PORTIONS_OUT and the final None
        self._jobs_out = 0
        self._progress_at = time.monotonic()  # written by the thread: when a write last returned
        self._stopping = threading.Event()
        self._stall_timer: asyncio.TimerHandle | None = None
        self._wants_room = False
        self._is_shut = False
        self._reader_is_gone = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._thread = threading.Thread(target=self._work, name="stdout", daemon=True)
        self._mark = mark
        self._prefix = b"\n" if ends_broken_line else b""
        self._placed = 0
        self._is_in_trouble = False

    def start(self) -> None:
        self._thread.start()

    @property
    def dropped(self) -> Mapping[str, int]:
        """Lines that were dropped, by process name."""
        return self._buffer.dropped

    @property
    def accepted(self) -> int:
        """Bytes that have been given to the thread or wait for it, announcements of gaps included, since the start."""
        return self._placed + self._buffer.size

    @property
    def is_stalled(self) -> bool:
        """Nothing has been taken for so long that the oldest lines are dropped."""
        return self._is_in_trouble or self._buffer.is_stalled(time.monotonic())

    def write(self, data: bytes, ps: str, on_handed_on: Receipt | None = None, *, patient: bool = True) -> bool:
        """Queue whole lines of process `ps`. False: queued, but bring no more until `on_room`.

        `on_handed_on` is called when they have been written, or dropped and counted, or nobody is left to read.
        Not `patient`: lines whose maker cannot wait, see log_buffer.
        """
        if self._is_shut:
            if self._reader_is_gone and on_handed_on is not None:
                self._loop.call_soon(on_handed_on)
            return True
        now = time.monotonic()
        self._give(self._buffer.add(Entry(data, ps, on_handed_on, patient), self._note_progress(now)))
        self._idle.clear()
        self._feed(now)
        has_room = self._buffer.has_room(now)
        self._wants_room = self._wants_room or not has_room
        return has_room

    async def flush_and_close(self, timeout_s: float) -> bool:
        """Write what waits, for at most `timeout_s`, and end the thread. False: something was left unwritten."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            pass
        flushed = self._buffer.is_empty or self._reader_is_gone
        self._shut()  # without receipts: what is unwritten stays in its pipe, for the next core if there is one
        # A thread that is stuck in a write is left behind: it is a daemon, and holds nothing but its own portion.
        if self._jobs_out == 0 and self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 1.0)
        return flushed

    def _shut(self) -> list[Receipt]:
        """Nothing more is queued from now on. Returns the receipts of what waited."""
        if not self._is_shut:
            self._is_shut = True
            self._stopping.set()
            self._jobs.put(None)
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        self._idle.set()
        return self._buffer.clear()

    def _give(self, due: list[Receipt]) -> None:
        """Later, so that nobody is called back while calling."""
        for receipt in due:
            self._loop.call_soon(receipt)

    def _feed(self, now: float) -> None:
        while self._jobs_out < PORTIONS_OUT:
            portion = self._buffer.take(PORTION_BYTES, now)
            if portion is None:
                break
            pieces = [entry.data for entry in portion.entries]
            if portion.gap is not None:
                pieces.insert(0, self._announce(portion.gap.lines, time.time() - (now - portion.gap.since)))
            if self._prefix:
                pieces.insert(0, self._prefix)
                self._prefix = b""
            self._jobs_out += 1
            job = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._placed += len(job)
            self._jobs.put(job)
        if self._stall_timer is None:
            self._watch_for_stall()

    def _watch_for_stall(self) -> None:
        deadline = self._buffer.stall_deadline()
        if deadline is not None:
            wait_s = max(deadline - time.monotonic(), 0.0)
            self._stall_timer = self._loop.call_later(wait_s, self._look_for_stall)

    def _look_for_stall(self) -> None:
        self._stall_timer = None
        now = self._note_progress(time.monotonic())
        if self._buffer.is_stalled(now):
            self._give(self._buffer.relieve(now))
            self._give_room(now)  # and no timer: the next thing that can happen is progress
        else:
            self._watch_for_stall()

    def _note_progress(self, now: float) -> float:
        self._buffer.progressed(self._progress_at)
        return now

    def _give_room(self, now: float) -> None:
        if self._wants_room and self._buffer.has_room(now):
            self._wants_room = False
            self._on_room()

    def _written(self) -> None:
        """The oldest job is done (called in the loop's thread)."""
        self._jobs_out -= 1
        now = time.monotonic()
        for receipt in self._buffer.written(self._progress_at):
            receipt()
        if self._target is not None:
            self._target.wrote()
        if self._is_shut:
            return
        self._feed(now)
        self._give_room(now)
        if self._buffer.is_empty:
            self._idle.set()

    def _failed(self, error: OSError) -> None:
        """There is no reader any more (called in the loop's thread). What is brought from now on is thrown away."""
        self._jobs_out -= 1
        self._give(self._buffer.written(self._progress_at))
        if self._reader_is_gone:  # the other portion failed too
            return
        self._reader_is_gone = True
        self._give(self._shut())
        if self._wants_room:
            self._wants_room = False
            self._on_room()
        self._on_closed(error)

    def _troubled(self, error: OSError | None) -> None:
        """Writing to the target began to fail, or works again (called in the loop's thread)."""
        if self._target is None:
            return
        self._is_in_trouble = error is not None
        self._target.troubled(error)
        now = time.monotonic()
        if error is not None:  # production does not stand still for a disk that is full
            self._buffer.give_up(now)
            self._give(self._buffer.relieve(now))
        self._give_room(now)

    # What follows runs in the thread.

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if self._mark is not None:
                    self._mark.set()
                self._write_all(job)
                if self._mark is not None:
                    self._mark.clear()
            except OSError as error:
                self._tell(self._failed, error)
            else:
                self._tell(self._written)

    def _tell(self, callback: Callable[..., None], *args: OSError | None) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop is closed: dynod is on its way out, nobody wants to know
            self._stopping.set()

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        size = WRITE_BYTES
        troubled = False
        while view:
            before = time.monotonic()
            try:
                count = os.write(self._fd, view[:size]) if self._target is None else self._target.append(view[:size])
            except BlockingIOError:  # O_NONBLOCK, left on a shared terminal by somebody else
                self._wait_writable()
                continue
            except OSError as error:
                if self._target is None and error.errno not in FULL:
                    raise
                if not troubled:
                    troubled = True
                    self._tell(self._troubled, error)
                if self._stopping.wait(self._full_disk_retry_s):
                    raise
                continue
            view = view[count:]
            self._progress_at = time.monotonic()
            if troubled:
                troubled = False
                self._tell(self._troubled, None)
            size = WRITE_BYTES if self._progress_at - before < SLOW_S else SLOW_WRITE_BYTES

    def _wait_writable(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        poll.poll()
