"""What every verb does: the only place where dynos, log stream, router and store meet on somebody's behalf.

The Platform API and dynod's own verbs come through here; each change names who asked for it, says so in the app's log
in Heroku's words, and is kept before it is answered.
"""

import asyncio
import contextlib
import hmac
import secrets
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dynod.app_logs import AppLogs
from dynod.core.dyno import SlotState
from dynod.core.dyno_sizes import UNSIZED, DynoSize, no_such_size, size_named
from dynod.core.formation import RELEASE
from dynod.core.random_name import random_app_names
from dynod.core.scaling import FormationUpdate, ScalingRefusedError, plan_scaling
from dynod.core.suggest import dyno_not_found, not_found
from dynod.errors import DynodError
from dynod.process.attachment import Attachment, Window
from dynod.process.one_off import OneOff, OneOffs
from dynod.process.sampler import Sample
from dynod.process.slot import Slot
from dynod.process.slot_log import Happening
from dynod.process.supervisor import Supervisor

if TYPE_CHECKING:
    from dynod.app_releases import AppReleases

ONE_OFF = ("run", RELEASE, "scheduler")  # kinds that may be named though no dyno of the kind is there
MOST_ONE_OFFS = 500  # of an app, at the same time: as many as dynos of a type


class NotFoundError(DynodError):
    """No app, dyno or process type of that name; `resource` is Heroku's word for the kind."""

    code = "not_found"

    def __init__(self, message: str, resource: str) -> None:
        super().__init__(message)
        self.resource = resource


class InvalidError(DynodError):
    """A request that is understood and cannot be carried out; nothing was changed."""

    code = "invalid_params"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppView:
    """An app, as the API shows it."""

    id: str
    name: str
    web_url: str
    created_at: datetime
    updated_at: datetime
    maintenance: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FormationView:
    """A process type and how many dynos of it are wanted."""

    id: str
    app: AppView
    process_type: str
    command: str
    quantity: int
    size: DynoSize
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DynoView:
    """A dyno. `why` is its causal chain, oldest first."""

    id: str
    app: AppView
    name: str
    process_type: str
    command: str
    state: SlotState
    size: DynoSize
    release_version: int
    release_id: str | None  # None where there are no releases
    current_release: int  # the version that is live; 0 where there are none
    latest_release: int  # the newest that is live, or may come to be
    created_at: datetime
    updated_at: datetime
    restarting: bool  # asked for and not finished, also while it waits its turn
    pid: int | None
    port: int | None
    why: tuple[Happening, ...]
    secret: str | None = None  # by which somebody attaches to it; only whoever has asked for the dyno is told


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOffRequest:
    """A command to run once."""

    command: str
    environment: Mapping[str, str]
    attach: bool = False
    window: tuple[int, int] | None = None  # with a terminal of so many rows and columns
    size: str | None = None
    process_type: str | None = None
    time_to_live_s: int | None = None


class Journal(Protocol):
    """The app's log stream, for what an operator did."""

    def api(self, message: str) -> None: ...


@dataclass(slots=True, kw_only=True)
class RunningApp:
    """An app with everything of it that runs. Owned by the daemon."""

    id: str
    name: str
    web_url: str
    created_at: datetime
    supervisor: Supervisor
    journal: Journal
    commands: Mapping[str, str]  # process type → command, as the Procfile has them
    sizes: dict[str, DynoSize]
    formation_updated_at: datetime
    keep: Callable[[Mapping[str, int], Mapping[str, DynoSize], str], Awaitable[None]]
    # ^ write quantities and sizes down, on behalf of somebody; returns when a crash cannot lose them
    logs: AppLogs
    one_offs: OneOffs
    usage: Callable[[str], Sample | None] = lambda _instance: None  # memory and CPU of an instance when last read
    releases: "AppReleases | None" = None  # none in `up`: the app runs as its folder is
    has_code: bool = True
    maintenance: bool = False
    note: Callable[[str, str, str], None] = lambda _action, _detail, _by: None  # an event, on somebody's behalf
    features: frozenset[str] = frozenset()  # those that are on, of core.app_features
    updated_at: datetime | None = None  # when the app itself was changed: its name, its maintenance mode
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)  # one change of the app at a time


