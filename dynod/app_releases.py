"""An app's releases as they are made and go live, one at a time (contracts 7).

Flow: operation → **releases** → store (recorded, which is what the answer waits for) → release command → dynos go over
→ store (succeeded or failed). What is recorded and not settled when a core ends is gone on with by the next.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from dynod.core.dyno import exit_status
from dynod.core.formation import RELEASE
from dynod.core.log_line import LogBatch
from dynod.core.release import INITIAL, LOGPLEX, Draft, Phase, Release, ReleaseStatus, current_of
from dynod.core.release_failure import explain
from dynod.errors import DynodError
from dynod.process.instance import Instance
from dynod.process.placement import Placement
from dynod.process.release_change import ChangeRules, ReleaseChange
from dynod.process.supervisor import Supervisor
from dynod.process.surroundings import Command
from dynod.release_output import ReleaseOutput
from dynod.store.audit import Actor
from dynod.store.errors import StoreError
from dynod.store.releases import Decide, Releases

STORE_RETRY_S: Final = 5.0  # a full disk: the outcome is written once there is room


class Journal(Protocol):
    """The app's log stream."""

    def api(self, *messages: str) -> None: ...
    def newest(self, count: int | None = None) -> tuple[LogBatch, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What the daemon does for a release."""

    commands: Callable[[Release], Mapping[str, Command]]  # by process type, `release` included; none without code
    fetch: Callable[[Release], Awaitable[None]]  # its code is in a folder from then on. Raises DynodError: it cannot be
    rules: Callable[[], ChangeRules]  # as settings and memory are now. Raises DynodError: not even one dyno fits
    gone_live: Callable[[Release], Awaitable[None]]  # it is the current one from now on
    clock: Callable[[], float]  # seconds since the epoch
    settled: Callable[[Release, str | None], None] = lambda _release, _failure: None  # why it failed; None: it is live


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What an earlier core left of release commands: each dyno's note, and its instances."""

    notes: Mapping[str, str]
    instances: Mapping[str, Sequence[Instance]]


class AppReleases:
    """Of one app. `load`, then `start`; `close` leaves what is pending to the next core."""

    def __init__(
        self,
        app_id: str,
        *,
        store: Releases,
        supervisor: Supervisor,
        placement: Placement,
        journal: Journal,
        live: Live,
        output: ReleaseOutput,
    ) -> None:
        self._app_id = app_id
        self._store = store
        self._supervisor = supervisor
        self._placement = placement
        self._journal = journal
        self._live = live
        self.output = output  # of release commands
        self._key = f"release-command:{app_id}"  # under which the keeper keeps which dyno runs it
        self._pending: list[Release] = []  # oldest first
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ids: dict[int, str] = {}  # by version
        self.current: Release | None = None

    @property
    def pending(self) -> Sequence[Release]:
        """Recorded and not live yet, oldest first."""
        return self._pending

    @property
    def latest_version(self) -> int:
        """Of the newest release that is live or may come to be; 0 where there is none."""
        newest = self._pending[-1] if self._pending else self.current
        return newest.version if newest is not None else 0

    def id_of(self, version: int) -> str | None:
        """Of the release of that version."""
        return self._ids.get(version)

    def version_of(self, release_id: str) -> int | None:
        """Of the release with that id."""
        return next((version for version, id_ in self._ids.items() if id_ == release_id), None)

    async def all(self) -> tuple[Release, ...]:
        """Every release, newest first. Raises StoreError."""
        return await self._store.of(self._app_id)

    async def begin(self, drafts: Sequence[Draft], *, by: Actor) -> None:
        """The first releases of a new app, which nothing has to wait for: live at once. Raises StoreError."""
        first = (Draft(description=INITIAL, plan=None, config={}), Draft(description=LOGPLEX, plan=None, config={}))
        for release in await self._store.begin(self._app_id, (*first, *drafts), by=by):
            self._say(release)
        await self.load()

    async def load(self) -> None:
        """Read what is live and what is not yet. Raises StoreError."""
        releases = await self.all()
        self._ids = {each.version: each.id for each in releases}
        self.current = current_of(releases)
        self._pending = [each for each in reversed(releases) if each.status is ReleaseStatus.PENDING]
        self.output.goes_to(self._pending[0].version if self._pending else None)

    def start(self, group: asyncio.TaskGroup, left: Left) -> None:
        """Take what is pending live, and what comes; before the dynos start, so that a change under way goes on."""
        self._task = group.create_task(self._keep_going(left), name=f"releases:{self._app_id}")

    async def close(self) -> None:
        """No more changes: what is pending stays so."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def make(self, decide: Decide, *, by: Actor) -> Release | None:
        """Record a release; None where `decide` makes none. Returns when a crash cannot lose it.

        Raises what `decide` raises, StoreError.
        """
        release = await self._store.add(self._app_id, decide, by=by)
        if release is not None:
            self._say(release)
            self._pending.append(release)
            self._ids[release.version] = release.id
            self._news.set()
        return release

    async def purge(self, name: str, *, by: Actor) -> int:
        """Empty the value of a config var in old releases; returns in how many it was. Raises StoreError."""
        return await self._store.purge(self._app_id, name, by=by)

    def _say(self, release: Release) -> None:
        by = f"by user {release.user}"
        self._journal.api(f"{release.description} {by}", f"Release v{release.version} created {by}")

    # --- one after the other ----------------------------------------------------------------------------------------

    async def _keep_going(self, left: Left) -> None:
        while True:
            while self._pending:
                release = self._pending[0]
                failure = await self._take_live(release, left)
                await self._settle(release, failure)
                left = Left(notes={}, instances={})
            self._news.clear()
            await self._news.wait()

    async def _settle(self, release: Release, failure: str | None) -> None:
        while True:
            try:
                await self._store.settle(self._app_id, release.version, failure=failure)
                await self.load()  # those that were built on one that failed are others now
                if failure is None:
                    await self._live.gone_live(release)
                break
            except StoreError as error:
                self._journal.api(f"The outcome of v{release.version} cannot be kept yet: {error}")
                await asyncio.sleep(STORE_RETRY_S)
        self._placement.put(self._key, None)
        self._live.settled(release, failure)
        if failure is not None:
            kept = f"v{self.current.version} goes on" if self.current is not None else "nothing was changed"
            self._journal.api(f"Release v{release.version} failed: {failure.splitlines()[0]}; {kept}")

    async def _take_live(self, release: Release, left: Left) -> str | None:
        """None when it is, else why it is not; then everything is as it was."""
        begun_at = self._live.clock()
        try:
            await self._live.fetch(release)
        except DynodError as error:
            return str(error)
        commands = self._live.commands(release)
        if release.phase is Phase.WANTED and RELEASE in commands:
            if (failure := await self._run_command(release, commands[RELEASE], left)) is not None:
                return failure
            await self._store_command_done(release)
        before = self._live.commands(self.current) if self.current is not None else {}
        if not before:
            return None  # the first code: there is nothing that could go on instead
        try:
            rules = self._live.rules()
        except DynodError as error:
            return str(error)
        dynos = {name: command for name, command in commands.items() if name != RELEASE}
        change = ReleaseChange(self._supervisor, dynos, rules, f"release v{release.version} by {release.user}")
        failed = await change.go_live()
        if failed is None:
            return None
        failure = explain(failed, self._journal.newest(), since=begun_at)
        await change.undo(before)
        return failure

    async def _run_command(self, release: Release, command: Command, left: Left) -> str | None:
        """The `release` process, in a dyno of its own; run once, also over a crash of the core."""
        noted = next(iter(left.notes), None)
        name = noted or self._supervisor.one_off_name(RELEASE)
        begun_at = self._live.clock()
        self.output.goes_to(release.version)
        if noted is None:
            self._journal.api(f"Running release v{release.version} commands by user {release.user}")
        self._placement.put(self._key, json.dumps({"version": release.version, "name": name}))

        def done(code: int) -> None:
            self._placement.put(self._key, json.dumps({"version": release.version, "name": name, "code": code}))

        code = await self._supervisor.run_once(
            name, command, done=done, note=left.notes.get(name), instances=left.instances.get(name, ())
        )
        self.output.goes_to(None)
        if code == 0:
            return None
        status = exit_status(code)
        return explain(
            name, self._journal.newest(), since=begun_at, what=f"the release command exited with status {status}"
        )

    async def _store_command_done(self, release: Release) -> None:
        try:
            await self._store.command_done(self._app_id, release.version)
        except StoreError as error:
            # The keeper knows as long as it lives; after that the command is run once more.
            self._journal.api(f"That the release command of v{release.version} is done cannot be kept: {error}")
