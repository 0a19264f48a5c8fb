"""What web dynos together mean for a request, over every combination of up to three."""

from itertools import combinations_with_replacement, permutations

import pytest

from dynod.core.dyno import SlotState
from dynod.core.serving import WebCondition, web_condition

S = SlotState
COMBINATIONS = [states for n in range(4) for states in combinations_with_replacement(SlotState, n)]


@pytest.mark.parametrize(
    ("states", "condition"),
    [
        ([], WebCondition.NO_WEB),  # H14
        ([S.DOWN], WebCondition.NO_WEB),
        ([S.DOWN, S.COMPLETE], WebCondition.NO_WEB),
        ([S.UP], WebCondition.SERVING),
        ([S.UP, S.CRASHED], WebCondition.SERVING),  # the crashed one is just not in rotation
        ([S.UP, S.STARTING, S.CRASHED], WebCondition.SERVING),
        ([S.STARTING], WebCondition.BOOTING),  # held, then H20
        ([S.STARTING, S.CRASHED], WebCondition.BOOTING),
        ([S.CRASHED], WebCondition.CRASHED),  # H10
        ([S.CRASHED, S.CRASHED], WebCondition.CRASHED),
        ([S.CRASHED, S.DOWN], WebCondition.CRASHED),
    ],
)
def test_the_condition_is_that_of_the_best_dyno(states: list[SlotState], condition: WebCondition) -> None:
    assert web_condition(states) is condition


@pytest.mark.parametrize("states", COMBINATIONS)
def test_every_combination_has_one_condition_whatever_its_order(states: tuple[SlotState, ...]) -> None:
    found = {web_condition(order) for order in permutations(states)}
    assert len(found) == 1
    assert (found == {WebCondition.SERVING}) == (S.UP in states)
    assert (found == {WebCondition.NO_WEB}) == (not {S.UP, S.STARTING, S.CRASHED} & set(states))