class AppHost(Protocol):
    """The daemon that runs many apps, as far as apps come and go."""

    async def create(self, name: str, folder: Path | None, by: str) -> RunningApp: ...
    async def destroy(self, app: RunningApp, by: str) -> None: ...
    async def rename(self, app: RunningApp, name: str, by: str) -> None: ...  # also changes `app`
    async def set_maintenance(self, app: RunningApp, *, on: bool, by: str) -> None: ...  # also changes `app`


class Operations:
    """Every verb, over the apps of one daemon."""

    def __init__(self, apps: Iterable[RunningApp], *, host: AppHost | None = None) -> None:
        """`host` is None in `up`, which runs one app."""
        self._apps = {app.id: app for app in apps}
        self._host = host

    def add(self, app: RunningApp) -> None:
        """An app that the daemon has started by itself."""
        self._apps[app.id] = app

    # --- apps -------------------------------------------------------------------------------------------------------

    def apps(self) -> list[AppView]:
        """All apps, by name."""
        return sorted((_app_view(app) for app in self._apps.values()), key=lambda view: view.name)

    def app(self, ref: str) -> AppView:
        """The app of this name or id. Raises NotFoundError."""
        return _app_view(self.find(ref))

    async def create_app(self, name: str | None, folder: str | None, *, by: str) -> AppView:
        """Register an app, and run it if it has a folder on this machine. Raises InvalidError, AppFolderError.

        Without a name it gets one of Heroku's form; without a folder it waits for its code.
        """
        if self._host is None:
            raise InvalidError("This is dynod up, which runs one app: dynod serve runs many.")
        if folder is not None and not folder.startswith("/"):
            raise InvalidError("The folder of an app must be an absolute path.")
        taken = {app.name for app in self._apps.values()}
        name = name or next(each for each in random_app_names(secrets.randbelow) if each not in taken)
        app = await self._host.create(name, Path(folder) if folder is not None else None, by)
        self._apps[app.id] = app
        return _app_view(app)

    async def change_app(
        self, ref: str, *, name: str | None = None, maintenance: bool | None = None, by: str
    ) -> AppView:
        """Rename the app, switch its maintenance mode, or both; None leaves it. Raises NotFoundError, DynodError."""
        app = self.find(ref)
        async with self.changing(app):
            if name is not None and name != app.name:
                await self._keeper_of(app).rename(app, name, by)
                app.journal.api(f"Rename to {name} by user {by}")
            if maintenance is not None and maintenance != app.maintenance:
                await self._keeper_of(app).set_maintenance(app, on=maintenance, by=by)
                app.journal.api(f"{'Enable' if maintenance else 'Disable'} maintenance mode by user {by}")
            return _app_view(app)

    def _keeper_of(self, app: RunningApp) -> AppHost:
        if self._host is None:
            raise InvalidError(f"This is dynod up, which runs {app.name} from its folder: dynod serve does this.")
        return self._host

    async def destroy_app(self, ref: str, *, by: str) -> AppView:
        """Stop every dyno of the app and forget it; its folder is left alone."""
        app = self.find(ref)
        if self._host is None:
            raise InvalidError("This is dynod up: stop it, and its app is gone.")
        async with self.changing(app):  # a change under way would start dynos of an app that is no more
            del self._apps[app.id]
            await self._host.destroy(app, by)
        return _app_view(app)

    # --- formation --------------------------------------------------------------------------------------------------

    def formation(self, ref: str) -> list[FormationView]:
        """Every process type of the app, also those without a dyno, by name."""
        app = self.find(ref)
        return [_formation_view(app, process_type) for process_type in sorted(app.commands)]

    async def scale(self, ref: str, updates: Sequence[FormationUpdate], *, by: str) -> list[FormationView]:
        """Change quantities and sizes, all or nothing; dynos that run are left alone, but for a change of size.

        Returns the process types that were named. Raises NotFoundError, InvalidError.
        """
        app = self.find(ref)
        async with self.changing(app):  # a relative quantity counts from what the change before has left
            return await self._scale(app, updates, by)

    async def _scale(self, app: RunningApp, updates: Sequence[FormationUpdate], by: str) -> list[FormationView]:
        try:
            plan = plan_scaling(updates, types=list(app.commands), quantities=app.supervisor.quantities)
        except ScalingRefusedError as error:
            if error.unknown_type:
                raise NotFoundError(str(error), "formation") from error
            raise InvalidError(str(error)) from error
        await app.keep(plan.quantities, plan.sizes, by)
        resized = {name for name, size in plan.sizes.items() if size is not app.sizes.get(name, UNSIZED)}
        app.sizes.update(plan.sizes)
        app.supervisor.scale(plan.quantities, f"scaled by {by}")
        app.formation_updated_at = _now()
        sizes = " ".join(
            f"{view.process_type}@{view.quantity}:{view.size.name}"
            for view in self.formation(app.name)
            if view.process_type != RELEASE
        )
        app.journal.api(f"Scaled to {sizes} by user {by}")
        if resized:
            names = [slot.name for slot in app.supervisor.slots if _type_of(slot) in resized]
            app.supervisor.restart_in_background(names, f"resized by {by}")
        return [_formation_view(app, name) for name in dict.fromkeys(update.process_type for update in updates)]

    # --- log ------------------------------------------------------------------------------------------------------

    def logs(self, ref: str) -> AppLogs:
        """The app's log and its drains. Raises NotFoundError."""
        return self.find(ref).logs

    # --- dynos ------------------------------------------------------------------------------------------------------

    def dynos(self, ref: str) -> list[DynoView]:
        """The dynos that there are, one-off ones included, by type and number."""
        app = self.find(ref)
        return [_dyno_view(app, slot) for slot in app.supervisor.slots]

    def dyno(self, ref: str, name: str) -> DynoView:
        """One dyno, by its name or id. Raises NotFoundError."""
        app = self.find(ref)
        return _dyno_view(app, self._slot(app, name))

    def run(self, ref: str, asked: OneOffRequest, *, by: str) -> DynoView:
        """Start a one-off dyno; one to attach to waits for its client. Raises NotFoundError, InvalidError."""
        app = self.find(ref)
        if not app.has_code:
            raise InvalidError(f"{app.name} has no code yet: deploy it first.")
        command = _expanded(asked.command, app.commands)
        slot, attachment = self._one_off(app, command, _one_off_size(app, asked), asked, by)
        slot.log.add(f"run by {by}")
        app.note("dyno.run", f"{slot.name}: {command}", by)
        return replace(_dyno_view(app, slot), secret=attachment.secret if attachment is not None else None)

    def enter(self, ref: str, dyno: str, asked: OneOffRequest, *, by: str) -> DynoView:
        """Run a command where a dyno runs, as a one-off dyno that ends with it. Raises NotFoundError, InvalidError."""
        app = self.find(ref)
        entered = self._slot(app, dyno)
        instance = entered.instance
        if instance is None or not instance.pid or instance.exit_code is not None:
            raise InvalidError(f"{entered.name} does not run: it is {entered.state}.")
        size = _dyno_view(app, entered).size
        slot, attachment = self._one_off(app, asked.command, size, asked, by, enters=instance.id)
        slot.log.add(f"run in {entered.name} by {by}")
        app.note("dyno.exec", f"{slot.name} in {entered.name}: {asked.command}", by)
        return replace(_dyno_view(app, slot), secret=attachment.secret if attachment is not None else None)

    def _one_off(
        self, app: RunningApp, command: str, size: DynoSize, asked: OneOffRequest, by: str, *, enters: str | None = None
    ) -> tuple[Slot, Attachment | None]:
        for name, value in asked.environment.items():
            if not name or "=" in name or "\0" in name + value:
                raise InvalidError(f"{name[:100]!r} cannot be the name of a variable, or its value holds a NUL.")
        if sum(slot.is_one_off for slot in app.supervisor.slots) >= MOST_ONE_OFFS:
            raise InvalidError(f"{MOST_ONE_OFFS} one-off dynos run already: stop some with `dynod ps:stop`.")
        app.journal.api(f"Starting process with command `{command}` by user {by}")
        now = asyncio.get_running_loop().time()
        return app.one_offs.start(
            OneOff(
                command=command,
                environment=asked.environment,
                attach=asked.attach,
                window=Window(*asked.window) if asked.window is not None else None,
                size=size.name,
                ends_at=None if asked.time_to_live_s is None else now + asked.time_to_live_s,
                enters=enters,
            )
        )

    def attachment(self, ref: str, dyno: str, secret: str) -> Attachment:
        """The other end of a dyno, for who knows its secret. Raises NotFoundError."""
        app = self.find(ref)
        given = secret.encode("utf-8", "surrogateescape")
        one_off = app.one_offs.attachment(dyno)
        slots = [slot for slot in app.supervisor.slots if slot.name == dyno]
        for found in [*([one_off] if one_off is not None else []), *(each for s in slots for each in s.attachments)]:
            if hmac.compare_digest(found.secret.encode(), given) and not found.is_over:
                return found
        raise NotFoundError("Couldn't find that session: its dyno has ended.", "dyno")

    def rendezvous(self, secret: str) -> Attachment | None:
        """The other end of the one-off dyno, of whichever app, that has this secret."""
        given = secret.encode("utf-8", "surrogateescape")
        found = [each for app in self._apps.values() for each in app.one_offs.attachments]
        return next((each for each in found if hmac.compare_digest(each.secret.encode(), given)), None)

    def put_on_terminal(self, ref: str, dyno: str, window: tuple[int, int], *, by: str) -> DynoView:
        """Restart a dyno of the formation on a terminal to attach to. Raises NotFoundError, InvalidError."""
        app = self.find(ref)
        slot = self._slot(app, dyno)
        if self._host is not None:
            raise InvalidError("Dynos have terminals in dynod up alone: use `dynod run` here.")
        if slot.is_one_off:
            raise InvalidError(f"{slot.name} is a one-off dyno, whose client is whoever has run it.")
        attachment = app.supervisor.put_on_terminal(slot, Window(*window), f"put on a terminal by {by}")
        return replace(_dyno_view(app, slot), secret=attachment.secret)

    def restart(self, ref: str, selector: str | None, *, by: str) -> None:
        """Restart one dyno (`web.1`), a process type (`web`) or all; one-off dynos only by name, and then they end.

        Web dynos are replaced one after the other without a gap. Returns at once. Raises NotFoundError.
        """
        app = self.find(ref)
        names = self._selected(app, selector)
        app.note("dyno.restart", " ".join(names), by)
        app.supervisor.restart_in_background(names, f"restarted by {by}")

    def stop(self, ref: str, selector: str, *, by: str) -> None:
        """Stop a one-off dyno (`run.12`, or all by `run`). A dyno of the formation comes back at once, as on Heroku."""
        app = self.find(ref)
        names = self._selected(app, selector)
        app.note("dyno.stop", " ".join(names), by)
        for name in names:
            slot = self._slot(app, name)
            if slot.is_one_off:
                slot.stop(f"stopped by {by}")
            else:
                app.supervisor.restart_in_background([name], f"stopped by {by}")

    def _selected(self, app: RunningApp, selector: str | None) -> list[str]:
        slots = app.supervisor.slots
        if selector is None:
            return [slot.name for slot in slots if not slot.is_one_off]
        if "." in selector or selector not in {*app.commands, *ONE_OFF}:
            return [self._slot(app, selector).name]
        return [slot.name for slot in slots if _type_of(slot) == selector]

    # --- for the resources that have a module of their own ----------------------------------------------------------

    @contextlib.asynccontextmanager
    async def changing(self, app: RunningApp) -> AsyncIterator[None]:
        """One change of an app at a time. Raises NotFoundError if the one before has destroyed it."""
        async with app.changing:
            if self._apps.get(app.id) is not app:
                raise NotFoundError("Couldn't find that app.", "app")
            yield

    def find(self, ref: str) -> RunningApp:
        """The app of this name or id. Raises NotFoundError."""
        if (by_id := self._apps.get(ref)) is not None:
            return by_id  # whoever goes through all apps asks so for each
        for app in self._apps.values():
            if app.name == ref:
                return app
        raise NotFoundError("Couldn't find that app.", "app")

    def _slot(self, app: RunningApp, ref: str) -> Slot:
        for slot in app.supervisor.slots:
            if ref in {slot.name, _dyno_id(app, slot)}:
                return slot
        raise NotFoundError(dyno_not_found(ref, [slot.name for slot in app.supervisor.slots]), "dyno")


