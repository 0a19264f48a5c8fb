"""A deadline that moves often and hardly ever passes. On the hot path.

One loop timer per connection, left where it is while the deadline moves back, and set again when it fires too early:
a request sets three deadlines; to cancel and make a loop timer costs 1.3 µs each on uvloop, to compare two floats 0.1.
"""

import asyncio
from collections.abc import Callable
from math import inf


class LazyTimer:
    """Calls `passed` once the deadline last set has passed (seconds of the loop's clock). Owned by one connection."""

    __slots__ = ("_handle", "_loop", "_passed", "at", "deadline")

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[], None]) -> None:
        self._loop = loop
        self._passed = passed
        self._handle: asyncio.TimerHandle | None = None
        self.at = inf  # when the loop's timer fires; a later deadline may be written to `deadline` directly
        self.deadline = 0.0

    def set(self, deadline: float) -> None:
        """Wait until `deadline`, whatever was waited for before."""
        self.deadline = deadline
        if self._handle is not None:
            if self.at <= deadline:
                return
            self._handle.cancel()
        self.at = deadline
        self._handle = self._loop.call_at(deadline, self._fired)

    def cancel(self) -> None:
        """Wait for nothing."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self.at = inf

    def _fired(self) -> None:
        self._handle = None
        self.at = inf
        if self._loop.time() < self.deadline:
            self.set(self.deadline)
        else:
            self._passed()
