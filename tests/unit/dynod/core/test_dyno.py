"""The two machines of a dyno, cell by cell: what is allowed is in the table, everything else raises."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from itertools import product
from typing import TypeVar

import pytest

from dynod.core.dyno import (
    INSTANCE_TRANSITIONS,
    SLOT_TRANSITIONS,
    IllegalTransitionError,
    InstanceEvent,
    InstanceState,
    SlotEvent,
    SlotState,
    StopRule,
    advance_instance,
    advance_slot,
    exit_status,
)

State = TypeVar("State", bound=StrEnum)
Event = TypeVar("Event", bound=StrEnum)

# Written down here a second time, from Heroku's semantics 2.4 and contracts 2, in words instead of enum members: a slip
# in the table has to be made twice to pass.
SLOT_CELLS = {
    "down": {"start": "starting", "stop": "down"},
    "starting": {
        "ready": "up",
        "exited": "crashed",
        "restart": "starting",
        "stop": "down",
        "completed": "complete",
    },
    "up": {"exited": "crashed", "restart": "starting", "stop": "down", "completed": "complete"},
    "crashed": {"start": "starting", "restart": "starting", "stop": "down"},
    "complete": {},
}
INSTANCE_CELLS = {
    "launching": {"refused": "gone", "ready": "up", "stop": "stopping", "exited": "stopping"},
    "up": {"stop": "stopping", "exited": "stopping"},
    "stopping": {"stop": "stopping", "exited": "stopping", "vanished": "gone"},
    "gone": {},
}


@pytest.mark.parametrize(("state", "event"), list(product(SlotState, SlotEvent)))
def test_each_cell_of_the_slot_is_as_decided(state: SlotState, event: SlotEvent) -> None:
    _check_cell(advance_slot, SLOT_CELLS, state, event)


@pytest.mark.parametrize(("state", "event"), list(product(InstanceState, InstanceEvent)))
def test_each_cell_of_the_instance_is_as_decided(state: InstanceState, event: InstanceEvent) -> None:
    _check_cell(advance_instance, INSTANCE_CELLS, state, event)


@pytest.mark.parametrize("state", list(SlotState))
def test_every_slot_state_reaches_an_end(state: SlotState) -> None:
    assert _reachable(SLOT_TRANSITIONS, state) & {SlotState.DOWN, SlotState.COMPLETE}


@pytest.mark.parametrize("state", list(InstanceState))
def test_every_instance_state_reaches_gone(state: InstanceState) -> None:
    assert InstanceState.GONE in _reachable(INSTANCE_TRANSITIONS, state)


def test_every_state_can_be_reached() -> None:
    assert _reachable(SLOT_TRANSITIONS, SlotState.DOWN) == set(SlotState)
    assert _reachable(INSTANCE_TRANSITIONS, InstanceState.LAUNCHING) == set(InstanceState)


def test_every_event_is_used() -> None:
    assert {event for _, event in SLOT_TRANSITIONS} == set(SlotEvent)
    assert {event for _, event in INSTANCE_TRANSITIONS} == set(InstanceEvent)


def test_a_slot_that_is_not_complete_can_be_stopped() -> None:
    stopped = {state for state, event in SLOT_TRANSITIONS if event is SlotEvent.STOP}
    assert stopped == set(SlotState) - {SlotState.COMPLETE}


def test_states_are_named_as_heroku_names_them() -> None:
    assert [str(state) for state in SlotState] == ["down", "starting", "up", "crashed", "complete"]


def test_a_dyno_gets_sigterm_and_thirty_seconds_unless_told_otherwise() -> None:
    assert StopRule() == StopRule(signal=15, grace_s=30.0)


@pytest.mark.parametrize(
    ("exit_code", "status"), [(0, 0), (1, 1), (127, 127), (255, 255), (-15, 143), (-9, 137), (-2, 130), (-11, 139)]
)
def test_a_death_by_a_signal_shows_as_128_and_its_number(exit_code: int, status: int) -> None:
    assert exit_status(exit_code) == status


def _check_cell(
    advance: Callable[[State, Event], State], cells: Mapping[str, Mapping[str, str]], state: State, event: Event
) -> None:
    wanted = cells[state].get(event)
    if wanted is None:
        with pytest.raises(IllegalTransitionError, match=rf"{state}.*{event}"):
            advance(state, event)
    else:
        assert advance(state, event) == wanted


def _reachable(transitions: Mapping[tuple[State, Event], State], start: State) -> set[State]:
    found, todo = {start}, [start]
    while todo:
        here = todo.pop()
        for (state, _event), target in transitions.items():
            if state == here and target not in found:
                found.add(target)
                todo.append(target)
    return found
