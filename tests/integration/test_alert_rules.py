"""Each shipped alert, tried by promtool: it fires when it should, saying what it should, and no other one does."""

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import yaml

from support.installed import program
from support.source_tree import REPOSITORY

RULES: Final = REPOSITORY / "config/prometheus/rules.yml"
WEB: Final = {"app": "shop", "process_type": "web", "dyno": "web.1"}
WORKER: Final = {"app": "shop", "process_type": "worker", "dyno": "worker.1"}
SHOP: Final = {"app": "shop"}
DRAIN: Final = {"app": "shop", "drain": "d1"}

Labels = Mapping[str, str]
Firing = Mapping[str, Labels]  # alert → labels that it comes with, but for its name and severity


def series(name: str, labels: Labels | None = None, **more: str) -> str:
    """As Prometheus writes it."""
    return f"{name}{{{', '.join(f'{key}={json.dumps(value)}' for key, value in {**(labels or {}), **more}.items())}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """`values` of series, one a minute, in promtool's notation; `at` minutes: what fires then, and nothing else."""

    name: str
    values: Mapping[str, str]
    at: Mapping[int, Firing]


def buckets(name: str, labels: Labels, counts: Mapping[str, int]) -> dict[str, str]:
    """A histogram that grows by these cumulative counts each minute."""
    return {series(f"{name}_bucket", labels, le=bound): f"0+{count}x60" for bound, count in counts.items()}


SCENES: Final = [
    Scene(
        name="nothing is wrong, though a release goes over, few requests fail, and somebody else's target is down",
        values={
            series("up", job="dynod", instance="vm"): "1x60",
            series("up", WORKER, job="dynos", instance="vm:20001"): "0x60",
            series("dynod_dyno_state", WEB, state="up"): "1x20 0x3 1x37",
            series("dynod_dyno_state", WEB, state="crashed"): "0x60",
            series("dynod_dyno_restarts_total", WEB, reason="crash"): "3x60",
            series("dynod_dyno_restarts_total", WEB, reason="memory"): "1x60",
            series("dynod_dyno_restarts_total", WEB, reason="release"): "0x20 1x40",
            series("dynod_dyno_memory_bytes", WEB): "500x8 300x52",
            series("dynod_dyno_memory_quota_bytes", WEB): "512x60",
            series("dynod_dyno_memory_bytes", WORKER): "9000x60",
            series("dynod_router_requests_total", WEB, status="2xx", code=""): "0+960x60",
            series("dynod_router_requests_total", WEB, status="5xx", code=""): "0+40x60",
            **buckets("dynod_router_request_seconds", WEB, {"1.0": 960, "2.5": 960, "5.0": 1000, "+Inf": 1000}),
            series("dynod_router_queued", SHOP): "0x10 5 0x49",
            series("dynod_drain_failures", DRAIN): "0x10 2x10 0x40",
            series("dynod_drain_dropped_lines_total", DRAIN): "7x60",
            series("dynod_log_dropped_lines_total", SHOP): "0x60",
            series("dynod_lost_total", instance="vm", what="events"): "3x60",
            series("dynod_releases", SHOP, status="failed"): "2x60",
            series("dynod_releases", SHOP, status="succeeded"): "2x20 3x40",
            series("dynod_state_disk_free_bytes"): "10x60",
            series("dynod_state_disk_size_bytes"): "100x60",
            **buckets("dynod_event_loop_lag_seconds", {}, {"0.1": 59, "0.25": 59, "1.0": 60, "+Inf": 60}),
        },
        at={minute: {} for minute in (1, 9, 11, 16, 23, 30, 60)},
    ),
    Scene(
        name="dynod does not answer",
        values={series("up", job="dynod", instance="vm"): "1x5 0x5 1x5"},
        at={5: {}, 6: {}, 7: {"DynodDown": {"job": "dynod", "instance": "vm"}}, 12: {}},
    ),
    Scene(
        name="a dyno has crashed once",
        values={
            series("dynod_dyno_restarts_total", WORKER, reason="crash"): "0x5 1x55",
            series("dynod_dyno_restarts_total", WORKER, reason="exit"): "0x60",
            series("dynod_dyno_state", WORKER, state="up"): "1x60",
        },
        at={5: {}, 6: {"DynoCrashed": {**WORKER, "reason": "crash"}}, 12: {}},
    ),
    Scene(
        name="dynod was started anew: counters begin at 0",
        values={series("dynod_dyno_restarts_total", WORKER, reason="crash"): "9x5 0x55"},
        at={6: {}, 8: {}},
    ),
    Scene(
        name="a dyno does not come up",
        values={
            series("dynod_dyno_state", WEB, state="up"): "1x5 0x20 1x5",
            series("dynod_dyno_state", WORKER, state="up"): "1x30",
        },
        at={10: {}, 11: {"DynoNotUp": {**WEB, "state": "up"}}, 27: {}},
    ),
    Scene(
        name="a dyno is ended for its memory",
        values={series("dynod_dyno_restarts_total", WEB, reason="memory"): "0x5 1x55"},
        at={5: {}, 6: {"DynoOutOfMemory": {**WEB, "reason": "memory"}}, 21: {}},
    ),
    Scene(
        name="a dyno is near its quota",
        values={
            series("dynod_dyno_memory_bytes", WEB): "100x5 490x55",
            series("dynod_dyno_memory_quota_bytes", WEB): "512x60",
        },
        at={15: {}, 16: {"DynoMemoryNearQuota": WEB}},
    ),
    Scene(
        name="every tenth request fails",
        values={
            series("dynod_router_requests_total", WEB, status="2xx", code=""): "0+90x60",
            series("dynod_router_requests_total", SHOP, status="5xx", code="H10", process_type="", dyno=""): "0+10x60",
            series("dynod_router_requests_total", {**WEB, "app": "blog"}, status="2xx", code=""): "0+90x60",
        },
        at={4: {}, 10: {"AppErrors": SHOP}},
    ),
    Scene(
        name="every tenth answer takes long",
        values=buckets("dynod_router_request_seconds", WEB, {"1.0": 90, "2.5": 90, "5.0": 100, "+Inf": 100}),
        at={9: {}, 15: {"AppSlow": SHOP}},
    ),
    Scene(
        name="requests wait",
        values={series("dynod_router_queued", SHOP): "0x5 3x5 0x5"},
        at={6: {}, 7: {"RequestsWait": SHOP}, 12: {}},
    ),
    Scene(
        name="a drain takes nothing",
        values={series("dynod_drain_failures", DRAIN): "0x5 3 9 20x8 0x5"},
        at={6: {}, 7: {"DrainFailing": DRAIN}, 17: {}},
    ),
    Scene(
        name="lines of a log are lost",
        values={series("dynod_log_dropped_lines_total", SHOP): "0x5 12x25"},
        at={5: {}, 6: {"LogLinesDropped": SHOP}, 21: {}},
    ),
    Scene(
        name="lines for a drain are lost",
        values={
            series("dynod_drain_dropped_lines_total", DRAIN): "0x5 12x25",
            series("dynod_log_dropped_lines_total", SHOP): "0x30",
        },
        at={5: {}, 6: {"LogLinesDropped": DRAIN}, 21: {}},
    ),
    Scene(
        name="a queue of dynod's was full",
        values={
            series("dynod_lost_total", instance="vm", what="events"): "0x5 3x25",
            series("dynod_lost_total", instance="vm", what="incidents"): "0x30",
        },
        at={5: {}, 6: {"DynodLost": {"instance": "vm", "what": "events"}}, 21: {}},
    ),
    Scene(
        name="a release has failed",
        values={
            series("dynod_releases", SHOP, status="failed"): "1x5 2x25",
            series("dynod_releases", SHOP, status="succeeded"): "1x30",
        },
        at={5: {}, 6: {"ReleaseFailed": {**SHOP, "status": "failed"}}, 21: {}},
    ),
    Scene(
        name="the disk is nearly full",
        values={
            series("dynod_state_disk_free_bytes"): "10x5 4x25",
            series("dynod_state_disk_size_bytes"): "100x30",
        },
        at={10: {}, 11: {"StateDiskLow": {}}},
    ),
    Scene(
        name="the loop is late",
        values=buckets(
            "dynod_event_loop_lag_seconds", {"instance": "vm"}, {"0.1": 30, "0.25": 40, "1.0": 60, "+Inf": 60}
        ),
        at={10: {}, 12: {"DynodLoopLate": {"instance": "vm"}}},
    ),
]


