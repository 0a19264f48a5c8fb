"""Everything that Prometheus is told, put together when it asks. The only file of dynod that imports prometheus_client.

Flow: figures of the apps, router, store's counts, this process → **metrics** → metrics listener. Nothing is counted
here, so that nothing costs anything between two scrapes. Labels are bounded (app, process type, dyno, state, reason,
drain) and go with what they name; a reason or state that has not occurred is there as 0, so that the first one shows
as an increase. The names are listed in config/prometheus/metrics.md, which a test compares.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

from dynod import __version__
from dynod.app_figures import AppFigures, DynoFigures
from dynod.core.build import FAILED, PENDING, SUCCEEDED
from dynod.core.dyno import RestartCause, SlotState
from dynod.core.histogram import Histogram
from dynod.core.release import ReleaseStatus

APP: Final = ("app",)
TYPE: Final = ("app", "process_type")
DYNO: Final = ("app", "process_type", "dyno")
DRAIN: Final = ("app", "drain")
STATES: Final = [state for state in SlotState if state is not SlotState.COMPLETE]  # of dynos of a formation
BUILD_STATUSES: Final = (PENDING, SUCCEEDED, FAILED)


class Collects(Protocol):
    """A collector of prometheus_client's, such as the router's."""

    def collect(self) -> Iterable[Metric]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCounts:
    """What the store counts, by app id and status."""

    releases: Mapping[tuple[str, str], int]
    builds: Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSources:
    """Whom to ask. `verb`: `up` or `serve`; `state`: the folder whose disk matters, if any."""

    verb: str
    apps: Callable[[], Iterable[AppFigures]]
    router: Collects
    lag: Histogram  # seconds by which the loop was late
    keeper_pid: int
    state: Path | None = None
    stored: Callable[[], Awaitable[StoredCounts]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposition:
    """An answer to a scrape."""

    content_type: str
    body: bytes


class DaemonMetrics:
    """Of one daemon."""

    def __init__(self, sources: MetricSources) -> None:
        self._sources = sources
        nowhere = CollectorRegistry()
        self._processes = (
            ProcessCollector(registry=nowhere),
            ProcessCollector(namespace="dynod_keeper", pid=lambda: sources.keeper_pid, registry=CollectorRegistry()),
        )

    async def expose(self, accept: str) -> Exposition:
        """In the format that is asked for: OpenMetrics, else Prometheus' own text."""
        encode, content_type = choose_encoder(accept)
        registry = CollectorRegistry()
        registry.register(_Found(await self.families()))
        # Of hundreds of dynos that is some tens of thousands of lines: not in the loop.
        return Exposition(content_type=content_type, body=await asyncio.to_thread(encode, registry))

    async def families(self) -> list[Metric]:
        """All of them, as they are now. Raises StoreError."""
        sources = self._sources
        stored = await sources.stored() if sources.stored is not None else None
        apps = list(sources.apps())
        names = {app.id: app.name for app in apps} | {app.name: app.name for app in apps}
        found = [_named(metric, names) for metric in sources.router.collect()]
        found += _dynos(apps)
        found += _formation(apps)
        found += _logs(apps)
        found += _releases(apps, stored)
        found += self._daemon()
        return found

    def _daemon(self) -> list[Metric]:
        sources = self._sources
        info = GaugeMetricFamily("dynod_info", "1; its version and verb.", labels=["version", "verb"])
        info.add_metric([__version__, sources.verb], 1)
        lag = HistogramMetricFamily("dynod_event_loop_lag_seconds", "How late the core's loop was, once a second.")
        _add(lag, [], sources.lag)
        found: list[Metric] = [info, lag]
        if sources.state is not None:
            disk = os.statvfs(sources.state)
            free = GaugeMetricFamily("dynod_state_disk_free_bytes", "Left where the state is.")
            free.add_metric([], disk.f_bavail * disk.f_frsize)
            size = GaugeMetricFamily("dynod_state_disk_size_bytes", "Of the file system that the state is on.")
            size.add_metric([], disk.f_blocks * disk.f_frsize)
            found += [free, size]
        for collector in self._processes:
            found += collector.collect()
        return found


