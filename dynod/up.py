"""`dynod up`: one app, from the keeper's snapshot to goodbye.

An exception that nobody expected ends the core at once and touches no dyno: the keeper starts the next core, which
takes over here with what the keeper kept. Dynos are stopped by one function alone, `_shut_down`.
"""

import asyncio
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dynod import own_share
from dynod.api_listener import ApiListener
from dynod.api_on_demand import ApiOnDemand
from dynod.app_figures import AppFigures, figures_of
from dynod.app_run import AppParts, RunningApps, attach_rules
from dynod.cli.up import UpOptions
from dynod.core.dyno import exit_status
from dynod.core.dyno_limits import limit_lacks
from dynod.core.dyno_sizes import SIZES, DynoSize
from dynod.core.formation import RELEASE
from dynod.core.histogram import LAG_BOUNDS_S, Histogram
from dynod.core.log_text import FullText, LogText
from dynod.core.losses import Losses
from dynod.core.page_urls import page_urls
from dynod.errors import AppFolderError, DynodError
from dynod.folder_claim import FolderClaim, runtime_folder
from dynod.happenings import AppReports, Happenings, MemoryEvents
from dynod.keeper.client import KeeperClient, Snapshot
from dynod.keeper.features import Features
from dynod.kept_notes import from_note, kept_secret, to_note
from dynod.kept_traffic import KeptTraffic
from dynod.listeners import listen, listen_near, url
from dynod.logs.stdout_sink import StdoutSink, local_text
from dynod.logs.write_mark import WriteMark
from dynod.metrics_listener import MetricsListener
from dynod.operations import Operations, RunningApp
from dynod.process.instance import Instance
from dynod.process.surroundings import Command
from dynod.routing import Routing
from dynod.settings import user_state_folder
from dynod.status_report import DaemonFacts, lacks
from dynod.stderr import say
from dynod.traffic_watch import TrafficWatch
from dynod.up_apart import UpApart
from dynod.up_drains import NOTE as KEPT_DRAINS
from dynod.up_drains import KeptDrains
from dynod.up_plan import PLAN, UpPlan
from dynod.up_tokens import NOTE as KEPT_TOKENS
from dynod.up_tokens import KeptTokens

if TYPE_CHECKING:
    from dynod.platform_api.server import PlatformApi


class KeptFormation(msgspec.Struct, frozen=True, kw_only=True):
    """Quantities and sizes as they are now."""

    quantities: dict[str, int]
    sizes: dict[str, str]
    updated_at: float  # seconds since the epoch


