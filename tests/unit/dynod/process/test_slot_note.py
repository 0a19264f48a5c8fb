"""A core's note of a slot is read by the core after it, of whichever version."""

import json

import pytest

from dynod.core.dyno import RestartCause, SlotState
from dynod.process.slot_note import SlotNote, slot_note

NOTE = SlotNote(
    state=SlotState.UP,
    since=1.5,
    crashes=2,
    restarts={RestartCause.CRASH: 2, RestartCause.ASKED: 1},
    retry_at=7.0,
    instance="i1",
    replacement=None,
    awaits_restart=True,
    release=4,
    history=[[1.0, "process exited with status 1"]],  # type: ignore[list-item]  # as JSON gives a tuple back
)


def test_a_note_is_read_as_it_was_written() -> None:
    assert slot_note(NOTE.text()) == NOTE


def test_an_earlier_version_noted_neither_restarts_nor_the_release() -> None:
    noted = json.loads(NOTE.text())
    del noted["restarts"], noted["release"]
    assert slot_note(json.dumps(noted)).restarts == {}
    assert slot_note(json.dumps(noted)).release == 0


def test_what_a_later_version_notes_besides_is_passed_over() -> None:
    assert slot_note(json.dumps(json.loads(NOTE.text()) | {"later": 1})) == NOTE


@pytest.mark.parametrize("state", SlotState)
def test_every_state_can_be_noted(state: SlotState) -> None:
    assert slot_note(json.dumps(json.loads(NOTE.text()) | {"state": state})).state is state
