"""Processes between fork and exec that take their time: the program is on a file system that hangs, say.

The keeper turns to other things meanwhile, and gives up on them in the end, which the core calls R99.
A core that dies meanwhile leaves one as an instance like any other, which the next core is told of.
Standard library only, as all of this folder.
"""

import math
import os
import select
import signal
from typing import Final, NamedTuple

from dynod.keeper.protocol import Spawn
from dynod.keeper.spawn import Forked, give_up

AT_ONCE_S: Final = 0.05  # an exec takes a millisecond or two: so long the keeper waits for one, and does nothing else


class Launch(NamedTuple):
    """What a core has asked for, on its way."""

    request: Spawn
    forked: Forked
    give_up_at: float  # monotonic seconds
    is_known: bool = False  # it is an instance already, to which its ends belong, and its exit is what tells of it


class Launches:
    """Those of one keeper. `poll` is its own: a launch is of interest once its `report` is readable."""

    def __init__(self, poll: select.poll) -> None:
        self._poll = poll
        self._pending: dict[int, Launch] = {}  # by report
        self._given_up: dict[int, str] = {}  # instance ids by process id, until their statuses come

    def add(self, launch: Launch) -> None:
        """Wait for it beside everything else."""
        self._pending[launch.forked.report] = launch
        self._poll.register(launch.forked.report, select.POLLIN)

    def make_known(self) -> list[Launch]:
        """Those that were not known so far: from now on they are instances, however their exec turns out."""
        found = [launch for launch in self._pending.values() if not launch.is_known]
        self._pending.update((launch.forked.report, launch._replace(is_known=True)) for launch in found)
        return found

    def holds(self, instance_id: str) -> bool:
        """Whether the instance is on its way."""
        return any(launch.request.id == instance_id for launch in self._pending.values())

    @property
    def descriptors(self) -> int:
        """How many they hold."""
        return sum(1 + (0 if launch.is_known else len(launch.forked.ends)) for launch in self._pending.values())

    def due(self) -> float:
        """When the keeper gives up on the next of them: monotonic seconds."""
        return min((launch.give_up_at for launch in self._pending.values()), default=math.inf)

    def take_reported(self) -> list[Launch]:
        """Those whose outcome is known, which are now the caller's."""
        return [self._take(report) for report in list(self._pending) if can_tell(report, 0.0)]

    def take_ended(self, pid: int) -> Launch | None:
        """The one whose process has ended, as its status says; its report is readable."""
        report = next((report for report, launch in self._pending.items() if launch.forked.pid == pid), None)
        return self._take(report) if report is not None else None

    def give_up(self, now: float = math.inf) -> list[Spawn]:
        """Kill those whose time is over, by default all; returns what had been asked for and now is not."""
        late = [launch for launch in self._pending.values() if now >= launch.give_up_at]
        for launch in late:
            self._take(launch.forked.report)
            if launch.is_known:
                os.kill(launch.forked.pid, signal.SIGKILL)
                os.close(launch.forked.report)
            else:
                self._given_up[launch.forked.pid] = launch.request.id
                give_up(launch.forked)
        return [launch.request for launch in late if not launch.is_known]

    def buried(self, pid: int) -> str | None:
        """The instance id of one that was given up and has now ended: nothing of it is left but its control group."""
        return self._given_up.pop(pid, None)

    def _take(self, report: int) -> Launch:
        self._poll.unregister(report)
        return self._pending.pop(report)


def can_tell(report: int, timeout_s: float) -> bool:
    """Whether the outcome is known, or is within so many seconds."""
    told = select.poll()
    told.register(report, select.POLLIN)
    return bool(told.poll(timeout_s * 1000))
