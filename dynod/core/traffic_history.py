"""An app's traffic of the last hour in cells of ten seconds, and what passes just now. Pure, and a value that changes.

Flow: router's counters → **history**, told of them every ten seconds → graphs and rates of the dashboard. Nothing is
kept of a cell in which nothing happened, so that an idle app costs nothing. Times are a monotonic clock's seconds.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from dynod.core.traffic import BOUNDS_MS, DynoTraffic, quantile_ms

CELL_S: Final = 10.0
HOUR_S: Final = 3600.0
CELLS: Final = int(HOUR_S / CELL_S)
LEAST_S: Final = 1.0  # over which a rate means something
NOTHING: Final = DynoTraffic(requests=0, failed=0, buckets=(0,) * (len(BOUNDS_MS) + 1), in_flight=0)

Counters = Mapping[str, DynoTraffic]  # by dyno, since the router began; "" is what reached none


class Cell(NamedTuple):
    """What happened in the `seconds` before `ended_at`. `number` grows from cell to cell."""

    number: int
    ended_at: float
    seconds: float
    requests: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """What passed in the last `seconds`, by dyno."""

    seconds: float
    by_dyno: Counters

    @property
    def whole(self) -> DynoTraffic:
        """Of all dynos together, and of none."""
        return sum_of(self.by_dyno)


class _Look(NamedTuple):
    at: float
    counters: dict[str, DynoTraffic]


class TrafficHistory:
    """Of one app, from when it was first looked at."""

    __slots__ = ("_cells", "_looks", "_noted", "began_at")

    def __init__(self, now: float, counters: Counters) -> None:
        self.began_at = now
        self._looks: deque[_Look] = deque([_Look(now, dict(counters))], maxlen=2)
        self._cells: deque[Cell] = deque(maxlen=CELLS)
        self._noted = 0

    def note(self, now: float, counters: Counters) -> None:
        """Ten seconds have passed, more or less: how many it was is kept with the cell."""
        before = self._looks[-1]
        self._looks.append(_Look(now, dict(counters)))
        whole = sum_of(_since(counters, before.counters))
        self._noted += 1
        while self._cells and self._cells[0].ended_at <= now - HOUR_S:
            self._cells.popleft()
        if whole.requests > 0:
            self._cells.append(
                Cell(
                    number=self._noted,
                    ended_at=now,
                    seconds=max(now - before.at, LEAST_S),
                    requests=whole.requests,
                    failed=whole.failed,
                    p50_ms=quantile_ms(whole.buckets, 0.5),
                    p95_ms=quantile_ms(whole.buckets, 0.95),
                )
            )

    def cells(self, *, after: int = 0) -> Iterator[Cell]:
        """Those of the last hour in which something happened, behind the one of that number; oldest first."""
        return (cell for cell in tuple(self._cells) if cell.number > after)

    def recent(self, now: float, counters: Counters) -> Recent:
        """Since the last look but one: ten to twenty seconds, less at the very beginning."""
        before = self._looks[0]
        return Recent(seconds=max(now - before.at, LEAST_S), by_dyno=_since(counters, before.counters))


def sum_of(traffic: Counters) -> DynoTraffic:
    """Of all dynos together."""
    parts = [*traffic.values(), NOTHING]
    return DynoTraffic(
        requests=sum(part.requests for part in parts),
        failed=sum(part.failed for part in parts),
        buckets=tuple(map(sum, zip(*(part.buckets for part in parts), strict=True))),
        in_flight=sum(part.in_flight for part in parts),
    )


def _since(counters: Counters, before: Counters) -> dict[str, DynoTraffic]:
    """What each has had since. A dyno that the router has forgotten meanwhile had nothing: it forgets idle ones."""
    return {name: traffic.since(before.get(name)) for name, traffic in counters.items()}