class Up:
    """Made anew by each core; `prepare`, then `run`."""

    def __init__(
        self, options: UpOptions, keeper: KeeperClient, snapshot: Snapshot, features: Features, plan: UpPlan
    ) -> None:
        self._options = options
        self._plan = plan
        self._keeper = keeper
        self._snapshot = snapshot
        self._features = features
        self._running: RunningApp | None = None
        self._resumes = PLAN in snapshot.stored  # an earlier core was here
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._losses = Losses(say)
        self._unlimited: list[str] = []  # what the kernel was asked for and does not limit
        self._hurry = asyncio.Event()
        self._lost = asyncio.Event()
        self._signals = 0
        self._status = 0

    # --- building ---------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Everything that can be refused, before anything is started. Raises DynodError, and leaves nothing behind."""
        self._api_listener = ApiListener(self._options.api, insecure=self._options.insecure_api, keeper=self._keeper)
        self._metrics_listener = MetricsListener(
            self._options.metrics, token_file=self._options.metrics_token_file, keeper=self._keeper
        )
        if self._resumes:
            self._resume()
        else:
            self._begin()
        try:
            self._apart = self._kept_apart()
        except DynodError:
            if not self._resumes:
                self._claim.release()
            raise
        kept = self._snapshot.stored.get("formation")
        self._formation = (
            from_note(kept, KeptFormation)
            if kept is not None
            else KeptFormation(quantities=self._plan.quantities, sizes={}, updated_at=self._plan.started_at)
        )
        # No slow start: dynos of one folder are alike, and a reload should show the balancing from the first request.
        # H12 is only reported unless --strict: a breakpoint is not a timeout.
        own = {"enforce_first_byte": self._options.strict, "slow_start_s": 0.0}
        settings = self._plan.settings
        self._secret = kept_secret(self._snapshot.stored, self._keeper.put)
        pages = page_urls(self._plan.config_vars)
        self._routing = Routing({**own, **settings.router, **pages, **settings.app_router()}, secret=self._secret)

    def _kept_apart(self) -> UpApart:
        if not self._options.strict:
            return UpApart.loosely(self._plan.folder)
        try:
            return UpApart.strictly(self._plan.folder, self._plan.settings.container, os.environ)
        except OSError as error:
            raise AppFolderError(f"--strict: {error.filename}: {error.strerror}") from error

    def _begin(self) -> None:
        folder = Path(self._plan.folder)
        self._claim = FolderClaim.take(folder, runtime_folder(os.environ), app=self._plan.app, pid=os.getppid())
        try:
            self._listeners = self._listen()
            self._api_listener.prepare({}, resumes=False)
            self._metrics_listener.prepare({}, {}, resumes=False)
        except DynodError:
            self._claim.release()
            raise
        self._keeper.put(PLAN, to_note(self._plan))
        self._keeper.hold("claim", self._claim.fds)
        self._keeper.hold("router", [listener.fileno() for listener in self._listeners])

    def _resume(self) -> None:
        folder = Path(self._plan.folder)
        self._claim = FolderClaim.resume(folder, runtime_folder(os.environ), self._snapshot.held["claim"])
        self._listeners = [socket.socket(fileno=fd) for fd in self._snapshot.held.get("router", ())]
        self._api_listener.prepare(self._snapshot.held, resumes=True)
        self._metrics_listener.prepare(self._snapshot.held, self._snapshot.stored, resumes=True)

    def _listen(self) -> list[socket.socket]:
        if not self._plan.has_web:
            return []
        if self._options.listen is not None:
            return listen(self._options.listen)
        return listen_near(self._plan.default_port)

    def _sink(self, on_room: Callable[[], None]) -> StdoutSink:
        held = self._snapshot.held.get("stdout")
        mark = WriteMark(held[0]) if held else WriteMark()
        was_cut = mark.is_set if held else self._resumes
        mark.clear()
        if not held:
            self._keeper.hold("stdout", [mark.fd])
        return StdoutSink(
            self._loop,
            text=self._text(),
            on_room=on_room,
            on_closed=lambda _error: self._end(0),  # nobody reads any more, as with `dynod up | head`
            mark=mark,
            ends_broken_line=was_cut,
            stall_s=self._plan.settings.logs.stall_s,
            limit=self._plan.settings.logs.buffer_bytes,
        )

    def _text(self) -> LogText:
        if not os.isatty(1):
            forced = bool(os.environ.get("FORCE_COLOR")) and self._options.colour is not False
            return local_text(colour=True, full=True) if forced else FullText()
        if self._options.timestamps:
            return local_text(colour=self._wants_colour(), full=True)
        longest = max(len(f"heroku[{name}.{n}]:") for name, n in {**self._plan.quantities, "router": 1}.items())
        return local_text(colour=self._wants_colour(), name_width=longest)

    def _wants_colour(self) -> bool:
        if self._options.colour is not None:
            return self._options.colour
        if os.environ.get("FORCE_COLOR"):
            return True
        return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    # --- running ----------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Until dynod is told to end, or a dyno's exit ends it; returns dynod's exit status."""
        async with asyncio.TaskGroup() as group:
            self._apps = RunningApps(
                self._keeper,
                self._snapshot,
                self._features,
                group,
                self._plan.settings.dynos.starts_at_once,
                containers=self._apart.containers,
                write_mb=self._plan.settings.container.write_mb,
            )
            living = [adopted.instance.id for adopted in self._snapshot.adopted]
            await asyncio.to_thread(self._apart.sweep, living)
            most_mb = self._plan.settings.dynos.total_memory_mb
            memory = own_share.memory().total
            confined = self._apps.confine(memory, most_mb=most_mb) if self._options.strict else None
            events = MemoryEvents()
            happenings = Happenings(
                keep=events.keep,
                apps=self._figures,
                name_of=lambda _id: self._plan.app,
                state=None,
                lose=self._losses.lose,
            )
            self._reports = AppReports(happenings, self._app_id)
            watching = group.create_task(happenings.run(), name="happenings")
            traffic = self._routing.add_app(self._plan.app, default=True)
            drains = KeptDrains(self._snapshot.stored.get(KEPT_DRAINS), self._keeper.put)
            self._app = self._apps.add(
                AppParts(
                    id=self._plan.app,
                    name=self._plan.app,
                    commands={name: self._command(name) for name in self._plan.commands},
                    traffic=traffic,
                    sink=self._sink,
                    drains=drains.keeper,
                    exited=self._exited,
                    sizes={name: SIZES[size] for name, size in self._formation.sizes.items()},
                    one_off=self._one_off,
                    attach=attach_rules(self._plan.settings),
                    enforce=self._options.strict,
                    history_lines=self._plan.settings.logs.history_lines,
                    names_open_binds=True,
                    reports=self._reports,
                )
            )
            self._app.set_runtime_metrics(on=self._plan.settings.logs_runtime_metrics())
            hides = self._plan.settings.masks_config_vars()
            self._not_hidden = self._app.logs.set_mask(self._plan.config_vars if hides else None)
            self._app.logs.start(tuple(drains.records))
            boots = group.create_task(self._apps.boots.run(), name="boot-watch")
            lost = group.create_task(self._end_without_keeper(), name="keeper-lost")
            traffic.lines, traffic.says = self._app.stream.router_lines, self._app.stream.platform
            if self._listeners:
                await self._routing.start(self._listeners)
            self._running = running = self._running_app()
            lacking = [*lacks(self._features, groups=bool(self._snapshot.groups)), *self._apart.lacks]
            operations = Operations([running])
            history = TrafficWatch(
                operations,
                lambda app: self._routing.traffic_of(app.name),
                clock=self._loop.time,
                notes=KeptTraffic(self._snapshot.stored, self._keeper.put),
            )
            graphs = group.create_task(history.run(), name="traffic-watch")
            api = ApiOnDemand(self._claim.control, lambda: self._make_api(operations, lacking, events, history))
            asked = group.create_task(api.run(), name="api-on-demand")
            await self._api_listener.start(api)
            await self._measure()
            adopted = self._apps.adopt(self._app)
            self._apps.listen(signalled=self._signalled, lost=self._lost.set)
            if confined is not None:
                await confined
                container = self._apart.container
                own_users = container is not None and container.user is not None
                self._unlimited = limit_lacks(
                    self._apps.controllers, own_users=own_users, apart=self._apart.containers is not None
                )
                lacking += self._unlimited
            if (noted := self._snapshot.stored.get("ending")) is not None:
                self._end(int(noted))
            for number in self._snapshot.signals:
                self._signalled(number)
            self._apps.end_left_checks()
            self._keeper.ready()
            if not self._resumes:
                self._greet()
            if await self._released(adopted):
                self._start_slots(adopted)
            watch = self._watch(group) if self._options.watch else None
            await self._ending.wait()
            if watch is not None:
                watch.cancel()
            await self._shut_down()
            asked.cancel()
            await api.close()
            await asyncio.to_thread(self._apart.close)
            self._claim.release()
            boots.cancel()
            lost.cancel()
            watching.cancel()
            graphs.cancel()
        return self._status

    def _watch(self, group: asyncio.TaskGroup) -> asyncio.Task[None]:
        from dynod.folder_watch import watch_folder  # noqa: PLC0415 (a native library, for those who asked for it)

        supervisor = self._app.supervisor

        def restart(types: list[str], why: str) -> None:
            names = [slot.name for slot in supervisor.slots if slot.name.rpartition(".")[0] in types]
            supervisor.restart_in_background(names, why)

        commands = {name: self._plan.commands[name] for name in self._formation.quantities}
        return group.create_task(watch_folder(Path(self._plan.folder), commands, restart), name="watch")

    def _command(self, process_type: str) -> Command:
        return self._plan.command(process_type, strict=self._options.strict, container=self._apart.container)

    def _one_off(self, command: str, environment: Mapping[str, str]) -> Command:
        return self._plan.one_off(command, environment, container=self._apart.container)

    @property
    def _app_id(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, Path(self._plan.folder).as_uri()))

    def _running_app(self) -> RunningApp:
        formation = self._formation
        return RunningApp(
            id=self._app_id,
            name=self._plan.app,
            web_url=f"{url(self._listeners)}/" if self._listeners else "",
            created_at=datetime.fromtimestamp(self._plan.started_at, UTC),
            supervisor=self._app.supervisor,
            journal=self._app.stream,
            commands=self._plan.commands,
            sizes=self._app.sizes,
            formation_updated_at=datetime.fromtimestamp(formation.updated_at, UTC),
            one_offs=self._app.one_offs,
            keep=self._keep_formation,
            logs=self._app.logs,
            usage=self._app.latest_usage,
            note=self._reports.note,
        )

    def _figures(self) -> list[AppFigures]:
        return [figures_of(self._running, now=self._loop.time())] if self._running is not None else []

    async def _measure(self) -> None:
        """Answer Prometheus, where that was asked for."""
        if self._metrics_listener.url is None:
            return
        from dynod.metrics import DaemonMetrics, MetricSources  # noqa: PLC0415 (15 ms, for those who asked for it)

        lag = Histogram(LAG_BOUNDS_S)
        self._keeper.beat_late = lag.observe
        sources = MetricSources(
            verb="up",
            apps=self._figures,
            router=self._routing.metrics,
            lag=lag,
            keeper_pid=os.getppid(),
            lost=lambda: self._losses.counts,
        )
        await self._metrics_listener.start(DaemonMetrics(sources), self._figures)

    def _make_api(
        self, operations: Operations, lacking: Sequence[str], events: MemoryEvents, history: TrafficWatch
    ) -> "PlatformApi":
        from dynod.access import Access  # noqa: PLC0415 (imported for whoever asks; see api_on_demand)
        from dynod.local_ca import LocalAuthority  # noqa: PLC0415 (as above)
        from dynod.platform_api.server import PlatformApi  # noqa: PLC0415 (as above)
        from dynod.platform_api.tcp_door import OverTcp  # noqa: PLC0415 (as above)

        return PlatformApi(
            operations,
            facts=DaemonFacts(
                verb="up",
                listeners=[url([each]) for each in self._listeners],
                api=self._api_listener.url,
                control=str(self._claim.control.getsockname()),
                state="",
                lacks=lacking,
                refused=lambda: 0,
            ),
            over_tcp=OverTcp(
                access=Access(KeptTokens(self._snapshot.stored.get(KEPT_TOKENS), self._keeper.put)),
                authority=LocalAuthority(user_state_folder(os.environ) / "up-ca"),
                open=self._api_listener.open,
                names=self._api_listener.names,
            ),
            secret=self._secret,
            events=events,
            traffic=lambda app: self._routing.traffic_of(app.name),
            histories=history.of,
            lose=self._losses.lose,
        )

    async def _keep_formation(self, quantities: Mapping[str, int], sizes: Mapping[str, DynoSize], by: str) -> None:
        """What `ps:scale` asked for lasts as long as this `dynod up`, over a crash of the core too."""
        changed = [f"{name}={count}" for name, count in quantities.items()]
        changed += [f"{name}:{size.name}" for name, size in sizes.items()]
        self._reports.note("formation.set", " ".join(changed), by)
        self._formation = KeptFormation(
            quantities={**self._formation.quantities, **quantities},
            sizes={**self._formation.sizes, **{name: size.name for name, size in sizes.items()}},
            updated_at=time.time(),
        )
        self._keeper.put("formation", to_note(self._formation))

    def _greet(self) -> None:
        for lack in (*self._apart.lacks, *self._unlimited):
            say(lack)
        if self._listeners:
            say(f"listening on {url(self._listeners)}")
        if self._api_listener.url is not None:
            say(f"API on {self._api_listener.url}")
        if self._metrics_listener.url is not None:
            say(f"metrics on {self._metrics_listener.url}/metrics")
        if RELEASE in self._plan.commands and not self._options.release:
            say(f"release is not run, --release runs it first: {self._plan.commands[RELEASE]}")
        if self._not_hidden:
            say(f"not hidden in the log, for being short: the values of {', '.join(self._not_hidden)}")

    async def _released(self, adopted: Mapping[str, list[Instance]]) -> bool:
        """Run the release process first, if asked to. False: it failed, and `up` ends with its status."""
        noted = self._snapshot.stored.get("release")
        if not self._options.release or RELEASE not in self._plan.commands or noted == "done":
            return True
        name = noted or self._app.supervisor.one_off_name(RELEASE)
        self._keeper.put("release", name)

        def done(code: int) -> None:
            if code == 0:
                self._keeper.put("release", "done")

        code = await self._app.supervisor.run_once(
            name,
            self._command(RELEASE),
            done=done,
            note=self._apps.slot_notes(self._app).get(name),
            instances=adopted.get(name, []),
        )
        if code != 0 and not self._ending.is_set():
            say(f"the release process failed with status {exit_status(code)}: nothing was started")
            self._end(exit_status(code))
        return code == 0

    def _start_slots(self, adopted: Mapping[str, list[Instance]]) -> None:
        """Bring the formation to life, each slot where an earlier core left it."""
        supervisor = self._app.supervisor
        for name, note in self._apps.slot_notes(self._app).items():
            if name.partition(".")[0] in self._formation.quantities:
                supervisor.restore(name, note, adopted.get(name, []))
        if self._resumes or not self._ending.is_set():
            supervisor.scale(self._formation.quantities, "dynod up")
            supervisor.resume_restarts()
        if self._ending.is_set():
            supervisor.stop_slots("dynod ends")  # a stop that was asked for while no core lived

    # --- ending -----------------------------------------------------------------------------------------------------

    def _exited(self, name: str, exit_code: int) -> None:
        if self._options.stop_on_exit and not self._ending.is_set():
            say(f"{name} exited with status {exit_status(exit_code)}: stopping (--on-exit stop)")
            self._end(exit_status(exit_code))
            for slot in self._app.supervisor.slots:
                if slot.name == name:
                    slot.stop("--on-exit stop")  # now: requests in flight may take a while, and it would start again

    def _signalled(self, number: int) -> None:
        """The first signal ends in order, a second one at once, and shows in the exit status."""
        self._signals += 1
        if self._signals == 1 and not self._ending.is_set():
            name = signal.Signals(number).name
            text = f"{name}: stopping (once more kills what is still running)"
            say(text, fresh_line=number == signal.SIGINT)
            self._end(0)
        elif self._signals == 1:
            say(f"{signal.Signals(number).name}: stopping already (once more kills what is still running)")
        else:
            self._status = 128 + number
            self._hurry.set()
            self._apps.hasten()

    def _end(self, status: int) -> None:
        if not self._ending.is_set():
            self._status = status
            self._ending.set()
            self._keeper.put("ending", str(status))
            self._apps.stop_one_offs("dynod ends")

    async def _shut_down(self) -> None:
        """Requests in flight, then every process of every dyno, then the last lines, then every file."""
        self._api_listener.close()
        self._routing.stop_accepting()
        self._keeper.release("router")
        for listener in self._listeners:
            listener.close()  # the last one, so that a client is refused, and not left waiting in the backlog
        await self._routing.drain(self._hurry)
        await self._apps.stop(self._hurry, "dynod ends", between=self._routing.shutdown)
        await self._metrics_listener.close()

    async def _end_without_keeper(self) -> None:
        await self._lost.wait()
        say("the keeper was killed: ending every dyno")
        await self._apps.kill_without_keeper()
        await asyncio.to_thread(self._apart.close)
        self._claim.release()
        os._exit(128 + signal.SIGKILL)  # nobody waits for a status, and nothing else is left to put in order
