"""Observations counted in buckets, as Prometheus has them. Pure, and the one value here that changes.

Flow: boots, beats → **histogram** → metrics, read when somebody scrapes.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

# Seconds. A boot: from an exec that listens at once to the 60 s that Heroku allows (R10), and somewhat beyond.
BOOT_BOUNDS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
# How late the event loop is: from a busy moment to what the watchdog ends.
LAG_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Histogram:
    """`bounds` are the upper ends of the buckets, ascending, each included; above the last is one more."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[float | None, int]]:
        """For each bound how many were at most that; None: all."""
        running = 0
        found: list[tuple[float | None, int]] = []
        for bound, count in zip((*self.bounds, None), self.counts, strict=True):
            running += count
            found.append((bound, running))
        return found