class _Found:
    """Families that have been collected."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families

    def describe(self) -> Iterable[Metric]:
        return ()  # asked for names when it is registered, where collecting again would cost


def _named(metric: Metric, names: Mapping[str, str]) -> Metric:
    """The router knows apps by id; what it still has of an app that is gone is left out."""
    named = Metric(metric.name, metric.documentation, metric.type)
    for sample in metric.samples:
        app = sample.labels.get("app", "")
        if not app:  # of no app: a malformed head, an unknown host
            named.samples.append(sample)
        elif app in names:
            named.samples.append(sample._replace(labels={**sample.labels, "app": names[app]}))
    return named


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    buckets = [("+Inf" if bound is None else str(bound), float(count)) for bound, count in histogram.cumulative()]
    family.add_metric(labels, buckets, histogram.total)


def _dynos(apps: list[AppFigures]) -> list[Metric]:
    state = GaugeMetricFamily("dynod_dyno_state", "1 for the state that it is in.", labels=[*DYNO, "state"])
    restarts = CounterMetricFamily(
        "dynod_dyno_restarts", "Its processes that another one followed.", labels=[*DYNO, "reason"]
    )
    plain: list[tuple[Metric, Callable[[DynoFigures], float | None]]] = [
        (GaugeMetricFamily("dynod_dyno_uptime_seconds", "Since it was up.", labels=DYNO), lambda dyno: dyno.up_s),
        (GaugeMetricFamily("dynod_dyno_memory_bytes", "Shared pages in parts.", labels=DYNO), lambda dyno: dyno.memory),
        (GaugeMetricFamily("dynod_dyno_memory_quota_bytes", "By its size.", labels=DYNO), lambda dyno: dyno.quota),
        (CounterMetricFamily("dynod_dyno_cpu_seconds", "Since its start.", labels=DYNO), lambda dyno: dyno.cpu_s),
        (GaugeMetricFamily("dynod_dyno_processes", "Living now.", labels=DYNO), lambda dyno: dyno.processes),
    ]
    for app in apps:
        for dyno in app.dynos:
            labels = [app.name, dyno.process_type, dyno.name]
            for each in STATES:
                state.add_metric([*labels, each.value], dyno.state is each)
            for cause in RestartCause:
                restarts.add_metric([*labels, cause.value], dyno.restarts.get(cause, 0))
            for family, value in plain:
                if (known := value(dyno)) is not None:
                    assert isinstance(family, GaugeMetricFamily | CounterMetricFamily)  # noqa: S101 (as built above)
                    family.add_metric(labels, known)
    return [state, restarts, *(family for family, _ in plain)]


def _formation(apps: list[AppFigures]) -> list[Metric]:
    wanted = GaugeMetricFamily("dynod_formation_dynos", "How many dynos are wanted.", labels=TYPE)
    boots = HistogramMetricFamily("dynod_dyno_boot_seconds", "From a dyno's launch until it was up.", labels=TYPE)
    one_offs = GaugeMetricFamily("dynod_one_off_dynos", "One-off dynos that run.", labels=APP)
    maintenance = GaugeMetricFamily("dynod_app_maintenance", "1 in maintenance mode.", labels=APP)
    for app in apps:
        for process_type, count in app.wanted.items():
            wanted.add_metric([app.name, process_type], count)
        for process_type, histogram in app.boots.items():
            _add(boots, [app.name, process_type], histogram)
        one_offs.add_metric([app.name], app.one_offs)
        maintenance.add_metric([app.name], app.maintenance)
    return [wanted, boots, one_offs, maintenance]


def _logs(apps: list[AppFigures]) -> list[Metric]:
    lines = CounterMetricFamily("dynod_log_lines", "Lines of the app's log.", labels=APP)
    size = CounterMetricFamily("dynod_log_bytes", "Bytes of the app's log, without what frames them.", labels=APP)
    lost = CounterMetricFamily("dynod_log_dropped_lines", "Lines that could not be kept.", labels=APP)
    sent = CounterMetricFamily("dynod_drain_sent_lines", "Lines that its receiver took.", labels=DRAIN)
    dropped = CounterMetricFamily("dynod_drain_dropped_lines", "Lines that were given up.", labels=DRAIN)
    lag_lines = GaugeMetricFamily("dynod_drain_lag_lines", "Lines that it has not sent yet.", labels=DRAIN)
    lag_bytes = GaugeMetricFamily("dynod_drain_lag_bytes", "Bytes that it has not sent yet.", labels=DRAIN)
    failures = GaugeMetricFamily("dynod_drain_failures", "Attempts that failed in a row.", labels=DRAIN)
    for app in apps:
        lines.add_metric([app.name], app.log.lines)
        size.add_metric([app.name], app.log.bytes)
        lost.add_metric([app.name], app.log.dropped)
        for record, health in app.drains:
            if health is None:
                continue
            labels = [app.name, record.id]
            sent.add_metric(labels, health.sent)
            dropped.add_metric(labels, health.dropped)
            lag_lines.add_metric(labels, health.lag_lines)
            lag_bytes.add_metric(labels, health.lag_bytes)
            failures.add_metric(labels, health.failures)
    return [lines, size, lost, sent, dropped, lag_lines, lag_bytes, failures]


def _releases(apps: list[AppFigures], stored: StoredCounts | None) -> list[Metric]:
    version = GaugeMetricFamily("dynod_release_version", "The release that is live.", labels=APP)
    releases = GaugeMetricFamily("dynod_releases", "Releases that there are.", labels=[*APP, "status"])
    builds = GaugeMetricFamily("dynod_builds", "Builds that there are.", labels=[*APP, "status"])
    for app in apps:
        if app.release is not None:
            version.add_metric([app.name], app.release)
        if stored is not None:
            for status in ReleaseStatus:
                releases.add_metric([app.name, status.value], stored.releases.get((app.id, status.value), 0))
            for build in BUILD_STATUSES:
                builds.add_metric([app.name, build], stored.builds.get((app.id, build), 0))
    return [version, releases, builds]
