"""What Prometheus is told: the names of the table, apps by their names, no series for what is gone."""

import asyncio
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from dynod.app_figures import AppFigures, DynoFigures
from dynod.app_logs import DrainState, LogVolume
from dynod.core.boot import Address
from dynod.core.drain import DrainRecord
from dynod.core.drain_url import parse_drain_url
from dynod.core.dyno import RestartCause, SlotState
from dynod.core.histogram import BOOT_BOUNDS_S, LAG_BOUNDS_S, Histogram
from dynod.core.losses import Loss
from dynod.errors import SettingsError
from dynod.logs.drain import DrainHealth
from dynod.metrics import DaemonMetrics, MetricSources, StoredCounts
from dynod.metrics_site import targets
from dynod.metrics_token import token_hash
from router import RequestRecord, RouterMetrics
from support.source_tree import REPOSITORY

TABLE = REPOSITORY / "config/prometheus/metrics.md"
MADE = datetime(2026, 11, 23, tzinfo=UTC)
HEALTH = DrainHealth(
    sent=10,
    dropped=1,
    lag_lines=2,
    lag_bytes=300,
    failures=3,
    last_error="refused",
    last_error_at=0.0,
    delivered_at=0.0,
    waits_until=0.0,
)


def dyno(name: str, state: SlotState = SlotState.UP, *, host: str = "127.0.0.1", port: int = 20001) -> DynoFigures:
    is_up = state is SlotState.UP
    return DynoFigures(
        name=name,
        process_type=name.partition(".")[0],
        state=state,
        restarts={RestartCause.CRASH: 2},
        up_s=5.0 if is_up else None,
        address=Address(host, port) if is_up else None,
        memory=1000 if is_up else None,
        quota=512_000_000,
        cpu_s=1.5 if is_up else None,
        cpu_share=None,
        processes=1 if is_up else None,
        release=3,
    )


def app(id_: str, name: str, dynos: Sequence[DynoFigures]) -> AppFigures:
    boots = Histogram(BOOT_BOUNDS_S)
    boots.observe(0.5)
    url = parse_drain_url("syslog://127.0.0.1:601")
    record = DrainRecord(id=f"drain-{id_}", token="d.1", url=url, created_at=MADE, updated_at=MADE)
    return AppFigures(
        id=id_,
        name=name,
        maintenance=False,
        wanted={"web": len(dynos)},
        dynos=dynos,
        one_offs=0,
        boots={"web": boots},
        log=LogVolume(lines=7, bytes=70, dropped=0),
        drains=[DrainState(record, HEALTH)],
        release=3,
    )


class Daemon:
    """A daemon whose apps are what a test says."""

    def __init__(self, apps: Iterable[AppFigures]) -> None:
        self.apps = list(apps)
        self.now = 1000.0
        self.router = RouterMetrics(
            gauges=lambda: [(app.id, dyno.name, 0, 0) for app in self.apps for dyno in app.dynos],
            queued=lambda: [(app.id, 0) for app in self.apps],
            connections=lambda: 1,
            clock=lambda: self.now,
        )
        lag = Histogram(LAG_BOUNDS_S)
        lag.observe(0.002)
        self.metrics = DaemonMetrics(
            MetricSources(
                verb="serve",
                apps=lambda: self.apps,
                router=self.router,
                lag=lag,
                keeper_pid=os.getpid(),
                state=Path("/"),
                stored=self.stored,
                lost=lambda: dict.fromkeys(Loss, 0),
            )
        )

    async def stored(self) -> StoredCounts:
        return StoredCounts(releases={("id-1", "failed"): 2}, builds={("id-1", "succeeded"): 1})

    def request(self, app_id: str, dyno_name: str) -> None:
        record = RequestRecord(app_id, b"GET", b"/", b"a", 0.0)
        record.dyno, record.status, record.attempts = dyno_name.encode(), 200, 2
        record.connect_ms, record.service_ms, record.total_ms, record.bytes_out = 1.0, 2.0, 3.0, 10
        self.router.count([record])
        self.router.client_fault("a reason")

    def text(self, accept: str = "") -> str:
        return asyncio.run(self.metrics.expose(accept)).body.decode()

    def families(self) -> list[Metric]:
        """As prometheus_client reads what is answered."""
        return list(read_text(self.text()))

    def series(self) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        return {
            (sample.name, tuple(sorted(sample.labels.items())))
            for family in self.families()
            for sample in family.samples
        }


def one_of_everything() -> Daemon:
    daemon = Daemon([app("id-1", "shop", [dyno("web.1"), dyno("web.2", SlotState.CRASHED)])])
    daemon.request("id-1", "web.1")
    return daemon


