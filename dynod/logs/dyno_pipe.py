"""The read ends of dynos' output pipes: watched, looked into, consumed.

Flow: **dyno's pipe** → pump → frame → stream. Two ways, chosen by what the system offers:

    PeekedPipes   Linux: `tee(2)` copies what is in a pipe into a scratch pipe without consuming it, and an epoll of
                  our own watches edge-triggered, since half a line that is left in a pipe would wake a level-triggered
                  reader for ever. Bytes leave the pipe only by `consume`, so a core that dies loses none of them.
    ReadPipes     anywhere: plain non-blocking reads, level-triggered. The caller holds in memory what it has read, and
                  a core that dies takes that with it. kqueue's EV_CLEAR would add nothing here: without a tee nothing
                  unread is left in a pipe to spin on.

No framing, no policy, no ownership of the descriptors: whoever adds one closes it.
"""

import asyncio
import ctypes
import errno
import fcntl
import os
import select
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

# Holds what a dyno writes while its last batch is being written. Not 1 MiB: an unprivileged user has 64 MiB of pipes
# (pipe(7), pipe-user-pages-soft), shared with everything else that the user runs; beyond it every new pipe gets 8 KiB.
PIPE_BYTES: Final = 256 * 1024
DEFAULT_PIPE_BYTES: Final = 64 * 1024  # Linux and macOS
SPLICE_F_NONBLOCK: Final = 2  # fcntl.h; Python names only the flags of preadv
EVENTS_PER_POLL: Final = 64

OnReadable = Callable[[int, bool], None]  # descriptor; True when no writer is left
Tee = Callable[[int, int, int, int], int]


class DynoPipes(Protocol):
    """What the pump needs of either way. Everything is called from the loop's thread."""

    peeks: bool  # True: `look` leaves the bytes in the pipe until `consume`
    more: bool  # True: the last `look` has not shown everything, and no event will come for the rest

    def add(self, fd: int) -> None: ...
    def discard(self, fd: int) -> None: ...
    def pause(self, fd: int) -> None: ...
    def resume(self, fd: int) -> None: ...
    def mute(self) -> None: ...
    def unmute(self) -> None: ...
    def look(self, fd: int, limit: int) -> bytes | None: ...
    def consume(self, fd: int, count: int) -> None: ...
    def close(self) -> None: ...


def open_pipes(loop: asyncio.AbstractEventLoop, on_readable: OnReadable, *, peek: bool | None = None) -> DynoPipes:
    """The best way that works here; `peek=False` switches Linux's off, `peek=True` insists on it."""
    if peek is False:
        return ReadPipes(loop, on_readable)
    tee = _find_tee()
    if tee is None:
        if peek:
            raise OSError(errno.ENOSYS, "tee(2) does not work here")
        return ReadPipes(loop, on_readable)
    return PeekedPipes(loop, on_readable, tee)


def enlarge(fd: int) -> int:
    """Give the pipe PIPE_BYTES where that is allowed; returns how many bytes it holds now, as far as can be told."""
    size = DEFAULT_PIPE_BYTES
    if sys.platform == "linux":
        with suppress(OSError):  # over the user's share (EPERM), or no pipe at all
            size = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
            if size < PIPE_BYTES:
                size = fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return size


def unread_bytes(fd: int) -> int:
    """How many bytes are in the pipe now (FIONREAD)."""
    (count,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * struct.calcsize("i")))
    return int(count)


def has_writer(fd: int) -> bool:
    """Does anybody hold the pipe's other end?"""
    poll = select.poll()
    poll.register(fd, 0)
    return not any(events & select.POLLHUP for _, events in poll.poll(0))


