"""What happens to apps without anybody asking: noted in the causal history, and made into notices once.

Flow: slots, sampler, releases, drains, disk → **happenings** → history (the audit trail in `serve`, memory in `up`),
incidents → webhooks. `core/incidents` decides what is told. Nobody waits for the history: what it cannot
take in time is dropped and counted.
"""

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from dynod.app_figures import AppFigures
from dynod.core.asker import origin_of
from dynod.core.disk_contents import low
from dynod.core.event import Event
from dynod.core.incidents import IncidentKey, Incidents, Notice, OpenIncident, Trouble
from dynod.core.losses import Lose, Loss, unheeded
from dynod.errors import DynodError

KEPT: Final = 1000  # events in memory, of `up`
WAITING: Final = 1000  # events that the store has not taken yet
LOOK_S: Final = 15.0  # between two looks at drains and disk, which announce nothing
DRAIN_FAILURES: Final = 3  # in a row: a receiver that restarts is none
RECOVERED: Final = "recovered"
NOBODY: Final = "dynod"  # asked for it

Keep = Callable[[str, tuple[str, str] | None, str, str], Awaitable[None]]  # action, app's id and name, detail, by


class Happening(NamedTuple):
    """One that waits to be kept."""

    action: str
    app: tuple[str, str] | None
    detail: str
    by: str


