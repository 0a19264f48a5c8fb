"""Carries the output of every dyno from its pipe into the stream, and consumes it once it has been handed on.

Flow: dyno's pipe → **pump** → frame (core) → stream → stdout. At most one batch of an instance is under way; while it
is, the rest waits in its pipe, and a dyno that fills its pipe waits too. That is the whole of back-pressure here.
*Handed on* (contracts 3) is said by calling `on_handed_on`, in the loop's thread.
Imports core and its own package. Knows nothing of formats, of time beyond the loop's, or of who reads.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from dynod.core.log_frame import frame, last_line
from dynod.logs.dyno_pipe import enlarge, has_writer, is_full, open_pipes, unread_bytes

LOOK_BYTES: Final = 64 * 1024  # of one dyno at a time; 6 times the longest line, so a look always sees a whole one
LOOKS_PER_WAKE_UP: Final = 4  # then the router gets its turn
# A wake-up costs 0.12 ms of CPU, mostly the kernel's (a line a write, 1,700 a second; measured with time.process_time),
# whether it brings one line or hundreds. So one that brought little is followed by a rest, in which lines gather in
# their pipes: nobody sees 5 ms, and chatter costs at most 200 wake-ups a second. Little is what is far from filling its
# pipe in that time, so that a rest makes no dyno wait.
REST_S: Final = 0.005
LITTLE_SHARE: Final = 16


class Publish(Protocol):
    """Takes whole lines of one dyno; calls `on_handed_on` once they are written (or dropped and counted).

    False: taken, but bring no more until `OutputPump.resume`.
    """

    def __call__(self, ps: str, lines: bytes, on_handed_on: Callable[[], None], /) -> bool: ...


class _Output:
    """One instance's pipe. `held` is what has left the pipe and is in no whole line that was handed on."""

    __slots__ = (
        "busy",
        "done",
        "ended",
        "fd",
        "finishing",
        "has_written",
        "held",
        "instance_id",
        "last_output_at",
        "left",
        "little",
        "ps",
        "queued",
        "readable",
    )

    def __init__(self, instance_id: str, ps: str, fd: int, *, has_written: bool) -> None:
        self.little = enlarge(fd) // LITTLE_SHARE  # bytes
        self.instance_id = instance_id
        self.ps = ps
        self.fd = fd
        self.held = b""
        self.readable = False  # something may be in the pipe that has not been looked at
        self.ended = False  # no writer is left
        self.queued = False  # waits for its turn
        self.busy = False  # a batch is under way
        self.finishing = False
        self.left = 0  # while finishing: bytes of the pipe that still count
        self.has_written = has_written
        self.last_output_at: float | None = None
        self.done = asyncio.Event()  # closed for good


