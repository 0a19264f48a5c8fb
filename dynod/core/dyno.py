"""The two machines of a dyno: the slot (`web.1`, what people see) and the instance (one run of it, a UUID).

During a restart two instances of one slot live: the slot is already starting again while its old instance still stops.

What is not in the tables: which dyno to start or stop (formation), when to try again (restart), whether a booting dyno
is up (boot). A pair that is missing is an illegal transition and raises; decide every cell on purpose.
Slot states and their names are Heroku's (Platform API, `dyno.state`, plus `complete` for one-off dynos).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType

DynoName = NewType("DynoName", str)  # "web.1"; a label, not unique in time
InstanceId = NewType("InstanceId", str)  # a UUID, Heroku's HEROKU_DYNO_ID


class SlotState(StrEnum):
    """What `ps` shows."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    CRASHED = "crashed"
    COMPLETE = "complete"  # one-off dynos only, whatever the exit status


class RestartCause(StrEnum):
    """Why a process of a dyno was followed by another one; what metrics count restarts by."""

    CRASH = "crash"  # it ended by itself
    BOOT = "boot"  # R10, or its startup checks failed
    HEALTH = "health"  # its liveness check failed
    MEMORY = "memory"  # R15
    DISK = "disk"  # it wrote more than it may
    CYCLE = "cycle"  # the daily restart
    ASKED = "asked"  # a person, a release, a changed file


class SlotEvent(StrEnum):
    """What happens to a slot."""

    START = "start"  # wanted, or the back-off is over
    READY = "ready"  # a web dyno listens on its PORT; any other has been launched
    EXITED = "exited"  # the main process ended by itself, whatever the status
    RESTART = "restart"  # asked for by a person, a release, cycling
    STOP = "stop"  # scaled away, or dynod stops
    COMPLETED = "completed"  # a one-off dyno ended


_S, _E = SlotState, SlotEvent

SLOT_TRANSITIONS: Final[Mapping[tuple[SlotState, SlotEvent], SlotState]] = {
    (_S.DOWN, _E.START): _S.STARTING,
    (_S.DOWN, _E.STOP): _S.DOWN,  # asked twice
    (_S.STARTING, _E.READY): _S.UP,
    (_S.STARTING, _E.EXITED): _S.CRASHED,
    (_S.STARTING, _E.RESTART): _S.STARTING,
    (_S.STARTING, _E.STOP): _S.DOWN,
    (_S.STARTING, _E.COMPLETED): _S.COMPLETE,
    (_S.UP, _E.EXITED): _S.CRASHED,
    (_S.UP, _E.RESTART): _S.STARTING,
    (_S.UP, _E.STOP): _S.DOWN,
    (_S.UP, _E.COMPLETED): _S.COMPLETE,
    (_S.CRASHED, _E.START): _S.STARTING,
    (_S.CRASHED, _E.RESTART): _S.STARTING,
    (_S.CRASHED, _E.STOP): _S.DOWN,
}


class InstanceState(StrEnum):
    """How far one run of a dyno has come."""

    LAUNCHING = "launching"  # asked for, not up yet
    UP = "up"
    STOPPING = "stopping"  # told to stop, or its main process ended and the rest is being ended
    GONE = "gone"  # no process of it is left


class InstanceEvent(StrEnum):
    """What happens to an instance."""

    REFUSED = "refused"  # the operating system did not start it
    READY = "ready"
    STOP = "stop"
    EXITED = "exited"  # the main process ended
    VANISHED = "vanished"  # the last process ended


_I, _V = InstanceState, InstanceEvent

INSTANCE_TRANSITIONS: Final[Mapping[tuple[InstanceState, InstanceEvent], InstanceState]] = {
    (_I.LAUNCHING, _V.REFUSED): _I.GONE,
    (_I.LAUNCHING, _V.READY): _I.UP,
    (_I.LAUNCHING, _V.STOP): _I.STOPPING,
    (_I.LAUNCHING, _V.EXITED): _I.STOPPING,
    (_I.UP, _V.STOP): _I.STOPPING,
    (_I.UP, _V.EXITED): _I.STOPPING,
    (_I.STOPPING, _V.STOP): _I.STOPPING,  # a second stop only tightens the deadline
    (_I.STOPPING, _V.EXITED): _I.STOPPING,
    (_I.STOPPING, _V.VANISHED): _I.GONE,
}


class IllegalTransitionError(Exception):
    """A bug: the caller believed something of a dyno that is not so."""


def advance_slot(state: SlotState, event: SlotEvent) -> SlotState:
    """The slot's next state. Raises IllegalTransitionError for a pair that is not in the table."""
    try:
        return SLOT_TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransitionError(f"a dyno that is {state} cannot {event}") from None


def advance_instance(state: InstanceState, event: InstanceEvent) -> InstanceState:
    """The instance's next state. Raises IllegalTransitionError for a pair that is not in the table."""
    try:
        return INSTANCE_TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransitionError(f"an instance that is {state} cannot {event}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRule:
    """How a dyno is asked to end: Heroku sends SIGTERM to every process and waits 30 s."""

    signal: int = 15
    grace_s: float = 30.0


def exit_status(exit_code: int) -> int:
    """The status that a shell and Heroku show: 128+n for a death by signal n."""
    return exit_code if exit_code >= 0 else 128 - exit_code