def rows(families: Iterable[Metric]) -> list[str]:
    """As the table has them."""
    found = []
    for family in families:
        if not family.samples:
            raise AssertionError(f"{family.name}: no sample of it is made here")
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        text = family.documentation
        found.append(f"| `{name}` | {family.type} | {', '.join(labels)} | {text} |")
    return found


def test_the_table_lists_each_metric_with_its_labels() -> None:
    listed = [line for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    assert listed == rows(one_of_everything().families())


def test_names_and_units_follow_the_rules_of_prometheus() -> None:
    for family in one_of_everything().families():
        assert re.fullmatch(r"(?:dynod|process)_[a-z_]+", family.name)
        assert not re.search(r"_(?:ms|milliseconds|kb|mb|count|sum|bucket)$", family.name)
        if "memory" in family.name or "disk" in family.name or "bytes" in family.name:
            assert family.name.removesuffix("_total").endswith("bytes"), family.name


def test_apps_are_called_by_their_names_in_the_routers_metrics_too() -> None:
    daemon = one_of_everything()
    daemon.apps = [replace(daemon.apps[0], name="store")]
    apps = {dict(labels).get("app", "") for _, labels in daemon.series()}
    assert apps == {"", "store"}


def test_an_app_that_is_gone_has_no_series() -> None:
    daemon = Daemon([app("id-1", "shop", [dyno("web.1")]), app("id-2", "blog", [dyno("web.1")])])
    daemon.request("id-2", "web.1")
    daemon.apps.pop()
    assert not [labels for _, labels in daemon.series() if dict(labels).get("app") in {"blog", "id-2"}]


def test_series_are_the_first_ones_after_500_scalings_and_50_releases() -> None:
    """Requests to the dynos that come and go included; what the router counted of them goes after ten minutes."""
    daemon = one_of_everything()
    daemon.request("id-1", "web.2")
    first, before = daemon.series(), list(daemon.apps)
    for number in range(500):
        dynos = [dyno(f"web.{n}") for n in range(1, 2 + number % 40)]
        daemon.apps = [replace(before[0], dynos=dynos, release=3 + number // 10)]
        daemon.now += 30
        for each in dynos:
            daemon.request("id-1", each.name)
    assert len(daemon.series()) > len(first)  # not forgotten at once: a scrape is to find it
    daemon.apps = before
    daemon.now += 601
    daemon.request("id-1", "web.1")
    assert daemon.series() == first


def test_a_reason_that_has_not_occurred_is_there_as_zero() -> None:
    """Else its first time would be no increase."""
    family = next(each for each in one_of_everything().families() if each.name == "dynod_dyno_restarts")
    of_web_1 = {s.labels["reason"]: s.value for s in family.samples if s.labels["dyno"] == "web.1"}
    assert of_web_1 == {**dict.fromkeys([cause.value for cause in RestartCause], 0), "crash": 2}


def test_both_formats_can_be_read() -> None:
    metrics = one_of_everything().metrics
    text = asyncio.run(metrics.expose(""))
    assert text.content_type.startswith("text/plain")
    names = {family.name for family in read_text(text.body.decode())}
    openmetrics = asyncio.run(metrics.expose("application/openmetrics-text; version=1.0.0"))
    assert openmetrics.content_type.startswith("application/openmetrics-text")
    parsed = read_openmetrics(openmetrics.body.decode())  # type: ignore[no-untyped-call] # of the library
    assert {family.name for family in parsed} == names


def test_discovery_lists_dynos_that_can_be_reached() -> None:
    dynos = [dyno("web.1", host="::1"), dyno("worker.1", port=20002), dyno("web.2", SlotState.CRASHED)]
    assert targets([app("id-1", "shop", dynos)]) == [
        {"targets": ["[::1]:20001"], "labels": {"app": "shop", "process_type": "web", "dyno": "web.1"}},
        {"targets": ["127.0.0.1:20002"], "labels": {"app": "shop", "process_type": "worker", "dyno": "worker.1"}},
    ]


def test_a_token_that_could_be_guessed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("short\n")
    with pytest.raises(SettingsError, match="at least 16 characters"):
        token_hash(file)
    file.write_bytes(b"\xff" * 32)
    with pytest.raises(SettingsError, match="not ASCII"):
        token_hash(file)
    file.write_text("long enough for this\n")
    assert len(token_hash(file)) == 64


def test_rules_and_dashboard_name_only_metrics_that_there_are() -> None:
    known = {row.split("`")[1] for row in TABLE.read_text().splitlines() if row.startswith("| `")}
    folder = TABLE.parent
    dashboard = json.loads((folder / "grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) > 10
    for text in [*queries, (folder / "rules.yml").read_text()]:
        for name in re.findall(r"\b(?:dynod|process)_[a-z_]+", text.replace("process_type", "")):
            assert name in known or name.removesuffix("_bucket") in known, name
