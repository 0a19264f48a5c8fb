"""A token bucket for each caller of the API. Pure: told the time.

Heroku: 4,500 calls an hour and account, which fill up steadily, so that a caller who was quiet may make all at once
(Platform API Reference, "Rate Limits").
"""

import math
from typing import Final

CALLS_AN_HOUR: Final = 4500
HOUR_S: Final = 3600.0
ROUNDING: Final = 1e-6  # of a call: who has waited as long as told is not refused for a float's last digit
MOST_CALLERS: Final = 4096  # those who were quiet for so long that they may make all calls again are forgotten then


class RateLimit:
    """Mutable; owned by the API's server."""

    def __init__(self, calls_an_hour: int) -> None:
        """0: no limit."""
        self._capacity = float(calls_an_hour)
        self._per_s = calls_an_hour / HOUR_S
        self._left: dict[str, tuple[float, float]] = {}  # caller → calls left then, and when that was (seconds)

    @property
    def is_on(self) -> bool:
        """Whether there is one."""
        return self._capacity > 0

    def take(self, caller: str, now: float) -> int | None:
        """One call; returns how many are left, or None: not even this one. `now`: seconds of a monotonic clock."""
        left = self._left_at(caller, now)
        if left < 1.0 - ROUNDING:
            return None
        if caller not in self._left and len(self._left) >= MOST_CALLERS:
            self._left = {
                each: noted for each, noted in self._left.items() if self._left_at(each, now) < self._capacity
            }
        left = max(left - 1.0, 0.0)
        self._left[caller] = (left, now)
        return int(left)

    def wait_s(self, caller: str, now: float) -> int:
        """Whole seconds until there is a call again."""
        return max(math.ceil((1.0 - ROUNDING - self._left_at(caller, now)) / self._per_s), 0)

    def _left_at(self, caller: str, now: float) -> float:
        left, noted = self._left.get(caller, (self._capacity, now))
        return min(left + max(now - noted, 0.0) * self._per_s, self._capacity)
