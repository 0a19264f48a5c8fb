"""An app's traffic of the last hour in cells of ten seconds, and what passes just now. Pure, and a value that changes.

Flow: router's counters → **history**, told of them every ten seconds → graphs and rates of the dashboard. Nothing is
kept of a cell in which nothing happened, so that an idle app costs nothing. Times are a monotonic clock's seconds, the
machine's, which goes on over cores. For the history after this one there is a past in minutes, sixty at most.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from dynod.core.traffic import BOUNDS_MS, DynoTraffic, quantile_ms

CELL_S: Final = 10.0
HOUR_S: Final = 3600.0
CELLS: Final = int(HOUR_S / CELL_S)
MINUTE_CELLS: Final = 6
MINUTES: Final = CELLS // MINUTE_CELLS
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


class Past(NamedTuple):
    """What another history knew: since when, and each minute in which something happened, as a cell."""

    began_at: float
    minutes: Sequence[Cell]


class _Look(NamedTuple):
    at: float
    counters: dict[str, DynoTraffic]


class TrafficHistory:
    """Of one app, from when it was first looked at."""

    __slots__ = ("_cells", "_looks", "_minute", "_minutes", "_noted", "began_at")

    def __init__(self, now: float, counters: Counters, past: Past | None = None) -> None:
        """`past`: of the history before, whose counters were others."""
        self.began_at = past.began_at if past is not None else now
        look = _Look(now, dict(counters))
        self._looks: deque[_Look] = deque([look], maxlen=2)
        self._minute = look  # the one with which it began
        self._minutes: deque[Cell] = deque(past.minutes if past is not None else (), maxlen=MINUTES)
        self._cells: deque[Cell] = deque(_in_cells(self._minutes), maxlen=CELLS)
        self._noted = self._cells[-1].number if self._cells else 0

    def note(self, now: float, counters: Counters) -> bool:
        """Ten seconds have passed, more or less: how many it was is kept with the cell. True: `past` has changed."""
        before, look = self._looks[-1], _Look(now, dict(counters))
        self._looks.append(look)
        self._noted += 1
        for kept in (self._cells, self._minutes):
            while kept and kept[0].ended_at <= now - HOUR_S:
                kept.popleft()
        if (cell := _cell(self._noted, before, look)) is not None:
            self._cells.append(cell)
        if self._noted % MINUTE_CELLS:
            return False
        minute = _cell(self._noted, self._minute, look)
        self._minute = look
        if minute is not None:
            self._minutes.append(minute)
        return minute is not None

    def past(self) -> Past:
        """For the history after this one."""
        return Past(began_at=self.began_at, minutes=tuple(self._minutes))

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


def _cell(number: int, before: _Look, look: _Look) -> Cell | None:
    """Of what happened between the two; None: nothing did."""
    whole = sum_of(_since(look.counters, before.counters))
    if whole.requests == 0:
        return None
    return Cell(
        number=number,
        ended_at=look.at,
        seconds=max(look.at - before.at, LEAST_S),
        requests=whole.requests,
        failed=whole.failed,
        p50_ms=quantile_ms(whole.buckets, 0.5),
        p95_ms=quantile_ms(whole.buckets, 0.95),
    )


def _in_cells(minutes: Iterable[Cell]) -> Iterator[Cell]:
    """A minute as six cells, each with the rates of the whole: what it was in between is not known any more."""
    for minute in minutes:
        for back in reversed(range(MINUTE_CELLS)):
            ended_at = minute.ended_at - back * minute.seconds / MINUTE_CELLS
            yield minute._replace(number=minute.number - back, ended_at=ended_at)


def _since(counters: Counters, before: Counters) -> dict[str, DynoTraffic]:
    """What each has had since. A dyno that the router has forgotten meanwhile had nothing: it forgets idle ones."""
    return {name: traffic.since(before.get(name)) for name, traffic in counters.items()}
