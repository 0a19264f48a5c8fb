"""One app of `dynod serve`: what runs of it, by the release that is live, and what changes of it while it runs.

Built by `serve`, anew by each core: `make`, then `begin` for a new app or `resume` for one that there was.
"""

import asyncio
import os
import shutil
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from dynod import own_share
from dynod.app_logs import DrainKeeper
from dynod.app_releases import AppReleases, Left, Live
from dynod.app_run import AppParts, AppRun, RunningApps, attach_rules
from dynod.app_storage import binds_of
from dynod.builds.stack_probe import misfit
from dynod.core.app_features import DYNO_METADATA, PREBOOT, RUNTIME_METRICS
from dynod.core.container import Bind, Container, User
from dynod.core.dyno_metadata import dyno_metadata
from dynod.core.dyno_sizes import SIZES, UNSIZED, DynoSize
from dynod.core.formation import RELEASE
from dynod.core.incidents import Trouble
from dynod.core.release import Draft, Release, draft_code
from dynod.core.slug import Slug
from dynod.core.surge import affordable_surge
from dynod.errors import DynodError
from dynod.happenings import AppReports, Happenings
from dynod.journal import Journal
from dynod.keeper.client import KeeperClient
from dynod.kept_notes import from_note, to_note
from dynod.logs.history_folder import HistoryFolder
from dynod.logs.history_sink import HistorySink
from dynod.logs.kept_output import KeptOutput
from dynod.operations import RunningApp
from dynod.ownership import give_code
from dynod.process.one_off import detached
from dynod.process.release_change import ChangeRules, Order
from dynod.process.surroundings import Command
from dynod.release_output import ReleaseOutput
from dynod.routing import AppTraffic, Routing
from dynod.serve_plan import WEB, ServePlan, empty_plan, held_to, make_serve_plan
from dynod.settings import Settings
from dynod.stderr import say
from dynod.store.apps import App
from dynod.store.audit import Actor, actor
from dynod.store.errors import StoreError
from dynod.store.store import Store

PREBOOT_S: Final = 120.0  # Heroku: new web dynos take over after the boot timeout and two minutes
LOGS: Final = "logs"  # of the state folder: a folder for each app's history
RELEASE_OUTPUT: Final = "release-output"  # the same for what release commands print


@dataclass(slots=True, kw_only=True)
class Premises:
    """What all apps of one daemon share. Owned by the daemon."""

    settings: Settings  # replaced by a reload
    store: Store
    keeper: KeeperClient
    apps: RunningApps
    routing: Routing
    state: Path
    happenings: Happenings
    web_url: Callable[[str], str]  # of an app's name
    code: Callable[[str], Awaitable[Path]]  # of a slug's id: its folder, unpacked where it is not. Raises DynodError
    journal: Journal | None = None  # systemd's, where dynod is its service
    user: Callable[[int], User] | None = None  # of an app's number; None: all run as dynod does
    gives_code: bool = False  # whose code cannot be shown as that user's, and has to be
    names_open_binds: bool = False  # as `AppParts` has it


class StackError(DynodError):
    """A slug that was built for another machine than this one is."""

    code = "stack"


