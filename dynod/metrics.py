"""Everything that Prometheus is told, put together when it asks. The only file of dynod that imports prometheus_client.

Flow: figures of the apps, router, store's counts, this process → **metrics** → metrics listener. Nothing is counted
here, so that nothing costs anything between two scrapes. Labels are bounded (app, process type, dyno, state, reason,
drain) and go with what they name; a reason or state that has not occurred is there as 0, so that the first one shows
as an increase. The names are listed in config/prometheus/metrics.md, which a test compares.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from prometheus_client import Metric, ProcessCollector
from prometheus_client.registry import CollectorRegistry

from dynod import __version__
from dynod.app_figures import AppFigures
from dynod.core.build import FAILED, PENDING, SUCCEEDED
from dynod.core.dyno import RestartCause, SlotState
from dynod.core.histogram import BOOT_BOUNDS_S, Histogram
from dynod.core.losses import Loss
from dynod.core.metric_text import Bins, Family, MetricFamily, Row, content_type, written
from dynod.core.release import ReleaseStatus

APP: Final = ("app",)
TYPE: Final = ("app", "process_type")
DYNO: Final = ("app", "process_type", "dyno")
DRAIN: Final = ("app", "drain")
STATES: Final = [state for state in SlotState if state is not SlotState.COMPLETE]  # of dynos of a formation
BUILD_STATUSES: Final = (PENDING, SUCCEEDED, FAILED)


class Measures(Protocol):
    """Whoever has metrics of its own: the router, which knows apps by their ids."""

    def families(self) -> Iterable[Family]: ...


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
    router: Measures
    lag: Histogram  # seconds by which the loop was late
    keeper_pid: int
    state: Path | None = None
    stored: Callable[[], Awaitable[StoredCounts]] | None = None
    lost: Callable[[], Mapping[Loss, int]] = dict


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
        families, kind = await self.families(), content_type(accept)
        # Of hundreds of dynos that is some tens of thousands of lines: not in the loop.
        return Exposition(content_type=kind, body=await asyncio.to_thread(written, families, kind))

    async def families(self) -> list[Family]:
        """All of them, as they are now. Raises StoreError."""
        sources = self._sources
        stored = await sources.stored() if sources.stored is not None else None
        apps = list(sources.apps())
        names = {app.id: app.name for app in apps} | {app.name: app.name for app in apps}
        found: list[Family] = [_named(family, names) for family in sources.router.families()]
        found += _dynos(apps)
        found += _formation(apps)
        found += _logs(apps)
        found += _releases(apps, stored)
        found += self._daemon()
        return found

    def _daemon(self) -> list[Family]:
        sources = self._sources
        found: list[Family] = [
            _gauge("dynod_info", "1; its version and verb.", ("version", "verb"), [((__version__, sources.verb), 1)]),
            MetricFamily(
                name="dynod_event_loop_lag_seconds",
                type="histogram",
                documentation="How late the core's loop was, once a second.",
                bounds=sources.lag.bounds,
                bins=[_bins((), sources.lag)],
            ),
        ]
        lost = [((what.value,), count) for what, count in sources.lost().items()]
        found.append(_counter("dynod_lost", "What a full queue of dynod's had no room for.", ("what",), lost))
        if sources.state is not None:
            disk = os.statvfs(sources.state)
            found += [
                _gauge(
                    "dynod_state_disk_free_bytes", "Left where the state is.", (), [((), disk.f_bavail * disk.f_frsize)]
                ),
                _gauge(
                    "dynod_state_disk_size_bytes",
                    "Of the file system that the state is on.",
                    (),
                    [((), disk.f_blocks * disk.f_frsize)],
                ),
            ]
        found += [_plain(metric) for collector in self._processes for metric in collector.collect()]
        return found


def _plain(metric: Metric) -> MetricFamily:
    """One of prometheus_client's own, which have no labels."""
    rows = [((), sample.value) for sample in metric.samples]
    return MetricFamily(name=metric.name, type=metric.type, documentation=metric.documentation, rows=rows)


def _named(family: Family, names: Mapping[str, str]) -> Family:
    """The router knows apps by id; what it still has of an app that is gone is left out.

    What is of no app stays: a malformed head, an unknown host.
    """
    if "app" not in family.labels:
        return family
    return MetricFamily(
        name=family.name,
        type=family.type,
        documentation=family.documentation,
        labels=family.labels,
        rows=[
            ((names.get(app, ""), *others), number) for (app, *others), number in family.rows if not app or app in names
        ],
        bounds=family.bounds,
        bins=[
            ((names.get(app, ""), *others), counts, total)
            for (app, *others), counts, total in family.bins
            if not app or app in names
        ],
    )


def _bins(values: Sequence[str], histogram: Histogram) -> Bins:
    return values, tuple(histogram.counts), histogram.total


def _counter(name: str, text: str, labels: Sequence[str], rows: Sequence[Row]) -> MetricFamily:
    return MetricFamily(name=name, type="counter", documentation=text, labels=labels, rows=rows)


def _gauge(name: str, text: str, labels: Sequence[str], rows: Sequence[Row]) -> MetricFamily:
    return MetricFamily(name=name, type="gauge", documentation=text, labels=labels, rows=rows)


