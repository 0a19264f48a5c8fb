"""What passed through the router of a dyno, and what two such looks say of the time between them. Pure.

Flow: router → **traffic** → stats of the API → `dynod top`, which subtracts. Quantiles come from buckets: exact to the
bucket, and even within one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

BOUNDS_MS: Final = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000)  # the router's


@dataclass(frozen=True, slots=True, kw_only=True)
class DynoTraffic:
    """Since the router began; `failed` is 5xx; `buckets` count up to each bound, and what took longer."""

    requests: int
    failed: int
    buckets: tuple[int, ...]
    in_flight: int

    def since(self, before: "DynoTraffic | None") -> "DynoTraffic":
        """What has come since an earlier look; all of it where the router was replaced meanwhile."""
        if before is None or before.requests > self.requests:
            return self
        return DynoTraffic(
            requests=self.requests - before.requests,
            failed=self.failed - before.failed,
            buckets=tuple(now - then for now, then in zip(self.buckets, before.buckets, strict=True)),
            in_flight=self.in_flight,
        )


def quantile_ms(buckets: Sequence[int], share: float) -> float | None:
    """The time in which this share of the requests was answered; None without any."""
    count = sum(buckets)
    if count <= 0:
        return None
    rank, running = share * count, 0
    for number, within in enumerate(buckets):
        if within and running + within >= rank:
            if number == len(BOUNDS_MS):
                return float(BOUNDS_MS[-1])
            low = BOUNDS_MS[number - 1] if number else 0.0
            return low + (BOUNDS_MS[number] - low) * (rank - running) / within
        running += within
    return float(BOUNDS_MS[-1])
