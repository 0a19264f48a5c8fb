"""Which frame is tried how often and after how long, as histories."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.drain_policy import HTTP_RULES, SYSLOG_RULES, DrainPolicy, Outcome, RetryRules, Step

O = Outcome  # noqa: E741 (as short as the tables want it)
WORST = 1.0  # of chance: the whole waiting time


def play(rules: RetryRules, outcomes: list[Outcome], *, chance: float = WORST) -> list[tuple[Step, float]]:
    """What is decided after each outcome, where every attempt takes no time."""
    policy, now, found = DrainPolicy(rules), 0.0, []
    for outcome in outcomes:
        verdict = policy.after(outcome, now=now, chance=chance)
        found.append((verdict.step, verdict.wait_s))
        now += verdict.wait_s
    return found


def test_a_frame_is_posted_three_times_in_all_and_then_let_go() -> None:
    assert play(HTTP_RULES, [O.FAILED, O.FAILED, O.FAILED]) == [
        (Step.AGAIN, 1.0),
        (Step.AGAIN, 2.0),
        (Step.LET_GO, 4.0),
    ]


def test_waiting_goes_on_growing_over_frames_until_one_is_taken() -> None:
    waits = [wait for _step, wait in play(HTTP_RULES, [O.FAILED] * 9)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert play(HTTP_RULES, [O.FAILED, O.DELIVERED, O.FAILED])[-1] == (Step.AGAIN, 1.0)


def test_a_frame_that_is_refused_for_good_is_let_go_at_once() -> None:
    assert play(HTTP_RULES, [O.REFUSED, O.REFUSED]) == [(Step.LET_GO, 0.0), (Step.LET_GO, 0.0)]


def test_what_could_not_be_sent_uses_up_no_try() -> None:
    steps = [step for step, _wait in play(HTTP_RULES, [O.UNREACHABLE] * 50 + [O.FAILED, O.FAILED, O.FAILED])]
    assert steps == [Step.AGAIN] * 52 + [Step.LET_GO]


def test_syslog_tries_without_end_ever_more_slowly() -> None:
    found = play(SYSLOG_RULES, [O.FAILED, *[O.UNREACHABLE] * 11])
    assert {step for step, _wait in found} == {Step.AGAIN}
    assert [wait for _step, wait in found] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0, 300.0]


def test_a_connection_that_was_good_is_made_anew_at_once() -> None:
    policy = DrainPolicy(SYSLOG_RULES)
    policy.after(O.DELIVERED, now=0.0, chance=WORST)
    policy.after(O.DELIVERED, now=29.0, chance=WORST)
    assert policy.after(O.FAILED, now=30.0, chance=WORST).wait_s == 0.0
    assert policy.after(O.UNREACHABLE, now=30.0, chance=WORST).wait_s == 2.0
    policy.after(O.DELIVERED, now=40.0, chance=WORST)
    assert policy.after(O.FAILED, now=50.0, chance=WORST).wait_s == 1.0


@pytest.mark.parametrize(("asked_s", "wait_s"), [(0.0, 1.0), (0.5, 1.0), (20.0, 20.0), (100_000.0, 60.0)])
def test_a_receiver_may_ask_for_time_but_not_for_ever(asked_s: float, wait_s: float) -> None:
    verdict = DrainPolicy(HTTP_RULES).after(O.FAILED, now=0.0, chance=WORST, asked_s=asked_s)
    assert verdict.wait_s == wait_s


@given(
    outcomes=st.lists(st.sampled_from(list(Outcome)), max_size=60),
    chance=st.floats(0, 1),
    rules=st.sampled_from([HTTP_RULES, SYSLOG_RULES]),
)
def test_waits_are_bounded_and_every_frame_has_its_tries(
    outcomes: list[Outcome], chance: float, rules: RetryRules
) -> None:
    failed = 0
    for outcome, (step, wait) in zip(outcomes, play(rules, outcomes, chance=chance), strict=True):
        assert 0.0 <= wait <= rules.longest_s
        failed += outcome is O.FAILED
        if outcome is O.DELIVERED:
            assert step is Step.GO_ON
        elif outcome is O.REFUSED or (rules.tries is not None and failed >= rules.tries):
            assert step is Step.LET_GO
        else:
            assert step is Step.AGAIN
            assert wait >= rules.first_s / 2 or failed == 0 or wait == 0.0
        if step is not Step.AGAIN:
            failed = 0
