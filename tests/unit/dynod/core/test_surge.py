"""How many web dynos boot beside the old ones, by memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.surge import MIB, NoMemoryError, affordable_surge

BYTES = st.integers(min_value=0, max_value=64 * 1024 * MIB)


@pytest.mark.parametrize(
    ("wanted", "need", "freed", "available", "surge"),
    [
        (1, 0, 0, 0, 1),  # nothing is known of what they take
        (1, 200, 200, 300, 1),
        (4, 200, 200, 300, 1),
        (4, 200, 200, 650, 3),
        (2, 200, 200, 9999, 2),
        (1, 200, 200, 100, 0),  # the old one goes first
        (1, 200, 150, 50, 0),
    ],
)
def test_as_many_as_fit_else_the_old_one_goes_first(
    wanted: int, need: int, freed: int, available: int, surge: int
) -> None:
    assert affordable_surge(wanted, need=need * MIB, freed=freed * MIB, available=available * MIB) == surge


def test_if_not_even_one_fits_it_is_refused_with_the_figures() -> None:
    with pytest.raises(
        NoMemoryError, match="takes 512 MB, 100 MB are available, and stopping the old one frees 200 MB"
    ):
        affordable_surge(1, need=512 * MIB, freed=200 * MIB, available=100 * MIB)


@given(st.integers(min_value=1, max_value=500), BYTES, BYTES, BYTES)
def test_what_is_allowed_fits(wanted: int, need: int, freed: int, available: int) -> None:
    try:
        surge = affordable_surge(wanted, need=need, freed=freed, available=available)
    except NoMemoryError:
        assert available + freed < need
    else:
        assert 0 <= surge <= wanted
        assert need == 0 or surge * need <= available
