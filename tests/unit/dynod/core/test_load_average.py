"""Load averages: the damping, and which of them are known when."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.load_average import PERIODS_S, LoadAverage


def after(samples: list[int], elapsed_s: float = 20.0) -> LoadAverage:
    average = LoadAverage()
    for runnable in samples:
        average = average.with_sample(runnable, elapsed_s)
    return average


def test_a_first_sample_is_damped_by_its_period() -> None:
    assert after([3]).damped == pytest.approx([3 * (1 - math.exp(-20 / period_s)) for period_s in PERIODS_S])


@pytest.mark.parametrize(
    ("samples", "known"),
    [(0, 0), (1, 1), (3, 1), (14, 1), (15, 2), (44, 2), (45, 3), (500, 3)],  # 20 s each: 5 min, 15 min
)
def test_longer_averages_are_absent_in_the_first_minutes(samples: int, known: int) -> None:
    assert len(after([1] * samples).known) == known


def test_a_steady_load_is_what_all_averages_reach() -> None:
    assert after([4] * 400).known == pytest.approx((4.0, 4.0, 4.0), abs=0.01)


def test_the_longer_a_period_the_slower_it_forgets() -> None:
    one, five, fifteen = after([8] * 400 + [0] * 6).damped
    assert one < five < fifteen


@given(st.lists(st.integers(0, 64), min_size=1), st.floats(0.1, 120))
def test_an_average_never_leaves_the_range_of_its_samples(samples: list[int], elapsed_s: float) -> None:
    assert all(0 <= value <= max(samples) + 1e-9 for value in after(samples, elapsed_s).damped)


@given(st.integers(0, 64), st.floats(1, 60), st.floats(1, 60))
def test_two_samples_of_a_load_are_one_over_both_their_times(runnable: int, first_s: float, second_s: float) -> None:
    twice = LoadAverage().with_sample(runnable, first_s).with_sample(runnable, second_s)
    assert twice.damped == pytest.approx(LoadAverage().with_sample(runnable, first_s + second_s).damped)
