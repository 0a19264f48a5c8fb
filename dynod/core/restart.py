"""When a crashed dyno is started again: a ladder of delays, reset by staying up, a release, or a person.

Contracts 8: 0, 1, 2, 5, 10, 30, 60, 120, then 300 s, ±20 %, never giving up, reset after 10 minutes up.
Heroku's own ladder (`heroku`) starts at once too, then waits 20 minutes and doubles ("Dyno Restarts").
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """The delays, in seconds: one a crash in a row, the last one for ever."""

    delays_s: tuple[float, ...]
    jitter: float  # the share by which a delay may be longer or shorter
    reset_after_s: float  # up this long, and the next crash counts as the first

    def delay_s(self, crashes: int, random: Callable[[], float]) -> float:
        """Seconds to wait after the n-th crash in a row (from 1); `random` gives numbers from 0 up to 1."""
        delay_s = self.delays_s[min(crashes, len(self.delays_s)) - 1]
        return delay_s * (1 + self.jitter * (2 * random() - 1))

    def crashes_after(self, crashes: int, up_s: float) -> int:
        """How many crashes in a row there are with this one, after `up_s` seconds up."""
        return 1 if up_s >= self.reset_after_s else crashes + 1


POLICIES: Final[Mapping[str, RestartPolicy]] = {
    "ladder": RestartPolicy(
        delays_s=(0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0), jitter=0.2, reset_after_s=10 * _MINUTE_S
    ),
    "heroku": RestartPolicy(
        delays_s=(0.0, *(20 * _MINUTE_S * 2**n for n in range(7))), jitter=0.0, reset_after_s=20 * _MINUTE_S
    ),
}