class OutputPump:
    """All dynos' pipes of a core. Owned by the loop; every method is called from its thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        publish: Publish,
        on_first_output: Callable[[str], None] | None = None,
        peek: bool | None = None,
    ) -> None:
        """`on_first_output` gets the instance's id, at its first byte. `peek`: see `open_pipes`."""
        self._loop = loop
        self._publish = publish
        self._on_first_output = on_first_output
        self._pipes = open_pipes(loop, self._on_readable, peek=peek)
        self._outputs: dict[str, _Output] = {}
        self._by_fd: dict[int, _Output] = {}
        self._turns: deque[_Output] = deque()  # bounded: each output is in here at most once
        self._round: asyncio.Handle | None = None
        self._is_paused = False
        self._is_closed = False
        self._is_held = False
        self._rest: asyncio.TimerHandle | None = None
        self._is_busy_time = False  # this wake-up brought more than little
        self.handed_on = 0  # batches, of all dynos: while this grows somebody reads

    @property
    def keeps_unread(self) -> bool:
        """Would a core that dies now lose nothing? False where only plain reads are possible."""
        return self._pipes.peeks

    def add(self, instance_id: str, ps: str, fd: int, *, has_written: bool = False) -> None:
        """Take over the read end `fd`, to be closed in here. What is in the pipe already is read first.

        `has_written`: an earlier core saw this instance write.
        """
        if instance_id in self._outputs:
            raise ValueError(f"instance {instance_id} has an output pipe already")
        output = _Output(instance_id, ps, fd, has_written=has_written)
        self._outputs[instance_id] = self._by_fd[fd] = output
        self._pipes.add(fd)

    def has_written(self, instance_id: str) -> bool:
        """Has this instance written a byte yet? A half line counts. False for one that is not here."""
        output = self._outputs.get(instance_id)
        return output is not None and output.has_written

    def last_output_at(self, instance_id: str) -> float | None:
        """Loop time of the newest bytes, None before the first."""
        output = self._outputs.get(instance_id)
        return output.last_output_at if output else None

    def awaits_reader(self, instance_id: str) -> bool:
        """Can nobody write to it any more (or is `finish` under way), and is not all that was written handed on?"""
        output = self._outputs.get(instance_id)
        if output is None or (has_writer(output.fd) and not output.finishing):
            return False
        return output.busy or bool(output.held) or unread_bytes(output.fd) > 0

    def resume(self) -> None:
        """There is room again after `publish` returned False."""
        self._is_paused = False
        if self._turns:
            self._schedule()

    def hold(self) -> None:
        """Look into no pipe any more: what is under way is still consumed once it has been handed on."""
        self._is_held = True

    async def finish(self, instance_id: str) -> None:
        """The instance's processes are gone: hand on what they left, the half line too, and close the pipe.

        What is in the pipe now counts, no more: a stray process that holds the pipe open, or goes on writing to it, is
        not waited for. Waits for as long as the reader makes it: bound it with a timeout; what was begun goes on.
        """
        output = self._outputs.get(instance_id)
        if output is None:
            return
        if not output.finishing:
            output.finishing = True
            output.left = unread_bytes(output.fd)
            self._queue(output)
            self._wake()
        await output.done.wait()

    async def close(self) -> None:
        """Let go of every pipe as it is. What was not handed on stays in it for whoever holds it too.

        Calling it twice is harmless.
        """
        if self._is_closed:
            return
        self._is_closed = True
        for output in tuple(self._outputs.values()):
            self._let_go(output)
        for handle in (self._round, self._rest):
            if handle is not None:
                handle.cancel()
        if self._rest is not None:
            self._pipes.unmute()
        self._round = self._rest = None
        self._turns.clear()
        self._pipes.close()

    def _on_readable(self, fd: int, ended: bool) -> None:
        output = self._by_fd.get(fd)
        if output is None:
            return  # an event that was on its way when the pipe was closed
        output.readable = True
        output.ended = ended
        self._queue(output)

    def _queue(self, output: _Output) -> None:
        if output.busy or output.queued:
            return
        self._pipes.pause(output.fd)
        output.queued = True
        self._turns.append(output)
        self._schedule()

    def _schedule(self) -> None:
        if self._round is None and self._rest is None and not (self._is_paused or self._is_held):
            self._round = self._loop.call_soon(self._take_turns)

    def _take_turns(self) -> None:
        """A bounded amount of work for a bounded number of dynos, in the order in which they became readable."""
        self._round = None
        self._is_busy_time = False
        for _ in range(min(len(self._turns), LOOKS_PER_WAKE_UP)):
            if self._is_paused or self._is_held:
                return
            output = self._turns.popleft()
            output.queued = False
            self._carry(output)
        if self._turns:
            self._schedule()
        elif not self._is_busy_time:
            self._pipes.mute()
            self._rest = self._loop.call_later(REST_S, self._wake)

    def _wake(self) -> None:
        """The rest is over."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
            self._pipes.unmute()
            if self._turns:
                self._schedule()

    def _carry(self, output: _Output) -> None:
        """Look into the pipe once, and publish the whole lines found."""
        output.readable = False
        seen = self._look(output)
        text, covered = frame(output.held + seen if output.held else seen)
        if not text and not output.readable and (output.finishing or output.ended):
            covered = len(output.held) + len(seen)
            text = last_line(output.held + seen)
        if text:
            output.busy = True
            if not self._publish(output.ps, text, partial(self._handed_on, output, covered)):
                self._is_paused = True
        elif output.finishing and not output.readable:
            self._let_go(output)
        else:
            # Half a line. It stays in the pipe, unless it is in the way there.
            if seen and (output.readable or (not output.ended and is_full(output.fd))):
                self._consume(output, len(seen))
                output.held += seen
                self._is_busy_time = True
            self._again(output)

    def _look(self, output: _Output) -> bytes:
        """New bytes that are still in the pipe; where looking is reading, they go to `held` and b"" is returned.

        Sets `readable` where there is more to look at, for which no event will come.
        """
        limit = min(LOOK_BYTES, output.left) if output.finishing else LOOK_BYTES
        seen = self._pipes.look(output.fd, limit) if limit else None
        if seen is None:
            return b""
        if not seen:
            output.ended = True
            output.left = 0
            return b""
        self._is_busy_time |= output.finishing or len(seen) > output.little
        output.last_output_at = self._loop.time()
        if not output.has_written:
            output.has_written = True
            if self._on_first_output is not None:
                self._on_first_output(output.instance_id)
        output.readable = len(seen) < output.left if output.finishing else self._pipes.more
        if self._pipes.peeks:
            return seen
        output.held += seen
        self._consume(output, len(seen))
        return b""

    def _consume(self, output: _Output, count: int) -> None:
        self._pipes.consume(output.fd, count)
        if output.finishing:
            output.left -= count

    def _handed_on(self, output: _Output, covered: int) -> None:
        """The first `covered` bytes of held + pipe are somebody else's now."""
        if output.done.is_set():
            return
        self.handed_on += 1
        output.busy = False
        from_pipe = covered - len(output.held)
        output.held = output.held[covered:]
        if from_pipe > 0:
            self._consume(output, from_pipe)
        output.readable |= output.ended  # no event will come for the half line behind
        self._again(output)

    def _again(self, output: _Output) -> None:
        """What next with an output that has nothing under way?"""
        if output.readable or output.finishing:
            self._queue(output)
        elif not output.ended:
            self._pipes.resume(output.fd)

    def _let_go(self, output: _Output) -> None:
        self._pipes.discard(output.fd)
        os.close(output.fd)
        del self._outputs[output.instance_id], self._by_fd[output.fd]
        output.done.set()
