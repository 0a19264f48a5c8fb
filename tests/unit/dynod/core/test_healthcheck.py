"""Health checks: tables for what is asked, histories (time, answer) for what rows of answers mean, properties."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.app_manifest import Healthcheck, parse_app_manifest
from dynod.core.healthcheck import (
    BACK_AFTER,
    DEFAULT_WAIT_S,
    Failed,
    Health,
    NotReady,
    Outcome,
    Passed,
    Ready,
    Recovered,
    Started,
    StartFailed,
    Strategy,
    Unhealthy,
    Verdict,
    Warned,
    conflict,
    line,
    port_of,
    strategy,
    title,
)

PASS, FAIL = Passed(), Failed("answered 503")

STARTUP = Healthcheck(kind="startup", path="/up")
READINESS = Healthcheck(kind="readiness", path="/ready")
LIVENESS = Healthcheck(kind="liveness", path="/live")


def play(health: Health, answers: Sequence[tuple[float, int, Outcome]]) -> list[tuple[float, Verdict]]:
    """Answers (time, index of the check, outcome), in order; what was said when."""
    return [(at, verdict) for at, index, outcome in answers for verdict in health.record(index, outcome, at)]


def history(health: Health, index: int, answers: str, *, from_s: float = 0.0) -> list[str]:
    """`+` passes, `-` fails; the verdict kinds after each answer, as words."""
    outcomes: dict[str, Outcome] = {"+": PASS, "-": FAIL}
    said = [health.record(index, outcomes[each], from_s + at) for at, each in enumerate(answers)]
    return [" ".join(type(verdict).__name__ for verdict in verdicts) for verdicts in said]


@pytest.mark.parametrize(
    ("check", "asks", "name"),
    [
        (Healthcheck(kind="startup"), Strategy.UPTIME, "0 s up"),
        (Healthcheck(kind="startup", uptime_s=10), Strategy.UPTIME, "10 s up"),
        (Healthcheck(kind="startup", path="/health"), Strategy.PATH, "GET /health"),
        (Healthcheck(kind="startup", path=""), Strategy.UPTIME, "0 s up"),
        (Healthcheck(kind="startup", listening=True), Strategy.LISTENING, "listening"),
        (Healthcheck(kind="startup", listening=True, port=3000), Strategy.LISTENING, "listening on 3000"),
        (Healthcheck(kind="startup", command=("bin/ok", "-q")), Strategy.COMMAND, "bin/ok -q"),
        (Healthcheck(kind="startup", path="/health", name="web ok"), Strategy.PATH, "web ok"),
        (Healthcheck(kind="startup", path="/health", name="web\nok\t!"), Strategy.PATH, "web ok !"),
        (Healthcheck(kind="startup", command=("sh", "-c", "x" * 90)), Strategy.COMMAND, f"sh -c {'x' * 73}…"),
    ],
)
def test_a_check_asks_what_its_keys_say_and_is_named_for_it(check: Healthcheck, asks: Strategy, name: str) -> None:
    assert strategy(check) is asks
    assert title(check) == name
    assert conflict(check) is None


@pytest.mark.parametrize(
    ("check", "named"),
    [
        (Healthcheck(kind="startup", path="/", listening=True), "path and listening"),
        (Healthcheck(kind="startup", path="/", uptime_s=3), "path and uptime"),
        (Healthcheck(kind="startup", command=("x",), uptime_s=3), "command and uptime"),
        (Healthcheck(kind="startup", command=("x",), path="/", listening=True), "command and path and listening"),
    ],
)
def test_two_questions_in_one_check_are_named(check: Healthcheck, named: str) -> None:
    assert named in (conflict(check) or "")


@pytest.mark.parametrize(("port", "asked"), [(None, 20017), (5000, 20017), (3000, 3000), (20017, 20017)])
def test_dokkus_5000_means_the_dynos_own_port(port: int | None, asked: int) -> None:
    assert port_of(Healthcheck(kind="startup", port=port), own_port=20017) == asked


class TestStartup:
    def test_first_pass_starts_and_ends_the_asking(self) -> None:
        health = Health([STARTUP], launched=0.0, now=2.0)
        assert health.begin(2.0) == []
        assert health.next_at(0) == 2.0
        assert health.record(0, PASS, 2.1) == [Started(), Ready()]
        assert health.next_at(0) is None

    def test_attempts_failures_in_a_row_end_it(self) -> None:
        health = Health([STARTUP, LIVENESS], launched=0.0, now=0.0)
        assert history(health, 0, "---") == ["", "", "StartFailed"]
        assert [health.next_at(0), health.next_at(1)] == [None, None]
        assert not health.started

    def test_a_pass_before_the_last_attempt_starts(self) -> None:
        assert history(Health([STARTUP], launched=0.0, now=0.0), 0, "--+") == ["", "", "Started Ready"]

    def test_all_of_several_must_pass(self) -> None:
        health = Health([STARTUP, STARTUP], launched=0.0, now=0.0)
        assert play(health, [(1.0, 0, PASS), (2.0, 1, FAIL), (7.0, 1, PASS)]) == [(7.0, Started()), (7.0, Ready())]

    def test_a_warning_holds_nothing_up(self) -> None:
        check = Healthcheck(kind="startup", path="/", warn=True, attempts=2)
        health = Health([check], launched=0.0, now=0.0)
        assert play(health, [(0.0, 0, FAIL), (5.0, 0, FAIL)]) == [
            (5.0, Warned(check, 2, "answered 503")),
            (5.0, Started()),
            (5.0, Ready()),
        ]
        assert health.next_at(0) is None

    def test_without_startup_checks_it_has_started(self) -> None:
        health = Health([LIVENESS], launched=0.0, now=3.0)
        assert health.next_at(0) is None
        assert health.begin(3.0) == [Started(), Ready()]
        assert health.next_at(0) == 3.0

    @pytest.mark.parametrize(
        ("check", "first"),
        [
            (Healthcheck(kind="startup", path="/", initial_delay_s=10), 110.0),
            (Healthcheck(kind="startup", path="/", initial_delay_s=1), 105.0),  # that long ago already
            (Healthcheck(kind="startup", uptime_s=30), 130.0),
            (Healthcheck(kind="startup", uptime_s=30, initial_delay_s=40), 140.0),
        ],
    )
    def test_initial_delay_and_uptime_count_from_the_launch(self, check: Healthcheck, first: float) -> None:
        assert Health([check], launched=100.0, now=105.0).next_at(0) == first

    @pytest.mark.parametrize(("wait_s", "next_at"), [(7, 17.0), (0, 10.0 + DEFAULT_WAIT_S)])
    def test_wait_is_between_the_end_of_a_probe_and_the_next(self, wait_s: int, next_at: float) -> None:
        health = Health([Healthcheck(kind="startup", path="/", wait_s=wait_s)], launched=0.0, now=0.0)
        health.record(0, FAIL, 10.0)
        assert health.next_at(0) == next_at


class TestReadiness:
    def test_begins_after_startup_and_must_be_shown(self) -> None:
        health = Health([STARTUP, READINESS], launched=0.0, now=0.0)
        assert health.begin(0.0) == []
        assert health.next_at(1) is None
        assert health.record(0, PASS, 1.0) == [Started()]
        assert health.next_at(1) == 1.0
        assert health.record(1, PASS, 1.2) == [Ready()]

    def test_out_after_attempts_failures_and_back_after_two_passes(self) -> None:
        health = Health([READINESS], launched=0.0, now=0.0)
        health.begin(0.0)
        assert history(health, 0, "+--+---+-+++") == [
            *("Ready", "", "", ""),
            *("", "", "NotReady"),
            *("", "", "", "Ready", ""),
        ]

    def test_a_dyno_that_was_never_ready_needs_one_pass_while_its_attempts_last(self) -> None:
        health = Health([READINESS], launched=0.0, now=0.0)
        health.begin(0.0)
        assert history(health, 0, "--+") == ["", "", "Ready"]

    def test_a_dyno_that_never_becomes_ready_is_not_said_to_have_left(self) -> None:
        health = Health([READINESS], launched=0.0, now=0.0)
        health.begin(0.0)
        assert history(health, 0, "-----") == [""] * 5
        assert health.last_reasons == ((READINESS, "answered 503"),)

    def test_all_of_several_decide_together(self) -> None:
        other = Healthcheck(kind="readiness", command=("ok",), attempts=1)
        health = Health([READINESS, other], launched=0.0, now=0.0)
        health.begin(0.0)
        said = play(
            health,
            [(0, 0, PASS), (0, 1, PASS), (5, 1, FAIL), (6, 0, PASS), (10, 1, PASS), (15, 1, PASS), (16, 0, PASS)],
        )
        assert said == [(0, Ready()), (5, NotReady(other, 1, "answered 503")), (15, Ready())]

    def test_a_warning_never_takes_it_out(self) -> None:
        check = Healthcheck(kind="readiness", path="/", warn=True, attempts=1)
        health = Health([check], launched=0.0, now=0.0)
        assert health.begin(0.0) == [Started(), Ready()]
        assert history(health, 0, "--++") == ["Warned", "", "", "Recovered"]
        assert health.ready


class TestLiveness:
    def test_attempts_failures_in_a_row_are_said_once(self) -> None:
        health = Health([LIVENESS], launched=0.0, now=0.0)
        health.begin(0.0)
        assert history(health, 0, "+--+----") == ["", "", "", "", "", "", "Unhealthy", ""]

    def test_where_nobody_restarts_it_the_recovery_is_said(self) -> None:
        health = Health([LIVENESS], launched=0.0, now=0.0)
        health.begin(0.0)
        assert history(health, 0, "---+++---") == ["", "", "Unhealthy", "", "Recovered", "", "", "", "Unhealthy"]

    def test_it_does_not_touch_readiness(self) -> None:
        health = Health([READINESS, LIVENESS], launched=0.0, now=0.0)
        health.begin(0.0)
        health.record(0, PASS, 0.0)
        history(health, 1, "---")
        assert health.ready

    def test_uptime_is_asked_once(self) -> None:
        health = Health([Healthcheck(kind="liveness", uptime_s=5)], launched=0.0, now=0.0)
        health.begin(0.0)
        assert health.next_at(0) == 5.0
        health.record(0, PASS, 5.0)
        assert health.next_at(0) is None


class TestTakeover:
    def test_what_is_up_and_ready_goes_on_without_a_word(self) -> None:
        health = Health([STARTUP, READINESS, LIVENESS], launched=0.0, now=500.0, started=True, ready=True)
        assert health.begin(500.0) == []
        assert [health.next_at(index) for index in range(3)] == [None, 500.0, 500.0]
        assert history(health, 1, "---") == ["", "", "NotReady"]

    def test_what_was_out_earns_its_way_back(self) -> None:
        health = Health([READINESS], launched=0.0, now=500.0, started=True, ready=False)
        assert health.begin(500.0) == []
        assert history(health, 0, "-+-++") == ["", "", "", "", "Ready"]

    def test_what_was_out_for_a_check_that_is_gone_comes_back(self) -> None:
        assert Health([LIVENESS], launched=0.0, now=5.0, started=True, ready=False).begin(5.0) == [Ready()]

    def test_first_probes_are_spread_over_their_wait(self) -> None:
        health = Health([LIVENESS], launched=0.0, now=100.0, started=True, ready=True, spread=0.5)
        assert health.next_at(0) == 102.5


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (Started(), None),
        (Ready(), None),
        (StartFailed(STARTUP, 3, "was refused"), "Startup check failed 3 times in a row: GET /up was refused"),
        (
            NotReady(READINESS, 1, "answered 503"),
            "Readiness check failed once, no requests until it passes: GET /ready answered 503",
        ),
        (Unhealthy(LIVENESS, 5, "hangs"), "Liveness check failed 5 times in a row: GET /live hangs"),
        (Warned(LIVENESS, 2, "hangs"), "Liveness check failed 2 times in a row (a warning only): GET /live hangs"),
        (Recovered(LIVENESS), "Liveness check passes again: GET /live"),
    ],
)
def test_each_verdict_reads_as_a_line(verdict: Verdict, text: str | None) -> None:
    assert line(verdict) == text


def test_a_whole_app_json_drives_the_machine() -> None:
    manifest = parse_app_manifest(
        '{"healthchecks": {"web": [{"type": "startup", "name": "boot", "path": "/up", "attempts": 1},'
        ' {"type": "liveness", "command": ["true"], "wait": 30}]}}'
    )
    assert manifest.faults == ()
    health = Health(manifest.healthchecks["web"], launched=0.0, now=0.0)
    assert health.record(0, PASS, 1.0) == [Started(), Ready()]
    health.record(1, PASS, 2.0)
    assert health.next_at(1) == 32.0


kinds = st.sampled_from(["startup", "readiness", "liveness"])
checks = st.builds(
    Healthcheck, kind=kinds, path=st.just("/"), attempts=st.integers(1, 4), wait_s=st.integers(0, 5), warn=st.booleans()
)


@given(st.lists(checks, min_size=1, max_size=4), st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60))
def test_whatever_is_answered_verdicts_make_sense(given: list[Healthcheck], answers: list[tuple[int, bool]]) -> None:
    health = Health(given, launched=0.0, now=0.0)
    said = list(health.begin(0.0))
    now = 0.0
    for index, passes in answers:
        due = health.next_at(index % len(given))
        if due is None:
            continue
        now = max(now, due)
        said += health.record(index % len(given), PASS if passes else FAIL, now)
    kinds_said = [type(verdict) for verdict in said]
    assert kinds_said.count(Started) <= 1
    assert kinds_said.count(StartFailed) <= 1
    assert not (Started in kinds_said and StartFailed in kinds_said)
    pool = [kind for kind in kinds_said if kind in {Ready, NotReady}]
    assert pool == ([Ready, NotReady] * len(pool))[: len(pool)]  # in and out take turns, in comes first
    assert health.ready == (bool(pool) and pool[-1] is Ready)
    for verdict in said:
        if isinstance(verdict, StartFailed | NotReady | Unhealthy):
            assert verdict.failures >= verdict.check.attempts
            assert not verdict.check.warn
    if StartFailed in kinds_said:
        assert kinds_said[-1] is StartFailed
        assert all(health.next_at(index) is None for index in range(len(given)))


@given(st.text("+-", max_size=80), st.integers(1, 4))
def test_a_readiness_check_is_out_exactly_while_its_last_rows_say_so(answers: str, attempts: int) -> None:
    """Against the rule written down a second time: out by `attempts` fails in a row, in by BACK_AFTER passes."""
    check = Healthcheck(kind="readiness", path="/", attempts=attempts)
    health = Health([check], launched=0.0, now=0.0)
    health.begin(0.0)
    is_in, was_out = False, False
    for at in range(1, len(answers) + 1):
        history(health, 0, answers[at - 1], from_s=float(at))
        seen = answers[:at]
        if seen.endswith("-" * attempts):
            is_in, was_out = False, True
        elif seen.endswith("+" * BACK_AFTER) or (seen.endswith("+") and not was_out):
            is_in, was_out = True, False
        assert health.ready is is_in
