"""A token bucket lets through what it must, and never more."""

from hypothesis import example, given
from hypothesis import strategies as st

from dynod.core.rate_limit import MOST_CALLERS, RateLimit

HOUR_S = 3600.0


def test_whoever_was_quiet_may_make_all_calls_at_once_and_then_waits() -> None:
    limit = RateLimit(3600)  # one a second
    assert [limit.take("a", 0.0) for _ in range(3601)] == [*reversed(range(3600)), None]
    assert limit.wait_s("a", 0.0) == 1
    assert limit.take("b", 0.0) == 3599  # another caller's bucket
    assert limit.take("a", 0.5) is None
    assert limit.take("a", 1.0) == 0
    assert limit.take("a", 1.0 + HOUR_S) == 3599


def test_zero_is_no_limit() -> None:
    assert not RateLimit(0).is_on


@given(st.lists(st.floats(0, 100), max_size=200), st.integers(1, 7200))
def test_in_no_stretch_of_time_more_calls_than_the_bucket_and_what_has_flowed_in(
    pauses: list[float], calls: int
) -> None:
    limit = RateLimit(calls)
    now = 0.0
    taken: list[float] = []
    for pause in pauses:
        now += pause
        taken += [now for _ in range(3) if limit.take("a", now) is not None]
    for begin in range(len(taken)):
        for end in range(begin, len(taken)):
            stretch_s = taken[end] - taken[begin]
            assert end - begin + 1 <= calls + stretch_s * calls / HOUR_S + 1e-6


@given(st.lists(st.tuples(st.floats(0, 5000), st.sampled_from("abc")), max_size=60))
@example([(248.89334242930568, "a"), (0.0, "a"), (0.0, "a")])
def test_a_caller_who_waits_as_long_as_told_gets_a_call(steps: list[tuple[float, str]]) -> None:
    limit = RateLimit(2)
    now = 0.0
    for pause, caller in steps:
        now += pause
        if limit.take(caller, now) is None:
            now += limit.wait_s(caller, now)
            assert limit.take(caller, now) is not None


def test_callers_that_could_make_all_calls_again_are_forgotten() -> None:
    limit = RateLimit(3600)
    for number in range(MOST_CALLERS):
        limit.take(str(number), 0.0)
    limit.take("busy", 0.0)
    limit.take("new", 2.0)
    assert len(limit._left) < MOST_CALLERS
    assert limit.take("new", 2.0) == 3598
