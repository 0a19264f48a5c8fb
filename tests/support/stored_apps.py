"""Apps of a real store without anything that runs: for resources that are kept, and for what the API makes of them.

    with StoredApps(tmp_path) as apps:
        apps.server.ask("POST", "/apps/shop/domains", body={"hostname": "www.example.com"})
        assert apps.rerouted == [apps.id_of("shop")]

What would have been said in an app's log is in `said`, by app.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from dynod.account_keys import AccountKeys
from dynod.app_buildpacks import AppBuildpacks
from dynod.app_config import AppConfig
from dynod.app_domains import AppDomains
from dynod.app_features import AppFeatures
from dynod.app_git import AppGit
from dynod.app_releases import AppReleases, Live
from dynod.app_settings import AppSettings
from dynod.app_slugs import AppSlugs
from dynod.app_storage import AppStorage
from dynod.app_webhooks import AppWebhooks
from dynod.builds.archives import Archives, blob_key
from dynod.builds.repositories import Repositories
from dynod.core.archive_rules import Limits
from dynod.core.isolation import Isolation
from dynod.core.log_line import LogBatch
from dynod.core.release import Draft, Release
from dynod.core.slug import Slug
from dynod.daemon_backup import DaemonBackup
from dynod.kept_notes import to_note
from dynod.logs.kept_output import KeptOutput
from dynod.operations import Operations, RunningApp
from dynod.release_output import ReleaseOutput
from dynod.routing import Routing
from dynod.serve_plan import empty_plan
from dynod.settings import Settings
from dynod.store.apps import App
from dynod.store.audit import Actor, AuditEntry
from dynod.store.store import Store
from dynod.stored_resources import StoredResources
from support.api_server import ApiServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dynod.app_builds import AppBuilds
    from dynod.app_logs import AppLogs
    from dynod.process.one_off import OneOffs
    from dynod.process.placement import Placement
    from dynod.process.release_change import ChangeRules
    from dynod.process.supervisor import Supervisor
    from dynod.webhook_sender import WebhookSender

APPS_DOMAIN = "apps.example"
ME = Actor(name="me", origin="test")


class Said:
    """An app's journal."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def api(self, *messages: str) -> None:
        self.lines += messages

    def newest(self, count: int | None = None) -> tuple[LogBatch, ...]:
        del count
        return ()


class StoredApps:
    """`names`: the apps that there are. A second one over the same folder finds what the first has left."""

    def __init__(self, folder: Path, names: Sequence[str] = ("shop", "blog"), limits: Limits | None = None) -> None:
        self.store = Store.open(folder)
        self.said = {name: Said() for name in names}
        self.rerouted: list[str] = []
        self._apps = {name: asyncio.run(self._app(name)) for name in names}
        self.operations = Operations([self._running(app) for app in self._apps.values()])
        self.archives = Archives(folder, limits)
        self.slugs = AppSlugs(self.operations, self.store, self.archives)
        self.resources = StoredResources(
            storage=AppStorage(self.operations, self.store, level=Isolation.CONTAINER, refit=self._reroute),
            domains=AppDomains(self.operations, self.store, apps_domain=APPS_DOMAIN, reroute=self._reroute),
            features=AppFeatures(self.operations, self.store, refit=self._reroute),
            settings=AppSettings(self.operations, self.store, check=self._check, refit=self._reroute),
            buildpacks=AppBuildpacks(self.operations, self.store),
            slugs=self.slugs,
            builds=cast("AppBuilds", None),  # they make releases
            git=AppGit(self.operations, Repositories(folder), control=folder / "none"),
            keys=AccountKeys(self.operations, self.store),
            webhooks=AppWebhooks(self.operations, self.store, cast("WebhookSender", None)),
            backup=DaemonBackup(self.store, Archives(folder), settings=None),
            blob_key=blob_key(folder),
            config=AppConfig(self.operations, slugs=self.slugs, deploy=self._deploy),
        )
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.server = self._stack.enter_context(ApiServer(self.operations, stored=self.resources))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        self.store.close()

    def id_of(self, name: str) -> str:
        return self._apps[name].id

    def running(self, name: str) -> RunningApp:
        return self.operations.find(name)

    def trail(self, *, but: str = "app.") -> list[tuple[str, str]]:
        """Action and detail of the audit trail, oldest first, without those that begin with `but`."""

        async def look() -> tuple[AuditEntry, ...]:
            return await self.store.audit.newest()

        entries = reversed(asyncio.run(look()))
        return [(entry.action, entry.detail) for entry in entries if not entry.action.startswith(but)]

    async def _app(self, name: str) -> App:
        return await self.store.apps.find(name) or await self.store.apps.create(name, by=ME)

    async def _reroute(self, app_id: str) -> None:
        self.rerouted.append(app_id)

    def _check(self, rows: Mapping[str, str]) -> None:
        Routing.check(Settings().app_router(rows))

    def _running(self, app: App) -> RunningApp:
        async def keep(*_changes: object) -> None:
            raise NotImplementedError

        return RunningApp(
            id=app.id,
            name=app.name,
            web_url="",
            created_at=datetime(2020, 1, 1, tzinfo=UTC),
            supervisor=cast("Supervisor", None),  # nothing runs
            journal=self.said[app.name],
            commands={},
            sizes={},
            formation_updated_at=datetime(2020, 1, 1, tzinfo=UTC),
            keep=keep,
            logs=cast("AppLogs", None),
            one_offs=cast("OneOffs", None),
            releases=self._releases(app),
        )

    def _releases(self, app: App) -> AppReleases:
        """Those that there are. They are made, and stay pending: nothing takes them live."""

        def nothing(*_arguments: object) -> None:
            raise NotImplementedError

        return AppReleases(
            app.id,
            store=self.store.releases,
            supervisor=cast("Supervisor", None),
            placement=cast("Placement", None),
            journal=self.said[app.name],
            live=Live(
                commands=lambda _release: {},
                fetch=cast("Callable[[Release], Awaitable[None]]", nothing),
                rules=cast("Callable[[], ChangeRules]", nothing),
                gone_live=cast("Callable[[Release], Awaitable[None]]", nothing),
                clock=lambda: 0.0,
            ),
            output=ReleaseOutput(KeptOutput(self.store.path.parent / "release-output" / app.id)),
        )

    async def _deploy(self, slug: Slug, folder: Path, description: str, by: str) -> int:
        plan = empty_plan("", str(folder))
        releases = self.operations.find(slug.app_id).releases
        assert releases is not None
        draft = Draft(description=description, plan=to_note(plan), slug_id=slug.id, config={})
        made = await releases.make(lambda _base, _all: draft, by=Actor(name=by, origin="test"))
        assert made is not None
        return made.version

    def settle(self, name: str, version: int, *, failure: str | None = None) -> None:
        """The release is live now, or has failed."""

        async def work() -> None:
            releases = self.running(name).releases
            assert releases is not None
            await self.store.releases.settle(self.id_of(name), version, failure=failure)
            await releases.load()

        asyncio.run(work())

    def release(self, name: str, draft: Draft) -> int:
        """A new one, pending; its version."""

        async def work() -> int:
            releases = self.running(name).releases
            assert releases is not None
            made = await releases.make(lambda _base, _all: draft, by=ME)
            assert made is not None
            return made.version

        return asyncio.run(work())
