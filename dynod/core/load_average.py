"""A dyno's load average as Heroku counts it: its runnable threads, looked at every 20 s, damped over 1, 5 and 15 min.

Source: Dev Center "Heroku Labs: log-runtime-metrics" (the formula is exponential damping, as in Unix since 1979).
"""

import math
from dataclasses import dataclass, replace
from typing import Final

PERIODS_S: Final = (60.0, 300.0, 900.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadAverage:
    """Averages so far, and for how long (seconds) there have been samples. Starts at nothing."""

    damped: tuple[float, float, float] = (0.0, 0.0, 0.0)
    age_s: float = 0.0
    sampled: bool = False

    def with_sample(self, runnable: int, elapsed_s: float) -> "LoadAverage":
        """After `elapsed_s` seconds since the last sample (or since the start) `runnable` threads were seen."""
        one, five, fifteen = (
            previous * (decay := math.exp(-elapsed_s / period_s)) + runnable * (1 - decay)
            for previous, period_s in zip(self.damped, PERIODS_S, strict=True)
        )
        return replace(self, damped=(one, five, fifteen), age_s=self.age_s + elapsed_s, sampled=True)

    @property
    def known(self) -> tuple[float, ...]:
        """One to three averages, shortest period first; the longer ones are absent in a dyno's first minutes.

        Heroku prints the first one from the first sample on; each other once it has been looked at for that long.
        """
        if not self.sampled:
            return ()
        count = 1 + sum(self.age_s >= period_s for period_s in PERIODS_S[1:])
        return self.damped[:count]
