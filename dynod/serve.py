"""`dynod serve`: every app of this machine, from the store and the keeper's snapshot to goodbye.

As in `up`, an unexpected exception ends the core and touches no dyno, and dynos are stopped by `_shut_down` alone.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from dynod import own_share
from dynod.access import Access
from dynod.account_keys import AccountKeys
from dynod.api_listener import ApiListener
from dynod.app_buildpacks import AppBuildpacks
from dynod.app_builds import AppBuilds
from dynod.app_config import AppConfig
from dynod.app_domains import AppDomains
from dynod.app_features import AppFeatures
from dynod.app_figures import AppFigures, figures_of
from dynod.app_git import AppGit
from dynod.app_run import CoreEvents, RunningApps
from dynod.app_settings import AppSettings
from dynod.app_slugs import AppSlugs
from dynod.app_storage import AppStorage
from dynod.app_webhooks import AppWebhooks
from dynod.build_output import BuildOutput
from dynod.builds.archives import Archives, blob_key
from dynod.builds.repositories import Repositories
from dynod.cli.serve import ServeOptions
from dynod.core.app_features import SESSION_AFFINITY
from dynod.core.dyno_limits import limit_lacks
from dynod.core.histogram import LAG_BOUNDS_S, Histogram
from dynod.core.losses import Losses
from dynod.core.nftables import table_of
from dynod.core.service_notice import serving, stopping
from dynod.core.slug import Slug
from dynod.daemon_backup import DaemonBackup
from dynod.errors import DynodError
from dynod.firewall import Firewall
from dynod.folder_claim import runtime_folder
from dynod.happenings import Happenings
from dynod.installed import core_program, other_version
from dynod.journal import open_journal
from dynod.keeper.client import KeeperClient, Snapshot
from dynod.keeper.features import Features
from dynod.kept_notes import from_note, kept_secret, to_note
from dynod.kept_traffic import KeptTraffic
from dynod.kept_troubles import KeptIncidents, KeptMessages
from dynod.listeners import url
from dynod.local_ca import LocalAuthority
from dynod.metrics_listener import MetricsListener
from dynod.one_build import BuildTools
from dynod.operations import Operations, RunningApp
from dynod.platform_api.server import PlatformApi
from dynod.platform_api.tcp_door import OverTcp
from dynod.process.container import DYNOS, sweep
from dynod.restore import is_held
from dynod.retired_cores import RetiredCores
from dynod.retirement import Retirement
from dynod.routing import DRAIN_S, Routing
from dynod.serve_containers import keep_apart
from dynod.serve_listeners import CONTROL, ROUTER, SOCKET_UNIT, control_listener, resumed, router_listeners
from dynod.serve_plan import make_serve_plan
from dynod.serve_reload import Reload
from dynod.serve_settings import SETTINGS, read_settings
from dynod.served_app import Premises, ServedApp, remove_left_logs
from dynod.settings import SYSTEM_STATE, Settings, settings_file, state_folder
from dynod.status_report import DaemonFacts, lacks
from dynod.stderr import say
from dynod.store.apps import App
from dynod.store.audit import actor
from dynod.store.store import Store, rehearse
from dynod.stored_events import StoredEvents
from dynod.stored_resources import StoredResources
from dynod.traffic_watch import TrafficWatch
from dynod.webhook_sender import WebhookSender

HTTP_PORT: Final = 80  # which no URL has to name
SYSTEM_SOCKET: Final = Path("/run/dynod/dynod.sock")
AUTHORITY: Final = "ca"  # of the state folder: what vouches for the API's TLS on loopback


class Serve:
    """Made anew by each core; `prepare`, then `run`. Also the host that `Operations` asks for new apps."""

    def __init__(
        self,
        options: ServeOptions,
        keeper: KeeperClient,
        snapshot: Snapshot,
        features: Features,
        settings: Settings,
    ) -> None:
        self._options = options
        self._settings = settings
        self._keeper = keeper
        self._snapshot = snapshot
        self._features = features
        self._resumes = SETTINGS in snapshot.stored
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._hurry = asyncio.Event()
        self._lost = asyncio.Event()
        self._handing_over = False
        self._retirement: Retirement | None = None
        self._losses = Losses(say)
        self._retired_cores = RetiredCores(
            keeper.pass_on, snapshot.peers, generation=snapshot.generation, lose=self._losses.lose
        )
        self._signals = 0
        self._status = 0

    def prepare(self) -> None:
        """Everything that can be refused, before anything is started. Raises DynodError."""
        self._secret = kept_secret(self._snapshot.stored, self._keeper.put)
        # Which refuses knobs it does not know.
        self._routing = Routing(self._settings.router, secret=self._secret, elsewhere=self._retired_cores)
        self._state = state_folder(self._settings, os.environ)
        self._store = Store.open(self._state)
        self._held = is_held(self._state, start=self._options.start)
        self._firewall = Firewall(table_of(os.fspath(self._state.absolute()), usual=os.fspath(SYSTEM_STATE)))
        try:
            file = settings_file(self._options.config, os.environ)
            self._kept_apart = keep_apart(self._settings.container, self._state, settings=file)
            self._take_sockets(self._snapshot.held)
        except DynodError:
            self._store.close()
            raise
        serve = self._settings.serve
        self._api_listener = ApiListener(serve.api, insecure=serve.insecure_api, keeper=self._keeper)
        token_file = Path(serve.metrics_token_file) if serve.metrics_token_file else None
        self._metrics_listener = MetricsListener(serve.metrics, token_file=token_file, keeper=self._keeper)
        try:
            self._api_listener.prepare(self._snapshot.held, resumes=self._resumes)
            self._metrics_listener.prepare(self._snapshot.held, self._snapshot.stored, resumes=self._resumes)
        except DynodError:
            self._store.close()
            if not self._resumes:
                self._control_path().unlink(missing_ok=True)
            raise
        if not self._resumes:
            self._keeper.put(SETTINGS, to_note(self._settings))

    def _take_sockets(self, held: Mapping[str, Sequence[int]]) -> None:
        if self._resumes:
            self._listeners = resumed(held)
            self._control = socket.socket(fileno=held[CONTROL][0])
            return
        self._listeners, by_systemd = router_listeners(held, self._settings.serve.listen)
        self._control = control_listener(held, self._control_path())
        if by_systemd:
            self._keeper.release(ROUTER)
        else:
            self._keeper.hold(ROUTER, [listener.fileno() for listener in self._listeners])
        self._keeper.hold(CONTROL, [self._control.fileno()])

    def _control_path(self) -> Path:
        if self._settings.serve.socket:
            return Path(self._settings.serve.socket).absolute()
        return SYSTEM_SOCKET if os.geteuid() == 0 else runtime_folder(os.environ) / SYSTEM_SOCKET.name

    # --- running ----------------------------------------------------------------------------------------------------

    async def run(self) -> int | None:
        """Until dynod is told to end; returns its exit status. None: another core is in charge now."""
        retirement = Retirement(self._routing, self._keeper.pass_on)
        try:
            await self._run()
        except* _HandedOverError:
            self._retirement = retirement
        if self._retirement is not None:
            await self._retire(retirement)
            return None
        self._store.close()
        return self._status

    async def _run(self) -> None:
        async with contextlib.AsyncExitStack() as left, asyncio.TaskGroup() as group:
            journal = open_journal(os.environ, self._losses.lose)
            if journal is not None:
                left.callback(journal.close)
            containers = self._kept_apart.containers
            self._apps = RunningApps(
                self._keeper,
                self._snapshot,
                self._features,
                group,
                self._settings.dynos.starts_at_once,
                containers=containers,
                write_mb=self._settings.container.write_mb,
            )
            if containers is not None:
                left.callback(containers.close)
            living = [adopted.instance.id for adopted in self._snapshot.adopted]
            await asyncio.to_thread(sweep, self._state / DYNOS, living)
            confined = self._apps.confine(own_share.memory().total, most_mb=self._settings.dynos.total_memory_mb)
            self._group = group
            self._served: dict[str, ServedApp] = {}
            self._operations = Operations([], host=self)
            events = StoredEvents(self._store)
            self._webhooks = WebhookSender(
                group,
                name_of=self._app_name,
                random=random.random,
                notes=KeptMessages(self._snapshot.stored, self._keeper.put),
                lose=self._losses.lose,
            )
            self._webhooks.know(await self._store.webhooks.all())  # before a dyno is found to have crashed meanwhile
            self._happenings = Happenings(
                keep=events.keep,
                apps=self._figures,
                name_of=self._app_name,
                state=self._state,
                tell=self._webhooks.tell,
                roomy=self._store.set_room_aside,
                notes=KeptIncidents(self._snapshot.stored, self._keeper.put),
                lose=self._losses.lose,
            )
            open_ports = await self._close_dyno_ports()
            archives = Archives(self._state)
            self._slugs = AppSlugs(self._operations, self._store, archives)
            self._premises = Premises(
                settings=self._settings,
                store=self._store,
                keeper=self._keeper,
                apps=self._apps,
                routing=self._routing,
                state=self._state,
                happenings=self._happenings,
                web_url=self._web_url,
                code=self._slugs.folder_of_id,
                journal=journal,
                user=self._kept_apart.user,
                gives_code=self._kept_apart.gives_code,
                names_open_binds=open_ports is not None,
            )
            boots = group.create_task(self._apps.boots.run(), name="boot-watch")
            lost = group.create_task(self._end_without_keeper(), name="keeper-lost")
            self._reload = Reload(
                self._keeper,
                self._snapshot.stored,
                read=self._read_again,
                current=lambda: self._settings,
                apply=self._go_by,
                other_version=other_version,
                upgrade=lambda there: self._keeper.replace(core_program(there)),
            )
            reloads = group.create_task(self._reload.run(), name="reload")
            for app in await self._store.apps.all():
                served = await self._serve(app)
                await served.resume(group, fresh=not self._resumes, held=self._held)
                self._operations.add(served.running)
            watching = group.create_task(self._happenings.run(), name="happenings")  # whose apps have names by now
            self._git = AppGit(self._operations, Repositories(self._state), control=self._control_path())
            self._builds = self._make_builds(archives, group)
            await self._builds.resume(self._snapshot.stored, adopt=self._apps.adopt_builds)
            await self._slugs.sweep()
            await asyncio.to_thread(remove_left_logs, self._state, list(self._served))
            self._choose_default_app()
            await self._routing.start(self._listeners)  # only now: a known host must not be answered 404
            lacking = [*lacks(self._features, groups=bool(self._snapshot.groups)), *self._kept_apart.lacks]
            lacking += [open_ports] if open_ports is not None else []
            stored = self._stored_resources()
            traffic = TrafficWatch(
                self._operations,
                lambda app: self._routing.traffic_of(app.id),
                clock=asyncio.get_running_loop().time,
                notes=KeptTraffic(self._snapshot.stored, self._keeper.put),
            )
            graphs = group.create_task(traffic.run(), name="traffic-watch")
            api = PlatformApi(
                self._operations,
                facts=DaemonFacts(
                    verb="serve",
                    listeners=[url([each]) for each in self._listeners],
                    api=self._api_listener.url,
                    control=os.fspath(self._control_path()),
                    state=os.fspath(self._state),
                    lacks=lacking,
                    held=self._held,
                    refused=lambda: self._store.refused,
                ),
                stored=stored,
                events=events,
                secret=self._secret,
                traffic=lambda app: self._routing.traffic_of(app.id),
                histories=traffic.of,
                lose=self._losses.lose,
                over_tcp=OverTcp(
                    access=Access(self._store.tokens),
                    authority=LocalAuthority(self._state / AUTHORITY),
                    open=self._api_listener.open,
                    calls_an_hour=self._settings.serve.api_calls_per_hour,
                    names=self._api_listener.names,
                ),
            )
            await api.start([self._control])
            await self._api_listener.start(api)
            await self._measure()
            cores = CoreEvents(hand_over=self._asked_to_hand_over, passed=self._passed, gone=self._retired_cores.gone)
            self._apps.listen(signalled=self._signalled, lost=self._keeper_lost, cores=cores)
            self._retired_cores.begin(self._routing.apps)
            await confined
            unlimited = limit_lacks(
                self._apps.controllers, own_users=self._kept_apart.user is not None, apart=containers is not None
            )
            lacking += unlimited
            for number in self._snapshot.signals:
                self._signalled(number)
            self._apps.end_left_checks()
            self._keeper.ready()
            self._reload.begin()
            self._keeper.notify(serving(len(self._served)))
            if not self._resumes and self._held:
                say("restored from a backup: no dyno starts until dynod serve --start")
            if not self._resumes:
                for lack in (*self._kept_apart.says, *unlimited, open_ports):
                    if lack is not None:
                        say(lack)
                say(f"listening on {url(self._listeners)}" if self._listeners else "listening nowhere")
                if self._api_listener.url is not None:
                    say(f"API on {self._api_listener.url}")
                if self._metrics_listener.url is not None:
                    say(f"metrics on {self._metrics_listener.url}/metrics")
                say(f"control socket {self._control_path()}")
            await self._ending.wait()
            if self._handing_over:
                await self._hand_over(api)
            await self._shut_down()
            await api.close()
            self._control.close()
            self._control_path().unlink(missing_ok=True)
            boots.cancel()
            lost.cancel()
            watching.cancel()
            await self._happenings.write()
            reloads.cancel()
            graphs.cancel()
            await self._webhooks.close()

    def _make_builds(self, archives: Archives, group: asyncio.TaskGroup) -> AppBuilds:
        output = BuildOutput(self._state / "builds")
        tools = BuildTools(
            state=self._state,
            store=self._store,
            slugs=self._slugs,
            archives=archives,
            output=output,
            processes=self._apps.add_builds(output.publish),
            builds=self._settings.builds,
            deploy=self._deploy,
            web_url=lambda app_id: self._operations.app(app_id).web_url,
            apart=self._kept_apart.builds,
            number=self._store.users.number,
            put=self._keeper.put,
        )
        return AppBuilds(self._operations, tools, group=group)

    async def _close_dyno_ports(self) -> str | None:
        """To other machines, where that is wanted; why it could not be done."""
        if not self._settings.serve.close_dyno_ports:
            if not self._resumes:
                await self._firewall.forget()
            return None
        serve = self._settings.serve
        addresses = [listener.getsockname() for listener in self._listeners]
        asked = [each.port for each in (serve.api, serve.metrics) if each is not None]
        return await self._firewall.close(but=[*asked, *(each[1] for each in addresses)])

    async def _serve(self, app: App) -> ServedApp:
        served = self._served[app.id] = await ServedApp.make(app, self._premises)
        await self.reroute(app.id)
        return served

    def _read_again(self) -> Settings:
        settings = read_settings(self._options)
        Routing.check(settings.router)
        return settings

    async def _go_by(self, settings: Settings) -> None:
        """Other settings, from now on and over crashes; of apps that run, too."""
        self._routing.go_by(settings.router)
        self._settings = self._premises.settings = settings
        self._keeper.put(SETTINGS, to_note(settings))
        await self._close_dyno_ports()  # others may have flushed every table meanwhile
        for id_, served in list(self._served.items()):
            async with served.running.changing:
                if id_ in self._served:
                    served.running.web_url = self._web_url(served.run.name)
                    await self.refit(id_)
        self._choose_default_app()

    async def reroute(self, app_id: str) -> None:
        """Let the router know by which hosts an app is reached now, and by which settings of its own."""
        app = await self._store.apps.find(app_id)
        if app is None:
            return  # destroyed meanwhile
        knobs = await self._store.settings.of(app.id)
        domains = await self._store.domains.of(app.id)
        self._served[app.id].traffic.reached_by(
            hosts=[f"{app.name}.{self._settings.serve.apps_domain}", *(domain.hostname for domain in domains)],
            usual=self._settings.router,
            own={
                **self._settings.app_router(knobs),
                **({"session_affinity": True} if SESSION_AFFINITY in await self._store.features.on(app.id) else {}),
            },
        )

    async def refit(self, app_id: str) -> None:
        """Bring what the store now says of an app, its features and settings, to whatever it is about."""
        await self.reroute(app_id)
        await self._served[app_id].refit()

    def _check_knobs(self, rows: Mapping[str, str]) -> None:
        Routing.check({**self._settings.router, **self._settings.app_router(rows)})

    async def _deploy(self, slug: Slug, folder: Path, description: str, by: str) -> int:
        release = await self._served[slug.app_id].deploy(slug, folder, description, by=actor(by))
        return release.version

    def _stored_resources(self) -> StoredResources:
        operations, store = self._operations, self._store
        return StoredResources(
            domains=AppDomains(operations, store, apps_domain=self._settings.serve.apps_domain, reroute=self.reroute),
            config=AppConfig(operations, slugs=self._slugs, deploy=self._deploy),
            features=AppFeatures(operations, store, refit=self.refit),
            settings=AppSettings(operations, store, check=self._check_knobs, refit=self.refit),
            storage=AppStorage(operations, store, level=self._kept_apart.level, refit=self.refit),
            buildpacks=AppBuildpacks(operations, store),
            slugs=self._slugs,
            builds=self._builds,
            git=self._git,
            keys=AccountKeys(operations, store),
            backup=DaemonBackup(store, Archives(self._state), settings=settings_file(self._options.config, os.environ)),
            webhooks=AppWebhooks(operations, store, self._webhooks),
            blob_key=blob_key(self._state),
        )

    def _app_name(self, app_id: str) -> str | None:
        return self._served[app_id].run.name if app_id in self._served else None

    def _figures(self) -> list[AppFigures]:
        return [figures_of(served.running, now=self._loop.time()) for served in self._served.values()]

    async def _measure(self) -> None:
        """Answer Prometheus, where that was asked for."""
        if self._metrics_listener.url is None:
            return
        from dynod.metrics import DaemonMetrics, MetricSources, StoredCounts  # noqa: PLC0415 (15 ms, where asked for)

        async def stored() -> StoredCounts:
            store = self._store
            return StoredCounts(releases=await store.releases.counts(), builds=await store.builds.counts())

        lag = Histogram(LAG_BOUNDS_S)
        self._keeper.beat_late = lag.observe
        sources = MetricSources(
            verb="serve",
            apps=self._figures,
            router=self._routing.metrics,
            lag=lag,
            keeper_pid=os.getppid(),
            lost=lambda: self._losses.counts,
            state=self._state,
            stored=stored,
        )
        await self._metrics_listener.start(DaemonMetrics(sources), self._figures)

    def _web_url(self, app: str) -> str:
        """A URL that works: by name where the listeners are, on loopback."""
        if not self._listeners:
            return ""
        port = self._listeners[0].getsockname()[1]
        where = "" if port == HTTP_PORT else f":{port}"
        return f"http://{app}.{self._settings.serve.apps_domain}{where}/"

    def _choose_default_app(self) -> None:
        """Contracts 4: `default_app`, which unset means the only app."""
        ids = {served.run.name: id_ for id_, served in self._served.items()}
        named = self._settings.serve.default_app
        only = next(iter(ids.values())) if len(ids) == 1 else None
        self._routing.set_default_app(ids.get(named) if named else only)

    # --- what Operations asks (AppHost) -----------------------------------------------------------------------------

    async def create(self, name: str, folder: Path | None, by: str) -> RunningApp:
        """A new app from a folder: web dynos 1, all others 0, unless its app.json says otherwise (Heroku)."""
        plan = make_serve_plan(name, folder) if folder is not None else None
        who = actor(by)
        app = await self._store.apps.create(name, by=who, folder=Path(plan.folder) if plan is not None else None)
        served = await self._serve(app)
        await served.begin(plan, self._group, by=who)
        self._choose_default_app()
        self._keeper.notify(serving(len(self._served)))
        return served.running

    async def rename(self, app: RunningApp, name: str, by: str) -> None:
        """Another name, and with it another host; nothing restarts. What dynos were told stays until they do."""
        stored = await self._store.apps.rename(app.id, name, by=actor(by))
        app.name, app.updated_at, app.web_url = name, stored.updated_at, self._web_url(name)
        self._served[app.id].run.rename(name)
        await self.reroute(app.id)
        self._choose_default_app()

    async def set_maintenance(self, app: RunningApp, *, on: bool, by: str) -> None:
        """H80 from now on, or no more; dynos run on."""
        stored = await self._store.apps.set_maintenance(app.id, on=on, by=actor(by))
        app.maintenance, app.updated_at = on, stored.updated_at
        self._served[app.id].traffic.maintenance(on=on)

    async def destroy(self, app: RunningApp, by: str) -> None:
        """Stop every dyno, then forget the app. Its folder is left alone."""
        await self._builds.end_those_of(app.id)
        await self._served.pop(app.id).destroy(self._hurry, by)
        self._happenings.gone(app.id)
        self._webhooks.know(await self._store.webhooks.all())
        await self._git.forget(app.id)
        await self._builds.sweep()
        await self._slugs.sweep()
        self._choose_default_app()
        self._keeper.notify(serving(len(self._served)))

    # --- another core takes over ------------------------------------------------------------------------------------

    def _asked_to_hand_over(self) -> None:
        if not self._ending.is_set():  # else dynod ends, and the other with it
            self._handing_over = True
            self._ending.set()

    def _passed(self, pid: int, text: str) -> None:
        if self._retirement is not None:
            self._retirement.passed(text)
        else:
            self._retired_cores.passed(pid, text)

    async def _hand_over(self, api: PlatformApi) -> None:
        """Answer what was asked, then raise _HandedOverError, which ends every task: as after a crash, the next core
        goes on where they were.
        """
        self._apps.let_go_of_terminals()
        await api.close()  # what is asked from now on waits in the backlog; tails come again
        await self._metrics_listener.hand_over()
        self._keeper.heed_cores_alone()
        self._retired_cores.forget()
        raise _HandedOverError

    async def _retire(self, retirement: Retirement) -> None:
        """Let go of everything but connections of clients. Requests are taken until nothing else is left to do."""
        retirement.begin()
        await self._apps.hand_over()
        await self._happenings.write()
        self._store.close()
        within_s = self._settings.serve.upgrade_drain_s
        self._routing.stop_accepting()
        self._keeper.handed_over(within_s)
        seeing_out = asyncio.ensure_future(retirement.see_out(within_s))
        lost = asyncio.ensure_future(self._lost.wait())
        await asyncio.wait({seeing_out, lost}, return_when=asyncio.FIRST_COMPLETED)
        lost.cancel()
        if seeing_out.done():
            await seeing_out

    # --- ending -----------------------------------------------------------------------------------------------------

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._reload.ask()
            return
        self._signals += 1
        if self._signals == 1:
            say(f"{signal.Signals(number).name}: stopping (once more kills what is still running)")
            self._ending.set()
        else:
            self._status = 128 + number
            self._hurry.set()
            self._apps.hasten()

    async def _shut_down(self) -> None:
        self._keeper.notify(stopping(DRAIN_S, self._apps.longest_grace_s))
        await self._builds.close()
        for served in self._served.values():
            await served.releases.close()
        self._api_listener.close()
        self._routing.stop_accepting()
        for name in (SOCKET_UNIT, ROUTER):
            self._keeper.release(name)
        for listener in self._listeners:
            listener.close()  # the last one, so that a client is refused, and not left waiting in the backlog
        await self._routing.drain(self._hurry)
        await self._apps.stop(self._hurry, "dynod ends", between=self._routing.shutdown)
        await self._metrics_listener.close()
        await self._firewall.open()

    def _keeper_lost(self) -> None:
        """At once: whoever comes now waits for the next dynod, where systemd has the sockets; dynos are dying here."""
        self._routing.stop_accepting()
        self._lost.set()

    async def _end_without_keeper(self) -> None:
        """Under systemd the unit's cgroup ends everything; without it, this does (contracts 1)."""
        await self._lost.wait()
        say("the keeper was killed: ending every dyno")
        await self._apps.kill_without_keeper()
        self._control_path().unlink(missing_ok=True)
        await self._firewall.open()
        os._exit(128 + signal.SIGKILL)


class _HandedOverError(Exception):
    """Another core is in charge: the tasks of this one end, and touch nothing."""


def rehearse_start(options: ServeOptions, stored: Mapping[str, str]) -> None:
    """What a core can try beside the one in charge, which has the store. Raises DynodError, or whatever goes wrong."""
    settings = read_settings(options)
    Routing.check(settings.router)
    kept = from_note(stored[SETTINGS], Settings)
    rehearse(state_folder(kept, os.environ))
