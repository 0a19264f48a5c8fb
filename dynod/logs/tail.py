"""Somebody who follows an app's stream: gets what is published from now on, as fast as it takes it.

Flow: stream → **tail** → log session, drain in `up`. A tail that is too slow loses the oldest lines, and is told how
many; the stream does not notice. Owned by the loop.
"""

import asyncio

from dynod.core.log_codes import tail_overflow
from dynod.core.log_filter import EVERYTHING, LogFilter
from dynod.core.log_line import LOGPLEX_PS, LogBatch, platform_batch
from dynod.core.tail_buffer import TailBuffer, Taken


class Tail:
    """Made by `LogStream.follow`, which has to be told when it is over: `LogStream.leave`."""

    def __init__(self, wanted: LogFilter = EVERYTHING) -> None:
        self._wanted = wanted
        self._buffer = TailBuffer()
        self._ready = asyncio.Event()
        self.is_over = False  # the stream ends: nothing comes any more

    @property
    def waiting(self) -> int:
        """Lines that have not been taken."""
        return self._buffer.lines

    @property
    def waiting_bytes(self) -> int:
        """Their text."""
        return self._buffer.size

    @property
    def dropped(self) -> int:
        """Lines that were never taken."""
        return self._buffer.dropped

    def offer(self, batch: LogBatch) -> None:
        """From the stream."""
        picked = self._wanted.pick(batch)
        if picked is not None:
            self._buffer.offer(picked)
            self._ready.set()

    def end(self) -> None:
        """Nothing comes any more; what waits can still be taken."""
        self.is_over = True
        self._ready.set()

    async def take(self, max_bytes: int | None = None) -> Taken:
        """Wait for lines; none only when the stream is over."""
        await self._ready.wait()
        taken = self._buffer.take(max_bytes)
        if self._buffer.is_empty and not self.is_over:
            self._ready.clear()
        return taken


def with_gap(taken: Taken) -> tuple[LogBatch, ...]:
    """The lines, behind a line of Heroku's (L11) where some are missing."""
    if not taken.lost:
        return taken.batches
    message = tail_overflow(taken.lost, taken.lost_since)
    at = taken.batches[0].time if taken.batches else taken.lost_since
    return (platform_batch(time=at, source="heroku", ps=LOGPLEX_PS, messages=(message,)), *taken.batches)