class MemoryEvents:
    """The history of an `up`, gone with it."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._number = 0

    async def keep(self, action: str, app: tuple[str, str] | None, detail: str, by: str) -> None:
        """One more."""
        self._number += 1
        id_, name = app if app is not None else (None, None)
        self._events.append(
            Event(
                id=self._number,
                at=datetime.now(UTC),
                actor=by,
                origin=origin_of(by),
                action=action,
                app_id=id_,
                app_name=name,
                detail=detail,
            )
        )

    async def since(self, after: int | None, *, limit: int, app_id: str | None) -> Sequence[Event]:
        """Those after this id, oldest first; None: the newest."""
        found = [each for each in self._events if app_id in {None, each.app_id} and each.id > (after or 0)]
        return found[-limit:] if after is None else found[:limit]


class IncidentNotes(Protocol):
    """Where open incidents outlive a core."""

    def found(self) -> Mapping[IncidentKey, OpenIncident]:
        """Those that an earlier core has left."""

    def keep(self, changes: Mapping[IncidentKey, OpenIncident | None]) -> None:
        """As they are now; None: no more."""


class Happenings:
    """`run` is the task; everything else is called in the loop."""

    def __init__(
        self,
        *,
        keep: Keep,
        apps: Callable[[], Iterable[AppFigures]],
        name_of: Callable[[str], str | None],
        state: Path | None,
        tell: Callable[[Notice], None] = lambda _notice: None,
        roomy: Callable[[], None] = lambda: None,
        notes: IncidentNotes | None = None,
        lose: Lose = unheeded,
    ) -> None:
        """`name_of` gives the name of an app by its id; `state` is the folder whose disk is watched.

        `roomy` is called, in a thread, at each look that finds room on it.
        """
        self._keep = keep
        self._lose = lose
        self._apps = apps
        self._name_of = name_of
        self._state = state
        self._tell = tell
        self._roomy = roomy
        self._notes = notes
        self._incidents = Incidents(notes.found() if notes is not None else None)
        self._waiting: deque[Happening] = deque()
        self._news = asyncio.Event()

    def failed(self, app: str, trouble: Trouble, subject: str, detail: str) -> None:
        """Something has gone wrong. Each crash is an event; of what is said again and again only the first."""
        now = asyncio.get_running_loop().time()
        dropped = self._incidents.dropped
        notice = self._incidents.failed(app, trouble, subject, detail, now)
        if self._incidents.dropped > dropped:
            self._lose(Loss.INCIDENTS, 1)
        if notice is not None or trouble in {Trouble.CRASHED, Trouble.RELEASE}:
            self.note(app, trouble.value, f"{subject}: {detail}" if subject else detail)
        if notice is not None:
            self._tell(notice)
        self._changed()

    def well(self, app: str, trouble: Trouble, subject: str) -> None:
        """It is in order now."""
        self._incidents.well(app, trouble, subject, asyncio.get_running_loop().time())
        self._changed()

    def gone(self, app: str, subject: str | None = None) -> None:
        """There is no such dyno, or app, any more."""
        self._incidents.gone(app, subject)
        self._changed()

    def note(self, app: str, action: str, detail: str, by: str = NOBODY) -> None:
        """An event, to be kept as soon as may be; `by` whoever asked for it."""
        if len(self._waiting) >= WAITING:
            self._lose(Loss.EVENTS, 1)
            return
        name = self._name_of(app)
        self._waiting.append(Happening(action, (app, name) if name is not None else None, detail, by))
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        while True:
            self._news.clear()
            if loop.time() >= look_at:
                await self._look()
                look_at = loop.time() + LOOK_S
            for notice in self._incidents.due(loop.time()):
                self.note(notice.app, f"{notice.trouble.value.partition('.')[0]}.{RECOVERED}", _recovery(notice))
                self._tell(notice)
            self._keep_incidents()
            await self.write()
            deadline = min(look_at, self._incidents.next_due() or look_at)
            try:
                async with asyncio.timeout_at(deadline):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _changed(self) -> None:
        self._keep_incidents()
        self._news.set()

    def _keep_incidents(self) -> None:
        """After what is told of them: a core that is killed in between tells once more, and not never."""
        changes = self._incidents.changes()
        if self._notes is not None and changes:
            self._notes.keep(changes)

    async def write(self) -> None:
        """Keep what waits."""
        while self._waiting:
            keeping = asyncio.ensure_future(self._keep(*self._waiting.popleft()))
            try:
                await asyncio.shield(keeping)  # a core that lets go cancels this, and the event is told nowhere else
            except asyncio.CancelledError:
                await asyncio.gather(keeping, return_exceptions=True)
                raise
            except DynodError:
                self._lose(Loss.EVENTS, 1)  # a full disk, or too much at once: the log has said the same

    async def _look(self) -> None:
        for app in self._apps():
            there = {record.url.shown for record, _ in app.drains}
            for removed in set(self._incidents.subjects(app.id, Trouble.DRAIN)) - there:
                self.gone(app.id, removed)
            for record, health in app.drains:
                if health is None:
                    continue
                if health.failures >= DRAIN_FAILURES:
                    self.failed(app.id, Trouble.DRAIN, record.url.shown, health.last_error)
                else:
                    self.well(app.id, Trouble.DRAIN, record.url.shown)
        if self._state is None:
            return
        try:
            disk = await asyncio.to_thread(os.statvfs, self._state)
        except OSError:
            return  # it comes back, or the store says more
        if told := low(free=disk.f_bavail * disk.f_frsize, total=disk.f_blocks * disk.f_frsize):
            self.failed("", Trouble.DISK, str(self._state), told)
        else:
            self.well("", Trouble.DISK, str(self._state))
            await asyncio.to_thread(self._roomy)


class AppReports:
    """What the dynos of one app report."""

    def __init__(self, happenings: Happenings, app: str) -> None:
        """`app` is its id."""
        self._happenings = happenings
        self._app = app

    def failed(self, trouble: Trouble, subject: str, detail: str) -> None:
        self._happenings.failed(self._app, trouble, subject, detail)

    def well(self, trouble: Trouble, subject: str) -> None:
        self._happenings.well(self._app, trouble, subject)

    def gone(self, subject: str) -> None:
        self._happenings.gone(self._app, subject)

    def note(self, action: str, detail: str, by: str = NOBODY) -> None:
        self._happenings.note(self._app, action, detail, by)


def _recovery(notice: Notice) -> str:
    often = f" after {notice.times} times" if notice.times > 1 else ""
    return f"{notice.subject}: {notice.trouble.value} is over{often}"
