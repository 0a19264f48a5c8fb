"""Looks at the router's counters every ten seconds, so that there is an hour of them to draw.

Flow: routing → **traffic watch** → traffic history of each app → dashboard. In memory alone: the next core begins anew.
May import operations and core. A look reads what is counted anyway; nothing is measured for it.
"""

import asyncio
from collections.abc import Callable
from typing import NoReturn

from dynod.core.traffic_history import CELL_S, Counters, TrafficHistory
from dynod.operations import Operations, RunningApp


class TrafficWatch:
    """Of one daemon; owned by its composition root, which runs it."""

    def __init__(
        self, operations: Operations, counters: Callable[[RunningApp], Counters], *, clock: Callable[[], float]
    ) -> None:
        """`clock` is the loop's."""
        self._operations = operations
        self._counters = counters
        self._clock = clock
        self._histories: dict[str, TrafficHistory] = {}

    def of(self, app: RunningApp) -> TrafficHistory:
        """The app's, from now on where it is new."""
        history = self._histories.get(app.id)
        if history is None:
            history = self._histories[app.id] = TrafficHistory(self._clock(), self._counters(app))
        return history

    def look(self) -> None:
        """Ten seconds have passed."""
        apps = [self._operations.find(view.id) for view in self._operations.apps()]
        for gone in self._histories.keys() - {app.id for app in apps}:
            del self._histories[gone]
        for app in apps:
            if app.id in self._histories:
                self._histories[app.id].note(self._clock(), self._counters(app))
            else:
                self.of(app)

    async def run(self) -> NoReturn:
        """Until it is cancelled."""
        due = self._clock()
        while True:
            self.look()
            due = max(due + CELL_S, self._clock())  # what was missed is not made up for
            await asyncio.sleep(due - self._clock())
