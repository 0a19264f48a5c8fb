"""Who is what among the cores, and from which program the next one starts. Pure: it is given the time.

One core is in charge: it is told everything, and what it asks is done. An upgrade has another one beside it, which
first tries in earnest whatever it can try without being in charge, and waits. Then the one in charge lets go, is
retired with the connections that it has, and the other is given everything, as after a crash.

Not in the table: the end of a core, which may come at any time. What follows from that `Programs` decides, and `main`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

ENDS = 3  # contracts 1: of cores of a new version,
WITHIN_S = 60.0  # in that time, and the previous one is started again


class Role(StrEnum):
    """What a core is to the keeper."""

    REHEARSING = "rehearsing"  # beside the one in charge, and not ready
    STANDBY = "standby"  # is ready to be in charge
    STARTING = "starting"  # has been given everything
    OWNER = "owner"  # has said that it is in control
    RETIRING = "retiring"  # has been asked to let go
    RETIRED = "retired"  # has let go, and finishes what it has


class Step(StrEnum):
    """What makes another of it."""

    READY = "ready"
    CHOSEN = "chosen"
    ASKED = "asked"
    LET_GO = "let go"


IN_CHARGE = frozenset({Role.STARTING, Role.OWNER, Role.RETIRING})

TRANSITIONS: Mapping[tuple[Role, Step], Role] = {
    (Role.REHEARSING, Step.READY): Role.STANDBY,
    (Role.STANDBY, Step.READY): Role.STANDBY,
    (Role.STANDBY, Step.CHOSEN): Role.STARTING,
    (Role.STARTING, Step.READY): Role.OWNER,
    (Role.OWNER, Step.READY): Role.OWNER,
    (Role.OWNER, Step.ASKED): Role.RETIRING,
    (Role.RETIRING, Step.READY): Role.RETIRING,
    (Role.RETIRING, Step.LET_GO): Role.RETIRED,
}  # what is not here is no step of a core, and raises


def advance(role: Role, step: Step) -> Role:
    """What the core is then. Raises ValueError for what it cannot become."""
    if (role, step) not in TRANSITIONS:
        raise ValueError(f"a core that is {role} is not {step}")
    return TRANSITIONS[role, step]


class Programs(NamedTuple):
    """From what cores are started: the newest that has taken over, and the one before, as long as it may be needed."""

    now: tuple[str, ...]
    before: tuple[str, ...] | None = None
    ends: tuple[float, ...] = ()  # of cores of `now` that were not meant to end, monotonic seconds

    def taken_over(self, by: tuple[str, ...]) -> "Programs":
        """A core of another program is in charge; of the same one nothing is known that was not before."""
        return self if by == self.now else Programs(now=by, before=self.now)

    def ended(self, at: float, *, was_in_control: bool) -> "Programs":
        """A core of `now` has ended. One that never was in control is not tried again where there is another."""
        ends = (*(each for each in self.ends if at - each < WITHIN_S), at)
        if self.before is not None and (not was_in_control or len(ends) >= ENDS):
            return Programs(now=self.before)
        return self._replace(ends=ends)
