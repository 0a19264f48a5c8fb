"""The router's numbers, counted here, and put together for whoever scrapes.

Flow: batches of finished records → plain counters here → `families()` when somebody scrapes; a router without dynod has
them in `registry`, by `prometheus`. Counting per record into prometheus_client's own objects costs 8.1 µs a request (a
lock and a labels lookup per metric); a dictionary of small arrays, turned into metric families at scrape time, 0.8.

Labels are bounded: app, process type, dyno, status class, code. What is counted of a dyno goes when the dyno has been
gone for a while, so that apps and dynos may come and go for years.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

from router.core.metric_family import Bins, MetricFamily, Row
from router.core.request_record import RequestRecord

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

BOUNDS_MS: Final = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000)
KEPT_S: Final = 600.0  # how long the numbers of a dyno that is gone can still be scraped; scrapes are a minute apart
FIRST_SERVER_ERROR: Final = 500
BOUNDS_S: Final = tuple(bound / 1000.0 for bound in BOUNDS_MS)
_SERIES_LABELS: Final = ("app", "process_type", "dyno", "status", "code")
_DYNO_LABELS: Final = ("app", "process_type", "dyno")
_TIMES: Final = (
    ("total", "dynod_router_request_seconds", "From the whole request head to the answer's end."),
    ("connect", "dynod_router_connect_seconds", "Connecting to the dyno; 0 on a kept connection."),
    ("queue", "dynod_router_queue_seconds", "Waiting for a dyno."),
    ("service", "dynod_router_service_seconds", "From the dyno's connection to the answer's end."),
)


class _Histogram:
    """Counts per bucket. `zeros` are observations of exactly 0, the usual queue and connect time, kept apart as
    cheaper.
    """

    __slots__ = ("buckets", "total_ms", "zeros")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS_MS) + 1)
        self.total_ms = 0.0
        self.zeros = 0

    def counts(self) -> tuple[int, ...]:
        """How many in each bucket."""
        return (self.buckets[0] + self.zeros, *self.buckets[1:])


class _Timings:
    """Of one app and dyno, with all its series. `counted_at`: the newest batch with a request of it."""

    __slots__ = ("connect", "counted_at", "queue", "series", "service", "total")

    def __init__(self) -> None:
        self.counted_at = 0.0
        self.series: list[tuple[int | None, str | None, _Series]] = []  # by status and code
        self.total = _Histogram()
        self.connect = _Histogram()
        self.queue = _Histogram()
        self.service = _Histogram()


class _Series:
    __slots__ = ("bytes_in", "bytes_out", "count", "timings")

    def __init__(self, timings: _Timings) -> None:
        self.timings = timings  # shared by all series of one app and dyno
        self.count = 0
        self.bytes_in = 0
        self.bytes_out = 0


class Totals(NamedTuple):
    """Requests of a dyno, those that were answered with 5xx, and how many took up to each of BOUNDS_MS, and longer."""

    requests: int
    failed: int
    buckets: tuple[int, ...]


class RouterMetrics:
    """All of one router's metrics.

    `gauges` is asked at scrape time for (app, dyno, requests in flight, tunnels) of each backend, `queued` for (app,
    waiting requests) of each app, `connections` for the number of client connections. `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        *,
        gauges: Callable[[], Iterable[tuple[str, str, int, int]]],
        queued: Callable[[], Iterable[tuple[str, int]]],
        connections: Callable[[], int],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._gauges = gauges
        self._queued = queued
        self._connections = connections
        self._clock = clock
        self._swept_at = clock()
        self._series: dict[tuple[str, bytes, int | None, str | None], _Series] = {}
        self._timings: dict[str, dict[bytes, _Timings]] = {}  # by app, then dyno: whoever asks for one app walks one
        self._faults: dict[str, int] = {}
        self._retries: dict[str, int] = {}

    def count(self, records: Sequence[RequestRecord]) -> None:
        """Add finished requests."""
        all_series = self._series
        now = self._clock()
        bounds, bisect = BOUNDS_MS, bisect_left
        for record in records:
            key = (record.app, record.dyno, record.status, record.code)
            series = all_series.get(key)
            if series is None:
                if now - self._swept_at > KEPT_S:
                    self._sweep(now)  # only here can it grow, whether or not anybody scrapes
                series = all_series[key] = self._new_series(record)
            series.count += 1
            series.timings.counted_at = now
            series.bytes_in += record.bytes_in
            out = record.bytes_out
            if out is not None:
                series.bytes_out += out
            if record.attempts > 1:
                self._retries[record.app] = self._retries.get(record.app, 0) + record.attempts - 1
            if record.upgraded:
                continue  # a tunnel's life is no latency
            timings = series.timings
            # Written out four times: four calls a request are as much as all the rest here.
            total = record.total_ms
            histogram = timings.total
            histogram.buckets[bisect(bounds, total)] += 1
            histogram.total_ms += total
            value = record.service_ms
            if value is not None:
                histogram = timings.service
                histogram.buckets[bisect(bounds, value)] += 1
                histogram.total_ms += value
            waited = record.queue_ms
            histogram = timings.queue
            if waited:
                histogram.buckets[bisect(bounds, waited)] += 1
                histogram.total_ms += waited
            else:
                histogram.zeros += 1
            value = record.connect_ms
            if value is not None:
                histogram = timings.connect
                if value:
                    histogram.buckets[bisect(bounds, value)] += 1
                    histogram.total_ms += value
                else:
                    histogram.zeros += 1

    def totals(self, app: str) -> dict[str, Totals]:
        """By dyno, "" for what reached none: all that is known of an app since this router began."""
        return {dyno.decode("latin-1"): _totals(timings) for dyno, timings in self._timings.get(app, {}).items()}

    def client_fault(self, reason: str) -> None:
        """A request was refused before it was one."""
        self._faults[reason] = self._faults.get(reason, 0) + 1

    @cached_property
    def registry(self) -> "CollectorRegistry":
        """The same for prometheus_client, with nothing else in it, so that two routers fit in one process."""
        from router.prometheus import registry_of  # noqa: PLC0415 (15 ms of each start, and dynod does without)

        return registry_of(self.families)

    def families(self) -> list[MetricFamily]:
        """Everything, as of now: nothing in it changes any more, so it can be put into words in another thread."""
        self._sweep(self._clock())
        return [*self._passed(), *self._histograms(), *self._rest()]

    def _passed(self) -> list[MetricFamily]:
        requests: list[Row] = []
        bytes_in: list[Row] = []
        bytes_out: list[Row] = []
        for app, dyno, timings in self._walk():
            labels = _labels(app, dyno)
            got = sent = 0
            grouped: dict[tuple[str, str], int] = {}
            for status, code, series in timings.series:
                key = (f"{status // 100}xx" if status else "", code or "")
                grouped[key] = grouped.get(key, 0) + series.count
                got += series.bytes_in
                sent += series.bytes_out
            requests += [((*labels, *key), count) for key, count in grouped.items()]
            bytes_in.append((labels, got))
            bytes_out.append((labels, sent))
        return [
            _counter("dynod_router_requests", "Requests ended.", _SERIES_LABELS, requests),
            _counter("dynod_router_request_body_bytes", "Request bodies relayed.", _DYNO_LABELS, bytes_in),
            _counter("dynod_router_response_bytes", "Answers relayed, heads included.", _DYNO_LABELS, bytes_out),
        ]

    def _new_series(self, record: RequestRecord) -> _Series:
        timings = self._timings.setdefault(record.app, {}).setdefault(record.dyno, _Timings())
        series = _Series(timings)
        timings.series.append((record.status, record.code, series))
        return series

    def _walk(self) -> Iterable[tuple[str, str, _Timings]]:
        """Each app and dyno, by name."""
        for app, dynos in self._timings.items():
            for dyno, timings in dynos.items():
                yield app, dyno.decode("latin-1"), timings

    def _histograms(self) -> list[MetricFamily]:
        found = []
        for time, name, text in _TIMES:
            bins: list[Bins] = []
            for app, dyno, timings in self._walk():
                histogram: _Histogram = getattr(timings, time)
                counts = histogram.counts()
                if any(counts):
                    bins.append((_labels(app, dyno), counts, histogram.total_ms / 1000.0))
            found.append(
                MetricFamily(
                    name=name, type="histogram", documentation=text, labels=_DYNO_LABELS, bounds=BOUNDS_S, bins=bins
                )
            )
        return found

    def _rest(self) -> list[MetricFamily]:
        now: dict[tuple[str, str], list[int]] = {}
        for app, dyno, requests, upgraded in self._gauges():  # two of one name, while it is restarted
            both = now.setdefault((app, dyno), [0, 0])
            both[0] += requests
            both[1] += upgraded
        in_flight: list[Row] = [(_labels(*key), requests) for key, (requests, _) in now.items()]
        tunnels: list[Row] = [(_labels(*key), upgraded) for key, (_, upgraded) in now.items()]
        retries: list[Row] = [((app,), count) for app, count in self._retries.items()]
        faults: list[Row] = [((reason,), count) for reason, count in self._faults.items()]
        queued: list[Row] = [((app,), waiting) for app, waiting in self._queued()]
        return [
            _counter("dynod_router_retries", "Attempts after the first.", ("app",), retries),
            _counter("dynod_router_refused_heads", "Requests that were none.", ("reason",), faults),
            _gauge("dynod_router_in_flight", "Requests at a dyno now.", _DYNO_LABELS, in_flight),
            _gauge("dynod_router_tunnels", "Upgraded connections now.", _DYNO_LABELS, tunnels),
            _gauge("dynod_router_queued", "Requests waiting for a dyno now.", ("app",), queued),
            _gauge("dynod_router_client_connections", "Client connections now.", (), [((), self._connections())]),
        ]

    def _sweep(self, now: float) -> None:
        """Forget what was counted of dynos and apps that have been gone for KEPT_S."""
        self._swept_at = now
        apps = {app for app, _ in self._queued()} | {""}
        alive = {(app, dyno.encode("latin-1", "replace")) for app, dyno, _, _ in self._gauges()}
        alive |= {(app, b"") for app in apps}
        gone = {
            (app, dyno)
            for app, dynos in self._timings.items()
            for dyno, timings in dynos.items()
            if (app, dyno) not in alive and now - timings.counted_at > KEPT_S
        }
        if gone:
            for app, dyno in gone:
                del self._timings[app][dyno]
            self._timings = {app: dynos for app, dynos in self._timings.items() if dynos}
            for key in [key for key in self._series if key[:2] in gone]:
                del self._series[key]  # in place: a batch that is being counted has the dictionary
            self._retries = {app: count for app, count in self._retries.items() if app in apps or app in self._timings}


def _totals(timings: _Timings) -> Totals:
    return Totals(
        requests=sum(series.count for _, _, series in timings.series),
        failed=sum(
            series.count for status, _, series in timings.series if status is not None and status >= FIRST_SERVER_ERROR
        ),
        buckets=timings.total.counts(),
    )


def _labels(app: str, dyno: str) -> tuple[str, str, str]:
    """The values of `_DYNO_LABELS`; the process type is what stands before the dyno's number."""
    return app, dyno.rpartition(".")[0] or dyno, dyno


def _counter(name: str, text: str, labels: Sequence[str], rows: Sequence[Row]) -> MetricFamily:
    return MetricFamily(name=name, type="counter", documentation=text, labels=labels, rows=rows)


def _gauge(name: str, text: str, labels: Sequence[str], rows: Sequence[Row]) -> MetricFamily:
    return MetricFamily(name=name, type="gauge", documentation=text, labels=labels, rows=rows)
