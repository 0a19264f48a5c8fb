"""Looks at the router's counters every ten seconds, so that there is an hour of them to draw.

Flow: routing → **traffic watch** → traffic history of each app → dashboard. In memory alone; what the next core is to
go on from is left outside of this one, in minutes. May import operations and core. A look reads what is counted anyway;
nothing is measured for it.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import NoReturn, Protocol

from dynod.core.traffic_history import CELL_S, Counters, Past, TrafficHistory
from dynod.operations import Operations, RunningApp


class TrafficNotes(Protocol):
    """Where the past of each app outlives a core, by the app's id."""

    def found(self) -> Mapping[str, Past]:
        """What an earlier core has left."""

    def keep(self, app: str, past: Past | None) -> None:
        """As it is now; None: no more."""


class TrafficWatch:
    """Of one daemon; owned by its composition root, which runs it."""

    def __init__(
        self,
        operations: Operations,
        counters: Callable[[RunningApp], Counters],
        *,
        clock: Callable[[], float],
        notes: TrafficNotes,
    ) -> None:
        """`clock` is the loop's."""
        self._operations = operations
        self._counters = counters
        self._clock = clock
        self._notes = notes
        self._left = dict(notes.found())
        self._histories: dict[str, TrafficHistory] = {}

    def of(self, app: RunningApp) -> TrafficHistory:
        """The app's, from now on where it is new."""
        history = self._histories.get(app.id)
        if history is None:
            past = self._left.pop(app.id, None)
            history = self._histories[app.id] = TrafficHistory(self._clock(), self._counters(app), past)
            if past is None:
                self._notes.keep(app.id, history.past())  # since when it is known
        return history

    def look(self) -> None:
        """Ten seconds have passed."""
        apps = [self._operations.find(view.id) for view in self._operations.apps()]
        for gone in (self._histories.keys() | self._left.keys()) - {app.id for app in apps}:
            self._histories.pop(gone, None)
            self._left.pop(gone, None)
            self._notes.keep(gone, None)
        for app in apps:
            history = self._histories.get(app.id)
            if history is None:
                self.of(app)
            elif history.note(self._clock(), self._counters(app)):
                self._notes.keep(app.id, history.past())

    async def run(self) -> NoReturn:
        """Until it is cancelled."""
        due = self._clock()
        while True:
            self.look()
            due = max(due + CELL_S, self._clock())  # what was missed is not made up for
            await asyncio.sleep(due - self._clock())
