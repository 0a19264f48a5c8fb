"""The table of what dynod must reach: how a figure follows from what was measured, and what the page says of it."""

import json
from pathlib import Path

import pytest

from loadtests.bars import BARS, Row, agrees, judge_all
from loadtests.bench import KEPT, README, scenarios
from loadtests.bench_page import page
from loadtests.bench_readme import QUOTED, put_into
from loadtests.measured import Figures, Measured, read


def measured(scenario: str, contestant: str, measure: str, *rounds: float) -> Measured:
    return Measured(scenario=scenario, contestant=contestant, measure=measure, unit="u", rounds=rounds)


def row(rows: list[Row], name: str) -> Row:
    return next(each for each in rows if each.id == name)


CPU = "router cpu, varied heads"
PLAIN = "dynod-router in plain Python"


def test_a_ratio_is_taken_round_by_round() -> None:
    found = judge_all([measured(CPU, "nginx", "cpu", 10, 20, 40), measured(CPU, PLAIN, "cpu", 20, 30, 64)])
    assert [each.id for each in found] == ["router-cpu-plain"]
    plain = found[0]
    assert (plain.figure, plain.lowest, plain.highest) == (1.6, 1.5, 2.0)
    assert plain.met
    assert (plain.dynod, plain.peer) == (30, 20)


@pytest.mark.parametrize(("own", "met"), [((18.0,), True), ((18.1,), False)])
def test_at_most_is_held_to(own: tuple[float, ...], met: bool) -> None:
    found = judge_all([measured(CPU, "nginx", "cpu", 10), measured(CPU, PLAIN, "cpu", *own)])
    assert found[0].met is met


@pytest.mark.parametrize(("own", "met"), [((100.0,), True), ((99.0,), False)])
def test_at_least_is_held_to(own: tuple[float, ...], met: bool) -> None:
    lines = "log lines to a file"
    found = judge_all([measured(lines, "honcho", "throughput", 10), measured(lines, "dynod up", "throughput", *own)])
    assert found[0].id == "log-file-honcho"
    assert found[0].met is met


def test_what_the_generator_costs_is_taken_off_both() -> None:
    scenario = "router latency, 26 B at 1000/s"
    rows = [
        measured(scenario, "no proxy", "p99", 1.0, 5.0),
        measured(scenario, "haproxy", "p99", 1.5, 9.0),
        measured(scenario, "dynod-router", "p99", 2.0, 3.0),
    ]
    assert row(judge_all(rows), "router-latency-1000").figure == 2.0


def test_a_bar_whose_peer_was_not_there_has_no_row() -> None:
    assert judge_all([measured(CPU, PLAIN, "cpu", 20)]) == []


def test_two_runs_agree_where_their_spreads_meet() -> None:
    [narrow] = judge_all([measured(CPU, "nginx", "cpu", 10, 10), measured(CPU, PLAIN, "cpu", 14, 16)])
    [near] = judge_all([measured(CPU, "nginx", "cpu", 10, 10), measured(CPU, PLAIN, "cpu", 17, 19)])
    [far] = judge_all([measured(CPU, "nginx", "cpu", 10, 10), measured(CPU, PLAIN, "cpu", 30, 31)])
    assert agrees(narrow, near)
    assert not agrees(narrow, far)
    assert not agrees(far, narrow)


def test_ids_are_unique_and_every_scenario_is_a_program() -> None:
    assert len({bar.id for bar in BARS}) == len(BARS)
    assert set(scenarios(None)) >= {"router-cpu", "log-pipeline", "dynos"}


def test_figures_come_back_from_their_file(tmp_path: Path) -> None:
    figures = Figures()
    figures.add("a", "b", "c", "µs", 1.0)
    figures.add("a", "b", "c", "µs", 3.0)
    figures.append_to(tmp_path / "figures")
    [back] = read(tmp_path / "figures")
    assert back == Measured(scenario="a", contestant="b", measure="c", unit="µs", rounds=(1.0, 3.0))
    assert back.median == 2.0


def test_the_page_says_what_is_not_met_and_escapes_what_it_is_told() -> None:
    rows = [measured(CPU, "nginx", "cpu", 10), measured(CPU, PLAIN, "cpu", 50)]
    kept = {
        "machine": {"at": "today", "cpu": "<script>"},
        "rows": [{name: getattr(each, name) for name in Row.__dataclass_fields__} for each in judge_all(rows)],
        "counted": [],
    }
    text = page(kept, rows, [kept, kept])
    assert "not met" in text
    assert "<script>" not in text
    assert text.count("<svg") == 2


def test_readme_quotes_the_last_bench_and_nothing_else() -> None:
    text = README.read_text()
    assert text == put_into(text, json.loads(KEPT.read_text()))
    assert set(QUOTED) <= {bar.id for bar in BARS}
    with pytest.raises(ValueError, match="README has not both"):
        put_into("no marks", {"rows": [], "machine": {}})