def _expanded(command: str, commands: Mapping[str, str]) -> str:
    """Heroku: a first word that is a process type stands for its command. Raises InvalidError."""
    command = command.strip()
    if not command or "\0" in command:
        raise InvalidError("A command to run is needed.")
    first, *rest = command.split(maxsplit=1)
    return " ".join([commands.get(first, first), *rest])


def _one_off_size(app: RunningApp, asked: OneOffRequest) -> DynoSize:
    if asked.size is not None:
        size = size_named(asked.size)
        if size is None:
            raise InvalidError(no_such_size(asked.size))
        return size
    if asked.process_type is not None and asked.process_type not in {*app.commands, *ONE_OFF}:
        raise NotFoundError(not_found("process type", asked.process_type, sorted(app.commands)), "formation")
    return app.sizes.get(asked.process_type or "", UNSIZED)


def _app_view(app: RunningApp) -> AppView:
    return AppView(
        id=app.id,
        name=app.name,
        web_url=app.web_url,
        created_at=app.created_at,
        updated_at=max(app.updated_at or app.created_at, app.formation_updated_at),
        maintenance=app.maintenance,
    )


def _formation_view(app: RunningApp, process_type: str) -> FormationView:
    return FormationView(
        id=str(uuid.uuid5(uuid.UUID(app.id), process_type)),
        app=_app_view(app),
        process_type=process_type,
        command=app.commands[process_type],
        quantity=app.supervisor.quantities.get(process_type, 0),
        size=app.sizes.get(process_type, UNSIZED),
        created_at=app.created_at,
        updated_at=app.formation_updated_at,
    )