class ServedApp:
    """Made by `make`."""

    def __init__(self, app: App, premises: Premises) -> None:
        self.id = app.id
        self.run: AppRun
        self.traffic: AppTraffic
        self.releases: AppReleases
        self.running: RunningApp
        self._app = app
        self._premises = premises
        self._reports = AppReports(premises.happenings, app.id)
        self._plan = empty_plan(app.name, "")  # of the live release
        self._knobs: Mapping[str, str] = {}  # its settings, as the store has them
        self._folders: dict[str, Path] = {}  # by slug id: where its code is now
        self._user: User | None = None  # of its own, where it has one
        self._mounts: tuple[Bind, ...] = ()  # what outlives its dynos

    @classmethod
    async def make(cls, app: App, premises: Premises) -> Self:
        """Everything of it but its dynos. Raises StoreError."""
        self = cls(app, premises)
        store, settings = premises.store, premises.settings
        self._knobs = await store.settings.of(app.id)
        if premises.user is not None:
            self._user = premises.user(await store.users.number(app.id))
        await self._read_mounts()
        rows = await store.formation.of(app.id)
        self.traffic = premises.routing.add_app(app.id)
        self.traffic.maintenance(on=app.maintenance)
        self.run = run = premises.apps.add(
            AppParts(
                id=app.id,
                name=app.name,
                commands={},
                traffic=self.traffic,
                sink=self._history_sink,
                drains=self._drain_keeper(),
                exited=lambda _name, _code: None,
                sizes={name: SIZES.get(row.size, UNSIZED) for name, row in rows.items()},
                one_off=self._one_off,
                attach=attach_rules(settings),
                enforce=True,
                history_lines=settings.logs.history_lines,
                names_open_binds=premises.names_open_binds,
                reports=self._reports,
            )
        )
        self.traffic.lines, self.traffic.says = run.stream.router_lines, run.stream.platform
        if (journal := premises.journal) is not None:
            run.stream.show_dynos_to(lambda dyno, message: journal.dyno(run.name, dyno, message))
        run.logs.start(await store.drains.of(app.id))
        output = ReleaseOutput(KeptOutput(premises.state / RELEASE_OUTPUT / app.id))
        run.stream.copy_to(output.copy)
        self.releases = AppReleases(
            app.id,
            store=store.releases,
            supervisor=run.supervisor,
            placement=premises.keeper,
            journal=run.stream,
            live=Live(
                commands=self.commands,
                fetch=self._fetch_fitting,
                rules=self._rules,
                gone_live=self._gone_live,
                clock=time.time,
                settled=self._settled,
            ),
            output=output,
        )
        self.running = RunningApp(
            id=app.id,
            name=app.name,
            web_url=premises.web_url(app.name),
            created_at=app.created_at,
            supervisor=run.supervisor,
            journal=run.stream,
            commands={},
            sizes=run.sizes,
            formation_updated_at=max([app.updated_at, *(row.updated_at for row in rows.values())]),
            one_offs=run.one_offs,
            keep=self._keep_formation,
            logs=run.logs,
            usage=run.latest_usage,
            note=self._reports.note,
            maintenance=app.maintenance,
            updated_at=app.updated_at,
            releases=self.releases,
        )
        self._feature(await store.features.on(app.id))
        return self

    # --- its beginning ----------------------------------------------------------------------------------------------

    async def begin(self, plan: ServePlan | None, group: asyncio.TaskGroup, *, by: Actor) -> None:
        """A new app: its first releases, and its dynos if it has code. Raises StoreError."""
        await self.releases.begin([] if plan is None else [_folder_draft(None, plan)], by=by)
        await self._go_by(self.releases.current, f"created by {by.name}", by)
        self.releases.start(group, Left(notes={}, instances={}))

    async def resume(self, group: asyncio.TaskGroup, *, fresh: bool, held: bool = False) -> None:
        """Start an app as the store has it, or go on with it as the keeper has it. Raises StoreError.

        `fresh`: dynod has just been started, so that a folder that has changed since is released anew.
        `held`: by itself it starts nothing, neither dynos nor what a release that waits has to run.
        """
        await self.releases.load()
        plan = self._read_folder() if fresh and not held and self._app.folder is not None else None
        if self.releases.current is None:  # its core was killed while it was made, or an older dynod made it
            await self.releases.begin([] if plan is None else [_folder_draft(None, plan)], by=_DYNOD)
        elif plan is not None and plan.code() != self._plan_of(self.releases.current).code():
            try:
                await self.releases.make(lambda base, _all: _folder_draft(base, plan), by=_DYNOD)
            except StoreError as error:
                say(f"{self._app.name}: its folder has changed and cannot be released: {error}")
        current = self.releases.current
        assert current is not None  # noqa: S101 (`begin` has seen to that)
        await self._fetch_again([current, *self.releases.pending])
        self._adopt_plan(current)
        run, pending = self.run, {each.version: self._dynos(each) for each in self.releases.pending}
        for commands in pending.values():
            run.know(commands)
        adopted = self._premises.apps.adopt(run)
        notes = self._premises.apps.slot_notes(run)
        for name, note in notes.items():
            process_type = name.partition(".")[0]
            if process_type in self._plan.types:
                run.supervisor.restore(name, note, adopted.get(name, []), pending)
            elif process_type != "run" and not (process_type == RELEASE and pending):
                run.supervisor.discard(name, adopted.get(name, []))
        release = {name: note for name, note in notes.items() if name.startswith(f"{RELEASE}.")}
        rows = await self._premises.store.formation.of(self.id)
        owed = self._premises.apps.note(self._owed) or ""
        if not rows and self._plan.types and not held:  # its core was killed when the first code had just gone live
            owed = self._owe(self._plan)
            first = {name: (self._plan.first_quantity(name), UNSIZED.name) for name in self._plan.types}
            rows = await self._premises.store.formation.set(self.id, first, by=_DYNOD)
        # Nothing may wait in between: a change must find all dynos there, and be told to them before they go on.
        if not held or not pending:
            self.releases.start(group, Left(notes=release, instances=adopted))
        quantities = {name: row.quantity for name, row in rows.items() if name in self._plan.types}
        if held:  # somebody may have started some in so many words
            quantities = Counter(name.partition(".")[0] for name in notes)
            quantities = {name: quantities[name] for name in self._plan.types}
        run.supervisor.scale({**dict.fromkeys(self._plan.types, 0), **quantities}, "dynod serve")
        if owed and not held:
            self._run_postdeploy(owed, current.user)
        if not pending:
            run.supervisor.resume_restarts()

    def _read_folder(self) -> ServePlan | None:
        """What the app's folder declares now; None, and said, where it cannot be read: the live release goes on."""
        assert self._app.folder is not None  # noqa: S101 (asked for by whoever knows)
        current = self.releases.current
        config = current.config if current is not None else {}
        try:
            return make_serve_plan(self._app.name, self._app.folder, config=config)
        except DynodError as error:
            for line in str(error).splitlines():
                say(f"{self._app.name}: {line}")
            say(f"{self._app.name}: its folder is released when it is in order; until then it runs as it did")
            return None

    # --- releases ---------------------------------------------------------------------------------------------------

    def commands(self, release: Release) -> Mapping[str, Command]:
        """How a release's processes are started, `release` included; none without code."""
        plan = self._plan_of(release)
        commands = {name: self._command(plan, name, release) for name in plan.commands}
        self.run.know(commands)  # a health check that is a command runs in the environment of its dyno's release
        return commands

    def _dynos(self, release: Release) -> dict[str, Command]:
        return {name: command for name, command in self.commands(release).items() if name != RELEASE}

    def _command(self, plan: ServePlan, process_type: str, release: Release) -> Command:
        rules = self._premises.settings.dyno_rules(process_type, rows=self._knobs)
        return plan.command(
            process_type,
            rules,
            config=self._variables(release),
            release=release.version,
            container=self._container(plan),
        )

    def _container(self, plan: ServePlan) -> Container | None:
        """What the processes of a plan are put in, where there are containers."""
        if self._premises.apps.containers is None:
            return None
        return Container(code=plan.folder, user=self._user, binds=self._mounts)

    def _variables(self, release: Release) -> Mapping[str, str]:
        """The config vars, and what the platform tells dynos of themselves where that is switched on."""
        if DYNO_METADATA not in self.running.features:
            return release.config
        domain = self._premises.settings.serve.apps_domain
        return {**release.config, **dyno_metadata(self.id, self.run.name, domain, release)}

    def _one_off(self, command: str, environment: Mapping[str, str]) -> Command:
        rules = self._premises.settings.dyno_rules("run", rows=self._knobs)
        current = self.releases.current
        config, version = (self._variables(current), current.version) if current is not None else ({}, 0)
        return self._plan.one_off(
            command, environment, rules, config=config, release=version, container=self._container(self._plan)
        )

    def _plan_of(self, release: Release) -> ServePlan:
        if release.plan is None:
            return empty_plan(self.run.name, "")
        plan = from_note(release.plan, ServePlan)
        # The folder that the plan names is where the state was when the release was made.
        folder = self._folders.get(release.slug_id) if release.slug_id is not None else None
        return plan if folder is None else plan.in_folder(os.fspath(folder))

    async def _fetch(self, release: Release) -> None:
        """Where its code is a slug: in a folder, from now on. Raises DynodError."""
        if release.slug_id is not None and release.plan is not None:
            folder = self._folders[release.slug_id] = await self._premises.code(release.slug_id)
            if self._premises.gives_code and (user := self._user) is not None:
                await asyncio.to_thread(give_code, user, folder)

    async def _fetch_fitting(self, release: Release) -> None:
        """The same for one that is to go live, which this machine must be able to run. Raises DynodError."""
        await self._fetch(release)
        why = await self._misfit(release)
        if why is not None:
            raise StackError(why)

    async def _misfit(self, release: Release) -> str | None:
        folder = self._folders.get(release.slug_id) if release.slug_id is not None else None
        return await asyncio.to_thread(misfit, folder, f"v{release.version}", self.run.name) if folder else None

    async def _fetch_again(self, releases: Sequence[Release]) -> None:
        """The same at the start, whatever was removed since; what cannot be had is said, and its dynos do not start."""
        for release in releases:
            try:
                await self._fetch(release)
                why = await self._misfit(release)
                if why is not None:  # it may run for all that; and if not, here is why
                    self.run.stream.api(why)
                    say(f"{self._app.name}: {why}")
            except DynodError as error:
                say(f"{self._app.name}: the code of v{release.version} cannot be unpacked: {error}")

    def _rules(self) -> ChangeRules:
        """Of a change that begins now. Raises NoMemoryError."""
        rules = self._premises.settings.dyno_rules(WEB, rows=self._knobs)
        size = self.run.sizes.get(WEB, UNSIZED)
        samples = [
            sample
            for instance in self.run.supervisor.instances.values()
            if instance.name.startswith(f"{WEB}.") and (sample := self.run.latest_usage(instance.id)) is not None
        ]
        used = max((sample.usage.memory.total for sample in samples), default=0)
        surge = affordable_surge(
            rules.surge, need=size.memory or used, freed=used, available=own_share.memory().available
        )
        preboot = PREBOOT in self.running.features
        return ChangeRules(
            settle_s=rules.settle_s,
            surge=surge,
            order=Order.PREBOOT if preboot else Order(rules.release_order),
            window_s=rules.boot_timeout_s + PREBOOT_S,
        )

    def _settled(self, release: Release, failure: str | None) -> None:
        if failure is None:
            self._reports.note("release.live", f"v{release.version} {release.description}", release.user)
            self._reports.well(Trouble.RELEASE, "")
        else:
            self._reports.failed(Trouble.RELEASE, "", f"v{release.version}: {failure.splitlines()[0]}")

    async def _gone_live(self, release: Release) -> None:
        by = Actor(name=release.user, origin=f"release v{release.version}")
        await self._go_by(release, f"release v{release.version} by {release.user}", by)

    async def _go_by(self, release: Release | None, why: str, by: Actor) -> None:
        """From now on this release is the one: its process types, and for the first code its first dynos.

        Raises StoreError, and nothing is done.
        """
        if release is None:
            return
        first = not self._plan.commands
        before = set(self._plan.types)
        plan, store = self._plan_of(release), self._premises.store
        owed = self._owe(plan) if first else ""
        rows = await store.formation.of(self.id)
        missing = {
            name: (plan.first_quantity(name) if first else 0, UNSIZED.name) for name in plan.types if name not in rows
        }
        if missing:
            rows = await store.formation.set(self.id, missing, by=by)
        self._adopt_plan(release)
        quantities = {name: rows[name].quantity for name in plan.types if first or name not in before}
        self.run.supervisor.scale({**dict.fromkeys(before.difference(plan.types), 0), **quantities}, why)
        if owed:
            self._run_postdeploy(owed, by.name)

    @property
    def _owed(self) -> str:
        """Under which the keeper keeps app.json's script for the first deploy until that has been started."""
        return f"postdeploy:{self.id}"

    def _owe(self, plan: ServePlan) -> str:
        if plan.postdeploy:
            self._premises.keeper.put(self._owed, plan.postdeploy)
        return plan.postdeploy

    def _run_postdeploy(self, command: str, user: str) -> None:
        self.run.stream.api(f"Starting process with command `{command}` by user {user}")
        self.run.one_offs.start(detached(command))  # which the keeper notes in its turn
        self._premises.keeper.put(self._owed, None)

    def _adopt_plan(self, release: Release) -> None:
        self._plan = self._plan_of(release)
        self.run.go_by(self._dynos(release))
        self.running.commands = self._plan.commands
        self.running.has_code = release.plan is not None
        self.traffic.blank(on=release.plan is None)
        self.traffic.pages(release.config)
        masks = self._premises.settings.masks_config_vars(self._knobs)
        self.run.logs.set_mask(release.config if masks else None)

    async def deploy(self, slug: Slug, folder: Path, description: str, *, by: Actor) -> Release:
        """A release of a slug whose code is in this folder, recorded; it goes live in its turn.

        Raises AppFolderError, StoreError.
        """
        current = self.releases.current
        plan = await asyncio.to_thread(
            make_serve_plan,
            self.run.name,
            folder,
            config=current.config if current is not None else {},
            process_types=slug.process_types,
        )
        release = await self.releases.make(
            lambda base, _all: draft_code(
                base,
                plan=to_note(plan.without_values()),
                slug_id=slug.id,
                description=description,
                runs_command=RELEASE in plan.commands,
                first_config=plan.manifest_env if base is None or base.plan is None else None,  # as on Heroku
            ),
            by=by,
        )
        assert release is not None  # noqa: S101 (a draft is made whatever there is)
        return release

    # --- what is kept of it -----------------------------------------------------------------------------------------

    async def _read_mounts(self) -> None:
        """What outlives its dynos, as the store has it, where they have containers to see it in."""
        if self._premises.apps.containers is not None:
            mounts = await self._premises.store.storage.of(self.id)
            self._mounts = await binds_of(self._premises.state, self.id, mounts, self._user)

    async def refit(self) -> None:
        """Its settings, features or storage in the store are others: what runs, or is to, is held to them.

        Raises StoreError.
        """
        await self._read_mounts()
        knobs = self._knobs = await self._premises.store.settings.of(self.id)
        self._feature(await self._premises.store.features.on(self.id))
        if self.releases.current is not None:
            self._adopt_plan(self.releases.current)
        settings = self._premises.settings
        self.run.supervisor.hold_to(lambda name: held_to(settings.dyno_rules(name, rows=knobs)))

    def _feature(self, features: frozenset[str]) -> None:
        self.running.features = features
        wanted = self._premises.settings.logs_runtime_metrics(self._knobs)
        self.run.set_runtime_metrics(on=wanted or RUNTIME_METRICS in features)

    async def _keep_formation(self, quantities: Mapping[str, int], sizes: Mapping[str, DynoSize], by: str) -> None:
        formation = self._premises.store.formation
        now = await formation.of(self.id)
        changed = {
            name: (
                quantities.get(name, now[name].quantity if name in now else 0),
                sizes[name].name if name in sizes else (now[name].size if name in now else UNSIZED.name),
            )
            for name in {*quantities, *sizes}
        }
        await formation.set(self.id, changed, by=actor(by))

    def _history_sink(self, on_room: Callable[[], None]) -> HistorySink:
        """Contracts 3: in `serve`, handed on means written to the app's history."""
        # By id: an app may be renamed, and another one of its name must not find its lines.
        folder = self.log_folder
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        logs = self._premises.settings.logs
        return HistorySink(
            asyncio.get_running_loop(),
            HistoryFolder(folder, clock=time.time),
            on_room=on_room,
            say=say,
            stall_s=logs.stall_s,
            limit=logs.buffer_bytes,
        )

    @property
    def log_folder(self) -> Path:
        """Its history."""
        return self._premises.state / LOGS / self.id

    def _drain_keeper(self) -> DrainKeeper:
        drains, id_ = self._premises.store.drains, self.id
        return DrainKeeper(
            add=lambda record, by: drains.add(id_, record, by=actor(by)),
            remove=lambda record, by: drains.remove(id_, record, by=actor(by)),
        )

    # --- its end ----------------------------------------------------------------------------------------------------

    async def destroy(self, hurry: asyncio.Event, by: str) -> None:
        """Stop every dyno, then forget the app; a folder of code is left alone. Raises StoreError."""
        premises = self._premises
        await self.releases.close()
        await self.run.stop(hurry, f"destroyed by {by}")
        await self.run.close(hurry)
        premises.apps.remove(self.id)
        premises.routing.remove_app(self.id)
        await premises.store.apps.destroy(self.id, by=actor(by))
        for folder in (self.log_folder, premises.state / RELEASE_OUTPUT / self.id):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


_DYNOD: Final = Actor(name="dynod", origin="start")


def _folder_draft(base: Release | None, plan: ServePlan) -> Draft:
    return draft_code(
        base,
        plan=to_note(plan.without_values()),
        slug_id=None,
        description=f"Deploy {os.fspath(plan.folder)}",
        runs_command=base is not None and RELEASE in plan.commands,
        first_config=plan.manifest_env,
    )


def remove_left_logs(state: Path, app_ids: Sequence[str]) -> None:
    """Lines of apps that are no more: a core was killed between forgetting one and removing them."""
    for folder in (state / LOGS, state / RELEASE_OUTPUT):
        for left in list(folder.iterdir()) if folder.exists() else []:
            if left.name not in app_ids:
                shutil.rmtree(left, ignore_errors=True)