def _dynos(apps: Sequence[AppFigures]) -> list[Family]:
    states: list[Row] = []
    restarts: list[Row] = []
    uptime: list[Row] = []
    memory: list[Row] = []
    quota: list[Row] = []
    cpu: list[Row] = []
    processes: list[Row] = []
    for app in apps:
        for dyno in app.dynos:
            labels = (app.name, dyno.process_type, dyno.name)
            states += [((*labels, each.value), int(dyno.state is each)) for each in STATES]
            restarts += [((*labels, cause.value), dyno.restarts.get(cause, 0)) for cause in RestartCause]
            for rows, known in (
                (uptime, dyno.up_s),
                (memory, dyno.memory),
                (quota, dyno.quota),
                (cpu, dyno.cpu_s),
                (processes, dyno.processes),
            ):
                if known is not None:
                    rows.append((labels, known))
    return [
        _gauge("dynod_dyno_state", "1 for the state that it is in.", (*DYNO, "state"), states),
        _counter("dynod_dyno_restarts", "Its processes that another one followed.", (*DYNO, "reason"), restarts),
        _gauge("dynod_dyno_uptime_seconds", "Since it was up.", DYNO, uptime),
        _gauge("dynod_dyno_memory_bytes", "Shared pages in parts.", DYNO, memory),
        _gauge("dynod_dyno_memory_quota_bytes", "By its size.", DYNO, quota),
        _counter("dynod_dyno_cpu_seconds", "Since its start.", DYNO, cpu),
        _gauge("dynod_dyno_processes", "Living now.", DYNO, processes),
    ]


def _formation(apps: Sequence[AppFigures]) -> list[Family]:
    wanted: list[Row] = [((app.name, kind), count) for app in apps for kind, count in app.wanted.items()]
    one_offs: list[Row] = [((app.name,), app.one_offs) for app in apps]
    maintenance: list[Row] = [((app.name,), int(app.maintenance)) for app in apps]
    return [
        _gauge("dynod_formation_dynos", "How many dynos are wanted.", TYPE, wanted),
        MetricFamily(
            name="dynod_dyno_boot_seconds",
            type="histogram",
            documentation="From a dyno's launch until it was up.",
            labels=TYPE,
            bounds=BOOT_BOUNDS_S,
            bins=[_bins((app.name, kind), histogram) for app in apps for kind, histogram in app.boots.items()],
        ),
        _gauge("dynod_one_off_dynos", "One-off dynos that run.", APP, one_offs),
        _gauge("dynod_app_maintenance", "1 in maintenance mode.", APP, maintenance),
    ]


def _logs(apps: Sequence[AppFigures]) -> list[Family]:
    logs = [((app.name,), app.log) for app in apps]
    drains = [((app.name, record.id), health) for app in apps for record, health in app.drains if health is not None]
    sent = [(labels, health.sent) for labels, health in drains]
    lost = [(labels, health.dropped) for labels, health in drains]
    lag_lines = [(labels, health.lag_lines) for labels, health in drains]
    lag_bytes = [(labels, health.lag_bytes) for labels, health in drains]
    failures = [(labels, health.failures) for labels, health in drains]
    return [
        _counter("dynod_log_lines", "Lines of the app's log.", APP, [(labels, log.lines) for labels, log in logs]),
        _counter(
            "dynod_log_bytes",
            "Bytes of the app's log, without what frames them.",
            APP,
            [(labels, log.bytes) for labels, log in logs],
        ),
        _counter(
            "dynod_log_dropped_lines",
            "Lines that could not be kept.",
            APP,
            [(labels, log.dropped) for labels, log in logs],
        ),
        _counter(
            "dynod_log_tail_dropped_lines",
            "Lines that whoever followed the log was too slow for.",
            APP,
            [(labels, log.missed) for labels, log in logs],
        ),
        _counter("dynod_drain_sent_lines", "Lines that its receiver took.", DRAIN, sent),
        _counter("dynod_drain_dropped_lines", "Lines that were given up.", DRAIN, lost),
        _gauge("dynod_drain_lag_lines", "Lines that it has not sent yet.", DRAIN, lag_lines),
        _gauge("dynod_drain_lag_bytes", "Bytes that it has not sent yet.", DRAIN, lag_bytes),
        _gauge("dynod_drain_failures", "Attempts that failed in a row.", DRAIN, failures),
    ]


def _releases(apps: Sequence[AppFigures], stored: StoredCounts | None) -> list[Family]:
    version: list[Row] = [((app.name,), app.release) for app in apps if app.release is not None]
    releases: list[Row] = []
    builds: list[Row] = []
    if stored is not None:
        for app in apps:
            releases += [((app.name, each), stored.releases.get((app.id, each), 0)) for each in ReleaseStatus]
            builds += [((app.name, each), stored.builds.get((app.id, each), 0)) for each in BUILD_STATUSES]
    return [
        _gauge("dynod_release_version", "The release that is live.", APP, version),
        _gauge("dynod_releases", "Releases that there are.", (*APP, "status"), releases),
        _gauge("dynod_builds", "Builds that there are.", (*APP, "status"), builds),
    ]