class PeekedPipes:
    """Linux: edge-triggered epoll, tee(2) into a scratch pipe, splice(2) to /dev/null to consume."""

    peeks = True
    more = False

    def __init__(self, loop: asyncio.AbstractEventLoop, on_readable: OnReadable, tee: Tee) -> None:
        self._loop = loop
        self._on_readable = on_readable
        self._tee = tee
        self._scratch_out, self._scratch_in = os.pipe()
        enlarge(self._scratch_in)
        self._scratch_slots = fcntl.fcntl(self._scratch_in, fcntl.F_GETPIPE_SZ) // os.sysconf("SC_PAGE_SIZE")
        self._scratch_room = select.poll()
        self._scratch_room.register(self._scratch_in, select.POLLOUT)
        self._nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        self._epoll = select.epoll()
        self.unmute()

    def add(self, fd: int) -> None:
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLET)

    def discard(self, fd: int) -> None:
        # By hand, not by closing: the keeper holds the same open file, which would keep the registration alive.
        self._epoll.unregister(fd)

    def pause(self, fd: int) -> None:
        """Nothing to do: an edge-triggered pipe is silent until more is written."""

    def resume(self, fd: int) -> None:
        """As `pause`."""

    def mute(self) -> None:
        """Wake the loop for no pipe; what happens meanwhile is told by `unmute`."""
        self._loop.remove_reader(self._epoll.fileno())

    def unmute(self) -> None:
        self._loop.add_reader(self._epoll.fileno(), self._on_events)

    def look(self, fd: int, limit: int) -> bytes | None:
        """Up to `limit` bytes from the beginning of the pipe, left in there. None: nothing now; b"": ended."""
        count = self._tee(fd, self._scratch_in, limit, SPLICE_F_NONBLOCK)
        if count <= 0:
            self.more = False
            return None if count < 0 else b""
        # Cut by the limit, or by the scratch pipe's slots: a slot holds at least a byte, so few bytes need no asking.
        self.more = count == limit or (count >= self._scratch_slots and not self._scratch_room.poll(0))
        return os.read(self._scratch_out, count)

    def consume(self, fd: int, count: int) -> None:
        """Remove the first `count` bytes, all of which `look` has shown."""
        while count > 0:
            count -= os.splice(fd, self._nowhere, count, flags=SPLICE_F_NONBLOCK)

    def close(self) -> None:
        self.mute()
        self._epoll.close()
        for fd in (self._scratch_in, self._scratch_out, self._nowhere):
            os.close(fd)

    def _on_events(self) -> None:
        for fd, events in self._epoll.poll(0, EVENTS_PER_POLL):
            self._on_readable(fd, bool(events & select.EPOLLHUP))


class ReadPipes:
    """POSIX: what has been looked at is gone from the pipe."""

    peeks = False
    more = False  # level-triggered: the loop says so itself

    def __init__(self, loop: asyncio.AbstractEventLoop, on_readable: OnReadable) -> None:
        self._loop = loop
        self._on_readable = on_readable
        self._watched: set[int] = set()

    def add(self, fd: int) -> None:
        os.set_blocking(fd, False)  # the writers have an open file of their own, this does not reach them
        self.resume(fd)

    def discard(self, fd: int) -> None:
        self.pause(fd)

    def pause(self, fd: int) -> None:
        """Level-triggered: what is not going to be read now must not wake the loop."""
        if fd in self._watched:
            self._watched.remove(fd)
            self._loop.remove_reader(fd)

    def resume(self, fd: int) -> None:
        if fd not in self._watched:
            self._watched.add(fd)
            self._loop.add_reader(fd, self._on_readable, fd, False)

    def mute(self) -> None:
        """Nothing to do: a pipe that has woken the loop once is paused until it has been looked at."""

    def unmute(self) -> None:
        """As `mute`."""

    def look(self, fd: int, limit: int) -> bytes | None:
        """Up to `limit` bytes, read. None: nothing now; b"": ended."""
        try:
            return os.read(fd, limit)
        except BlockingIOError:
            return None

    def consume(self, fd: int, count: int) -> None:
        """Nothing to do: `look` has consumed."""

    def close(self) -> None:
        for fd in tuple(self._watched):
            self.pause(fd)


def is_full(fd: int) -> bool:
    """Is a writer stuck because the pipe `fd` has no room left?

    Pipes count pages, not bytes: one that a dyno fills with small pages, or one that was made over the user's share (a
    single page or two), can be full of less than a line, which nobody would ever consume. A read end does not tell, so
    ask a write end of our own. Call it only while there are writers: this one's closing would look like the last one's.
    """
    try:
        writer = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return True  # cannot tell: better to hold half a line in memory than to hang a dyno
    try:
        poll = select.poll()
        poll.register(writer, select.POLLOUT)
        return not poll.poll(0)
    finally:
        os.close(writer)


def _find_tee() -> Tee | None:
    """tee(2) by ctypes (os has splice but no tee), tried once: a sandbox may refuse it."""
    if sys.platform != "linux" or not hasattr(select, "epoll"):
        return None
    raw = getattr(ctypes.CDLL(None, use_errno=True), "tee", None)
    if raw is None:
        return None
    raw.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint)
    raw.restype = ctypes.c_ssize_t

    def tee(source: int, target: int, count: int, flags: int) -> int:
        """Bytes copied, 0 at the end of the source, -1 where there is nothing to copy now."""
        while (copied := int(raw(source, target, count, flags))) < 0:
            code = ctypes.get_errno()
            if code == errno.EAGAIN:
                return -1
            if code != errno.EINTR:
                raise OSError(code, os.strerror(code))
        return copied

    with _pipe() as (out_end, in_end), _pipe() as (copy_out, copy_in):
        os.write(in_end, b"?")
        try:
            works = tee(out_end, copy_in, 1, SPLICE_F_NONBLOCK) == 1 and os.read(copy_out, 1) == b"?"
        except OSError:
            works = False
    return tee if works else None


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)