def _dyno_view(app: RunningApp, slot: Slot) -> DynoView:
    instance, releases = slot.instance, app.releases
    version = instance.release if instance is not None else slot.command.release
    return DynoView(
        id=_dyno_id(app, slot),
        app=_app_view(app),
        name=slot.name,
        process_type=_type_of(slot),
        command=slot.command.shown,
        state=slot.state,
        size=app.sizes.get(slot.name) or app.sizes.get(_type_of(slot), UNSIZED),
        release_version=version,
        release_id=releases.id_of(version) if releases is not None else None,
        current_release=releases.current.version if releases is not None and releases.current is not None else 0,
        latest_release=releases.latest_version if releases is not None else 0,
        created_at=_time(instance.started_at if instance is not None and instance.started_at else slot.since),
        updated_at=_time(slot.since),
        restarting=slot.awaits_restart,
        pid=instance.pid or None if instance is not None else None,
        port=instance.port if instance is not None else None,
        why=tuple(slot.log.history),
    )


def _dyno_id(app: RunningApp, slot: Slot) -> str:
    if slot.instance is not None:
        return slot.instance.id
    return str(uuid.uuid5(uuid.UUID(app.id), slot.name))


def _type_of(slot: Slot) -> str:
    return slot.name.rpartition(".")[0]


def _time(epoch_s: float) -> datetime:
    return datetime.fromtimestamp(epoch_s, UTC)


def _now() -> datetime:
    return datetime.now(UTC)