@pytest.fixture(scope="module")
def alerts() -> dict[str, dict[str, dict[str, str]]]:
    """The shipped ones, by name."""
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def said(text: str, labels: Labels) -> str:
    """With its labels filled in."""
    return re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels[found[1]], text)


def expected(alerts: Mapping[str, Mapping[str, Mapping[str, str]]], minute: int, firing: Firing) -> list[object]:
    """One check of promtool's for each alert that there is."""
    found: list[object] = []
    for name, rule in alerts.items():
        labels = firing.get(name)
        fires = (
            []
            if labels is None
            else [
                {
                    "exp_labels": {**labels, **rule["labels"]},
                    "exp_annotations": {key: said(text, labels) for key, text in rule["annotations"].items()},
                }
            ]
        )
        found.append({"eval_time": f"{minute}m", "alertname": name, "exp_alerts": fires})
    return found


def test_each_alert_fires_when_it_should_and_no_other_one_does(
    alerts: Mapping[str, Mapping[str, Mapping[str, str]]], tmp_path: Path
) -> None:
    groups = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in scene.values.items()],
            "alert_rule_test": [
                check for minute, firing in scene.at.items() for check in expected(alerts, minute, firing)
            ],
        }
        for scene in SCENES
    ]
    file = tmp_path / "scenes.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": groups}))
    ended = subprocess.run(
        [program("promtool"), "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_there_is_a_scene_in_which_each_alert_fires(alerts: Mapping[str, object]) -> None:
    assert {name for scene in SCENES for firing in scene.at.values() for name in firing} == set(alerts)
