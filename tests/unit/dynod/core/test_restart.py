"""The crash ladder: its steps, its jitter, that it never gives up, and what resets it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.restart import POLICIES, RestartPolicy

CRASHES = st.integers(min_value=1, max_value=10_000)
RANDOM = st.floats(min_value=0.0, max_value=1.0, exclude_max=True)
POLICY = st.sampled_from(sorted(POLICIES)).map(POLICIES.__getitem__)


def middle() -> float:
    return 0.5


def test_the_default_ladder_is_that_of_contracts_8() -> None:
    ladder = POLICIES["ladder"]
    assert [ladder.delay_s(n, middle) for n in range(1, 12)] == [0, 1, 2, 5, 10, 30, 60, 120, 300, 300, 300]
    assert ladder.jitter == 0.2
    assert ladder.reset_after_s == 600


def test_herokus_ladder_starts_at_once_then_waits_20_minutes_and_doubles() -> None:
    heroku = POLICIES["heroku"]
    minutes = [heroku.delay_s(n, middle) / 60 for n in range(1, 11)]
    assert minutes == [0, 20, 40, 80, 160, 320, 640, 1280, 1280, 1280]
    assert heroku.reset_after_s == 20 * 60


def test_no_policy_waits_longer_than_heroku_ever_did() -> None:
    assert max(max(policy.delays_s) for policy in POLICIES.values()) <= 24 * 3600


@given(POLICY, CRASHES, RANDOM)
def test_jitter_stays_within_its_share(policy: RestartPolicy, crashes: int, draw: float) -> None:
    plain_s = policy.delays_s[min(crashes, len(policy.delays_s)) - 1]
    delay_s = policy.delay_s(crashes, lambda: draw)
    assert plain_s * (1 - policy.jitter) <= delay_s <= plain_s * (1 + policy.jitter)


@given(CRASHES)
def test_jitter_uses_its_whole_share(crashes: int) -> None:
    policy = RestartPolicy(delays_s=(10.0,), jitter=0.2, reset_after_s=1.0)
    assert policy.delay_s(crashes, lambda: 0.0) == pytest.approx(8.0)
    assert policy.delay_s(crashes, lambda: 1.0) == pytest.approx(12.0)


@given(POLICY, RANDOM)
def test_the_first_crash_is_followed_at_once(policy: RestartPolicy, draw: float) -> None:
    assert policy.delay_s(1, lambda: draw) == 0


@given(POLICY, CRASHES)
def test_it_never_gives_up_and_never_becomes_more_patient(policy: RestartPolicy, crashes: int) -> None:
    assert 0 <= policy.delay_s(crashes, middle) <= policy.delay_s(crashes + 1, middle) <= policy.delays_s[-1]


@given(POLICY, st.lists(st.floats(min_value=0, max_value=100_000), max_size=50))
def test_the_count_is_of_crashes_since_it_was_last_up_long(policy: RestartPolicy, ups: list[float]) -> None:
    crashes, expected = 0, 0
    for up_s in ups:
        crashes = policy.crashes_after(crashes, up_s)
        expected = 1 if up_s >= policy.reset_after_s else expected + 1
        assert crashes == expected >= 1


def test_the_reset_is_at_its_second_exactly() -> None:
    ladder = POLICIES["ladder"]
    assert ladder.crashes_after(7, 599.999) == 8
    assert ladder.crashes_after(7, 600.0) == 1
