"""What `ps`, `ps:scale` and `ps:type` print, word for word."""

from datetime import UTC, datetime, timedelta

import click
import pytest

from dynod.cli import ps_text
from dynod.platform_api.schema import Dyno, DynoSize, Formation

NOW = datetime(2026, 1, 2, 10, 0, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's time zone is not the test's business."""
    monkeypatch.setattr(ps_text, "parse_time", datetime.fromisoformat)


def dyno(
    name: str, *, state: str = "up", s_ago: int = 5, size: str = "Unsized", command: str = "", restarting: bool = False
) -> Dyno:
    process_type = name.rpartition(".")[0]
    return {
        "id": name,
        "attach_url": None,
        "release": {"id": "", "version": 3},
        "app": {"id": "1", "name": "shop"},
        "name": name,
        "type": process_type,
        "command": command or f"do {process_type}",
        "size": size,
        "state": state,
        "updated_at": f"{NOW - timedelta(seconds=s_ago):%Y-%m-%dT%H:%M:%SZ}",
        "dynod": {
            "pid": 4711,
            "port": None,
            "current_release": 0,
            "latest_release": 0,
            "restarting": restarting,
            "why": [{"at": "2026-01-02T09:00:00Z", "what": "dynod up"}],
        },
    }


def entry(process_type: str, quantity: int, size: str = "Unsized") -> Formation:
    return {"id": process_type, "type": process_type, "command": "x", "quantity": quantity, "size": size}


def plain(lines: list[str]) -> list[str]:
    return [click.unstyle(line) for line in lines]


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (timedelta(0), "2026/01/02 10:00:00 +0000 (~ 0s ago)"),
        (timedelta(seconds=-3), "2026/01/02 10:00:03 +0000 (~ 0s ago)"),  # a clock that was set back
        (timedelta(seconds=59.9), "2026/01/02 09:59:00 +0000 (~ 59s ago)"),
        (timedelta(seconds=60), "2026/01/02 09:59:00 +0000 (~ 1m ago)"),
        (timedelta(minutes=59), "2026/01/02 09:01:00 +0000 (~ 59m ago)"),
        (timedelta(hours=1), "2026/01/02 09:00:00 +0000 (~ 1h ago)"),
        (timedelta(hours=24, minutes=59), "2026/01/01 09:01:00 +0000 (~ 24h ago)"),
        (timedelta(hours=25), "2026/01/01 09:00:00 +0000"),
    ],
)
def test_ages(age: timedelta, text: str) -> None:
    assert ps_text.ago(NOW - age, NOW) == text


def test_ps_has_one_off_dynos_first_then_the_types_in_order() -> None:
    dynos = [
        dyno("worker.1", state="crashed", s_ago=30),
        dyno("web.10", s_ago=3600),
        dyno("web.9", s_ago=3600),
        dyno("run.9157", s_ago=300, size="Standard-1X", command="bash"),
        dyno("clock.1", command="do web"),
    ]
    assert plain(ps_text.dyno_lines(dynos, NOW)) == [
        "=== run: one-off processes (1)",
        "",
        "run.9157 (Standard-1X): up 2026/01/02 09:55:00 +0000 (~ 5m ago): bash",
        "",
        "=== clock (Unsized): do web (1)",
        "",
        "clock.1: up 2026/01/02 09:59:55 +0000 (~ 5s ago)",
        "",
        "=== web (Unsized): do web (2)",
        "",
        "web.9: up 2026/01/02 09:00:00 +0000 (~ 1h ago)",
        "web.10: up 2026/01/02 09:00:00 +0000 (~ 1h ago)",
        "",
        "=== worker (Unsized): do worker (1)",
        "",
        "worker.1: crashed 2026/01/02 09:59:30 +0000 (~ 30s ago)",
        "",
    ]


def test_why() -> None:
    assert plain(ps_text.why_lines(dyno("web.1"), NOW)) == [
        "=== web.1: up 2026/01/02 09:59:55 +0000 (~ 5s ago)",
        "",
        "Process: pid 4711",
        "Command: do web",
        "",
        "2026/01/02 09:00:00 +0000  dynod up",
    ]


def test_quantities_are_sorted_and_without_release() -> None:
    formation = [entry("worker", 1, "Standard-1X"), entry("web", 3), entry("release", 0)]
    assert ps_text.quantities(formation) == "web=3:Unsized worker=1:Standard-1X"
    assert ps_text.now_running(formation[:2]) == "now running worker at 1:Standard-1X, web at 3:Unsized"
    assert ps_text.quantities([]) == ""


def test_size_tables() -> None:
    sizes: list[DynoSize] = [{"name": "Unsized", "memory": 0}, {"name": "Performance-M", "memory": 2.5}]
    formation = [entry("worker", 10, "Performance-M"), entry("web", 2), entry("clock", 1), entry("release", 0)]
    assert plain(ps_text.size_lines(formation, sizes)) == [
        "=== Process Types",
        "",
        "type    size           qty  memory",
        "──────  ─────────────  ───  ────────",
        "clock   Unsized        1    no quota",
        "web     Unsized        2    no quota",
        "worker  Performance-M  10   2.5 GB",
        "",
        "=== Dyno Totals",
        "",
        "type           total",
        "─────────────  ─────",
        "Unsized        3",
        "Performance-M  10",
    ]


def test_what_is_still_waited_for() -> None:
    formation = [entry("web", 4), entry("worker", 0), entry("clock", 1)]
    dynos = [
        dyno("web.1"),
        dyno("web.2", state="starting"),
        dyno("web.3", restarting=True),
        dyno("worker.1", state="down"),  # scaled away, and still stopping
        dyno("run.1", state="starting"),
        dyno("clock.1", state="crashed"),
    ]
    assert ps_text.not_up(formation, dynos) == {
        "web.2": "starting",
        "web.3": "to be restarted",
        "web.4": "not there yet",
        "clock.1": "crashed",
    }
    assert ps_text.not_up([entry("web", 1)], [dyno("web.1")]) == {}
    assert ps_text.not_up([], []) == {}
