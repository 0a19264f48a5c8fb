"""How much of `dynod doctor`'s time is left, from which all of its waits are cut. Pure: the clock is given.

An examination has one moment by which it has ended. Whoever waits asks here for how long that may be. A wait that was
cut short tells nothing about the app, so whoever got no answer by then asks once more: out of time is an exception,
which ends a probe wherever it stands, and becomes a reason in the report (`Ledger.not_asked`).
"""

from collections.abc import Callable
from typing import Final

OUT_OF_TIME: Final = "out of time"  # why a check was not asked
LEAST_S: Final = 0.05  # what is shorter is no time: timeouts are rounded, and a call costs some of it


class OutOfTimeError(Exception):
    """There is no time left for the question that was asked."""


class TimeLeft:
    """Until `ends_at`, by the clock (monotonic seconds)."""

    def __init__(self, *, ends_at: float, clock: Callable[[], float]) -> None:
        self.ends_at = ends_at
        self._clock = clock

    def seconds(self) -> float:
        """What is left; 0 where that is too little for anything."""
        left = self.ends_at - self._clock()
        return left if left >= LEAST_S else 0.0

    def within(self, wanted_s: float) -> float:
        """As long as is wanted, or what is left of it. Raises OutOfTimeError where nothing is."""
        return min(wanted_s, self.need())

    def need(self) -> float:
        """What is left. Raises OutOfTimeError where nothing is, as after a wait that was cut short."""
        left = self.seconds()
        if left <= 0:
            raise OutOfTimeError
        return left

    def keeping(self, seconds: float) -> "TimeLeft":
        """The same without its last seconds, which are kept for what comes after."""
        return TimeLeft(ends_at=self.ends_at - seconds, clock=self._clock)

    def at_most(self, seconds: float) -> "TimeLeft":
        """No more than so long from now."""
        return TimeLeft(ends_at=min(self.ends_at, self._clock() + seconds), clock=self._clock)
