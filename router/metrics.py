"""The router's numbers, as Prometheus reads them. The only file that imports prometheus_client.

Flow: batches of finished records → plain counters here → `collect()` when somebody scrapes. Counting per record into
prometheus_client's own objects costs 8.1 µs a request (a lock and a labels lookup per metric); a dictionary of small
arrays, turned into metric families at scrape time, 0.8.

Labels are bounded: app, process type, dyno, status class, code. What is counted of a dyno goes when the dyno has been
gone for a while, so that apps and dynos may come and go for years.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from router.core.request_record import RequestRecord

BOUNDS_MS: Final = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000)
KEPT_S: Final = 600.0  # how long the numbers of a dyno that is gone can still be scraped; scrapes are a minute apart
FIRST_SERVER_ERROR: Final = 500
_SERIES_LABELS: Final = ["app", "process_type", "dyno", "status", "code"]
_DYNO_LABELS: Final = ["app", "process_type", "dyno"]


class _Histogram:
    """Counts per bucket. `zeros` are observations of exactly 0, the usual queue and connect time, kept apart as
    cheaper.
    """

    __slots__ = ("buckets", "total_ms", "zeros")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS_MS) + 1)
        self.total_ms = 0.0
        self.zeros = 0


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


class RouterMetrics(Collector):
    """All of one router's metrics, in a registry of their own, so that two routers fit in one process.

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
        self.registry = CollectorRegistry()
        self.registry.register(self)

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

    def collect(self) -> Iterable[Metric]:
        """Everything, as metric families."""
        self._sweep(self._clock())
        requests = CounterMetricFamily("dynod_router_requests", "Requests ended.", labels=_SERIES_LABELS)
        bytes_in = CounterMetricFamily(
            "dynod_router_request_body_bytes", "Request bodies relayed.", labels=_DYNO_LABELS
        )
        bytes_out = CounterMetricFamily(
            "dynod_router_response_bytes", "Answers relayed, heads included.", labels=_DYNO_LABELS
        )
        for app, dyno, timings in self._walk():
            labels = _labels(app, dyno)
            got = sent = 0
            grouped: dict[tuple[str, str], int] = {}
            for status, code, series in timings.series:
                key = (f"{status // 100}xx" if status else "", code or "")
                grouped[key] = grouped.get(key, 0) + series.count
                got += series.bytes_in
                sent += series.bytes_out
            for key, count in grouped.items():
                requests.add_metric([*labels, *key], count)
            bytes_in.add_metric(labels, got)
            bytes_out.add_metric(labels, sent)
        yield requests
        yield bytes_in
        yield bytes_out
        yield from self._histograms()
        yield from self._rest()

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

    def _histograms(self) -> Iterable[Metric]:
        for name, text in (
            ("total", "From the whole request head to the answer's end."),
            ("connect", "Connecting to the dyno; 0 on a kept connection."),
            ("queue", "Waiting for a dyno."),
            ("service", "From the dyno's connection to the answer's end."),
        ):
            metric = "request" if name == "total" else name
            family = HistogramMetricFamily(f"dynod_router_{metric}_seconds", text, labels=_DYNO_LABELS)
            for app, dyno, timings in self._walk():
                histogram: _Histogram = getattr(timings, name)
                running = histogram.zeros
                buckets: list[tuple[str, float]] = []
                for bound, count in zip((*BOUNDS_MS, None), histogram.buckets, strict=True):
                    running += count
                    buckets.append(("+Inf" if bound is None else str(bound / 1000.0), running))
                if running:
                    family.add_metric(_labels(app, dyno), buckets, histogram.total_ms / 1000.0)
            yield family

    def _rest(self) -> Iterable[Metric]:
        retries = CounterMetricFamily("dynod_router_retries", "Attempts after the first.", labels=["app"])
        for app, count in self._retries.items():
            retries.add_metric([app], count)
        yield retries
        faults = CounterMetricFamily("dynod_router_refused_heads", "Requests that were none.", labels=["reason"])
        for reason, count in self._faults.items():
            faults.add_metric([reason], count)
        yield faults
        in_flight = GaugeMetricFamily("dynod_router_in_flight", "Requests at a dyno now.", labels=_DYNO_LABELS)
        tunnels = GaugeMetricFamily("dynod_router_tunnels", "Upgraded connections now.", labels=_DYNO_LABELS)
        now: dict[tuple[str, str], list[int]] = {}
        for app, dyno, requests, upgraded in self._gauges():  # two of one name, while it is restarted
            both = now.setdefault((app, dyno), [0, 0])
            both[0] += requests
            both[1] += upgraded
        for (app, dyno), (requests, upgraded) in now.items():
            in_flight.add_metric(_labels(app, dyno), requests)
            tunnels.add_metric(_labels(app, dyno), upgraded)
        yield in_flight
        yield tunnels
        queued = GaugeMetricFamily("dynod_router_queued", "Requests waiting for a dyno now.", labels=["app"])
        for app, waiting in self._queued():
            queued.add_metric([app], waiting)
        yield queued
        connections = GaugeMetricFamily("dynod_router_client_connections", "Client connections now.")
        connections.add_metric([], self._connections())
        yield connections

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
    histogram = timings.total
    return Totals(
        requests=sum(series.count for _, _, series in timings.series),
        failed=sum(
            series.count for status, _, series in timings.series if status is not None and status >= FIRST_SERVER_ERROR
        ),
        buckets=(histogram.buckets[0] + histogram.zeros, *histogram.buckets[1:]),
    )


def _labels(app: str, dyno: str) -> list[str]:
    """The values of `_DYNO_LABELS`; the process type is what stands before the dyno's number."""
    return [app, dyno.rpartition(".")[0] or dyno, dyno]
