"""What may be asked of a daemon: Heroku's API and dynod's own, a method each. How it is asked is requests.py's."""

import socket
from collections.abc import Iterator, Mapping
from typing import Final, cast

from dynod.core import git_push
from dynod.core.attach_frame import UPGRADE
from dynod.platform_api.requests import Requests, path_of
from dynod.platform_api.schema import (
    Account,
    App,
    Authorization,
    Build,
    BuildpackInstallation,
    DashboardCode,
    Domain,
    DrainTest,
    Dyno,
    DynoSize,
    EventEntry,
    Feature,
    Formation,
    HerokuEnvironment,
    Key,
    LogDrain,
    LogSession,
    Release,
    Source,
    Stats,
    Status,
    StorageEntry,
    WebhookDelivery,
    WebhookEntry,
)

STOP_TIMEOUT_S: Final = 900.0  # an app's last dyno may take its whole grace, which is the app's to choose


class ApiClient(Requests):
    """One daemon."""

    def apps(self) -> list[App]:
        """Every app of the daemon."""
        return cast("list[App]", self.all_of("/apps"))

    def app(self, app: str) -> App:
        """One app."""
        return cast("App", self.send("GET", path_of("apps", app)))

    def create_app(self, name: str | None, folder: str | None) -> App:
        """A new app, which runs from a folder of the daemon's machine, or waits for its code. None: a made up name."""
        body = {"name": name, "dynod": {"folder": folder} if folder is not None else None}
        return cast("App", self.send("POST", "/apps", body))

    def change_app(self, app: str, *, name: str | None = None, maintenance: bool | None = None) -> App:
        """Rename an app, or switch its maintenance mode."""
        return cast("App", self.send("PATCH", path_of("apps", app), {"name": name, "maintenance": maintenance}))

    def destroy_app(self, app: str) -> App:
        """Stop the app and forget it; returns when its last dyno has ended."""
        return cast("App", self.exchange("DELETE", path_of("apps", app), {}, None, timeout_s=STOP_TIMEOUT_S)[0])

    def formation(self, app: str) -> list[Formation]:
        """Every process type."""
        return cast("list[Formation]", self.all_of(path_of("apps", app, "formation")))

    def scale(self, app: str, updates: list[dict[str, str]]) -> list[Formation]:
        """Change quantities (`"2"`, `"+1"`, `"-1"`) and sizes of process types, all or none."""
        return cast("list[Formation]", self.send("PATCH", path_of("apps", app, "formation"), {"updates": updates}))

    def dynos(self, app: str) -> list[Dyno]:
        """Every dyno."""
        return cast("list[Dyno]", self.all_of(path_of("apps", app, "dynos")))

    def dyno(self, app: str, name: str) -> Dyno:
        """One dyno."""
        return cast("Dyno", self.send("GET", path_of("apps", app, "dynos", name)))

    def run_dyno(
        self,
        app: str,
        command: str,
        *,
        environment: Mapping[str, str],
        attach: bool,
        terminal: bool,
        size: str | None = None,
        process_type: str | None = None,
        time_to_live_s: int | None = None,
    ) -> Dyno:
        """Run a command in a one-off dyno; with `attach` it begins when `attach` has been called with its address."""
        body = {
            "attach": attach,
            "command": command,
            "env": dict(environment),
            "force_no_tty": None if terminal else True,
            "size": size,
            "type": process_type,
            "time_to_live": time_to_live_s,
        }
        return cast("Dyno", self.send("POST", path_of("apps", app, "dynos"), body))

    def enter_dyno(
        self, app: str, dyno: str, command: str | None, *, environment: Mapping[str, str], terminal: bool
    ) -> Dyno:
        """Run a command, a shell by default, where a dyno runs; it begins when `attach` is called with its address."""
        body = {"command": command, "env": dict(environment), "force_no_tty": None if terminal else True}
        return cast("Dyno", self.send("POST", f"{path_of('apps', app, 'dynos', dyno)}/actions/exec", body))

    def put_on_terminal(self, app: str, dyno: str, window: tuple[int, int] | None) -> Dyno:
        """Have a dyno restarted on a terminal, to `attach` to. `window`: rows, columns."""
        body = {} if window is None else {"rows": window[0], "columns": window[1]}
        return cast("Dyno", self.send("POST", f"{path_of('apps', app, 'dynos', dyno)}/actions/attach", body))

    def attach(self, url: str, window: tuple[int, int] | None) -> tuple[socket.socket, bytes]:
        """A session with a dyno, on a connection of its own: that, and what has come already. `window`: rows, columns.

        Raises NoDaemonError, ApiError.
        """
        size = f"Window-Size: {window[0]}x{window[1]}\r\n" if window is not None else ""
        return self.upgrade(url.removeprefix("unix:"), UPGRADE, size)

    def git(self, app: str, service: str) -> tuple[socket.socket, bytes]:
        """A connection on which that service of git talks about an app, and what it has said already.

        Raises NoDaemonError, ApiError.
        """
        return self.upgrade(path_of("apps", app, "git", service), git_push.UPGRADE)

    def sizes(self) -> list[DynoSize]:
        """Every dyno size."""
        return cast("list[DynoSize]", self.all_of("/dyno-sizes"))

    def restart(self, app: str, *, process_type: str | None = None, dyno: str | None = None) -> None:
        """Restart all dynos, those of a type, or one."""
        self.send("DELETE", _dynos_path(app, process_type, dyno))

    def stop(self, app: str, *, process_type: str | None = None, dyno: str | None = None) -> None:
        """Stop the dynos of a type, or one."""
        self.send("POST", f"{_dynos_path(app, process_type, dyno)}/actions/stop")

    def log_drains(self, app: str) -> list[LogDrain]:
        """Every log drain."""
        return cast("list[LogDrain]", self.all_of(path_of("apps", app, "log-drains")))

    def log_drain(self, app: str, drain: str) -> LogDrain:
        """One log drain, by id, token or URL."""
        return cast("LogDrain", self.send("GET", path_of("apps", app, "log-drains", drain)))

    def add_log_drain(self, app: str, url: str) -> LogDrain:
        """Send the app's log there too."""
        return cast("LogDrain", self.send("POST", path_of("apps", app, "log-drains"), {"url": url}))

    def remove_log_drain(self, app: str, drain: str) -> LogDrain:
        """Send it there no more."""
        return cast("LogDrain", self.send("DELETE", path_of("apps", app, "log-drains", drain)))

    def test_log_drain(self, app: str, drain: str) -> DrainTest:
        """Send one message there."""
        return cast("DrainTest", self.send("POST", f"{path_of('apps', app, 'log-drains', drain)}/actions/test"))

    def domains(self, app: str) -> list[Domain]:
        """The app's own name, and every domain."""
        return cast("list[Domain]", self.all_of(path_of("apps", app, "domains")))

    def add_domain(self, app: str, hostname: str) -> Domain:
        """Lead a host name to the app."""
        return cast("Domain", self.send("POST", path_of("apps", app, "domains"), {"hostname": hostname}))

    def remove_domain(self, app: str, domain: str) -> Domain:
        """Lead it there no more. By name or id."""
        return cast("Domain", self.send("DELETE", path_of("apps", app, "domains", domain)))

    def storage(self, app: str) -> list[StorageEntry]:
        """Folders that outlive its dynos."""
        return cast("list[StorageEntry]", self.all_of(path_of("apps", app, "storage")))

    def mount_storage(self, app: str, mount: str) -> StorageEntry:
        """NAME:/path."""
        return cast("StorageEntry", self.send("POST", path_of("apps", app, "storage"), {"mount": mount}))

    def unmount_storage(self, app: str, name: str) -> StorageEntry:
        """By name or path."""
        return cast("StorageEntry", self.send("DELETE", path_of("apps", app, "storage", name)))

    def features(self, app: str) -> list[Feature]:
        """Every feature, on or off."""
        return cast("list[Feature]", self.all_of(path_of("apps", app, "features")))

    def feature(self, app: str, name: str) -> Feature:
        """One feature."""
        return cast("Feature", self.send("GET", path_of("apps", app, "features", name)))

    def switch_feature(self, app: str, name: str, *, on: bool) -> Feature:
        """Switch it on or off."""
        return cast("Feature", self.send("PATCH", path_of("apps", app, "features", name), {"enabled": on}))

    def settings(self, app: str) -> dict[str, str]:
        """What is set: `[TYPE.]KEY` → value."""
        return cast("dict[str, str]", self.send("GET", path_of("apps", app, "settings")))

    def change_settings(self, app: str, changes: Mapping[str, str | None]) -> dict[str, str]:
        """Set and, by None, unset; what is set then."""
        return cast("dict[str, str]", self.send("PATCH", path_of("apps", app, "settings"), dict(changes)))

    def buildpacks(self, app: str) -> list[BuildpackInstallation]:
        """The buildpacks, in their order."""
        return cast("list[BuildpackInstallation]", self.all_of(path_of("apps", app, "buildpack-installations")))

    def replace_buildpacks(self, app: str, urls: list[str]) -> list[BuildpackInstallation]:
        """These and no others."""
        body = {"updates": [{"buildpack": url} for url in urls]}
        return cast(
            "list[BuildpackInstallation]", self.send("PUT", path_of("apps", app, "buildpack-installations"), body)
        )

    def log_lines(self, app: str, wanted: Mapping[str, object]) -> Iterator[bytes]:
        """The app's log, in pieces as they come. `wanted`: the members of a log session.

        Raises ApiError; with the code `cut_short` where there would have been more.
        """
        yield from self.stream(self.log_session(app, wanted))

    def log_session(self, app: str, wanted: Mapping[str, object]) -> str:
        """The address of such a log, to be read by `stream`. Raises ApiError."""
        body = {name: value for name, value in wanted.items() if value is not None}
        return cast("LogSession", self.send("POST", path_of("apps", app, "log-sessions"), body))["logplex_url"]

    def backup(self, *, storage: bool = False) -> Iterator[bytes]:
        """Everything that has to be kept, in pieces as they come. Raises ApiError, also where it is cut short."""
        yield from self.stream(f"/dynod/backup{'?storage=1' if storage else ''}")

    def events(self, app: str | None, *, after: int | None = None, limit: int = 100) -> list[EventEntry]:
        """The causal history of an app, None: of all, oldest first; after that id, else the newest."""
        path = path_of("apps", app, "events") if app is not None else "/dynod/events"
        query = f"?limit={limit}" + (f"&after={after}" if after is not None else "")
        return cast("list[EventEntry]", self.send("GET", path + query))

    def webhooks(self, app: str) -> list[WebhookEntry]:
        """Who is told when something goes wrong."""
        return cast("list[WebhookEntry]", self.all_of(path_of("apps", app, "webhooks")))

    def add_webhook(
        self, app: str, *, url: str, include: list[str], level: str, secret: str | None, authorization: str | None
    ) -> tuple[WebhookEntry, str]:
        """A new one, and the secret that signs its messages."""
        body = {"url": url, "include": include, "level": level, "secret": secret, "authorization": authorization}
        document, headers = self.exchange("POST", path_of("apps", app, "webhooks"), {}, body)
        return cast("WebhookEntry", document), headers.get("Heroku-Webhook-Secret")

    def remove_webhook(self, app: str, webhook: str) -> WebhookEntry:
        """Tell it nothing more."""
        return cast("WebhookEntry", self.send("DELETE", path_of("apps", app, "webhooks", webhook)))

    def webhook_deliveries(self, app: str) -> list[WebhookDelivery]:
        """The last messages, and what became of them."""
        return cast("list[WebhookDelivery]", self.all_of(path_of("apps", app, "webhook-deliveries")))

    def stats(self, app: str) -> Stats:
        """The app in figures."""
        return cast("Stats", self.send("GET", path_of("apps", app, "stats")))

    def all_stats(self) -> list[Stats]:
        """Every app in figures."""
        return cast("dict[str, list[Stats]]", self.send("GET", "/dynod/stats"))["apps"]

    def status(self) -> Status:
        """How the daemon does."""
        return cast("Status", self.send("GET", "/dynod/status"))

    def create_source(self, app: str) -> Source:
        """Where to upload a source, and what to name it by."""
        return cast("Source", self.send("POST", path_of("apps", app, "sources")))

    def builds(self, app: str) -> list[Build]:
        """Every build."""
        return cast("list[Build]", self.all_of(path_of("apps", app, "builds")))

    def build(self, app: str, build: str) -> Build:
        """One build."""
        return cast("Build", self.send("GET", path_of("apps", app, "builds", build)))

    def create_build(self, app: str, url: str, version: str | None) -> Build:
        """Build the source at this address; returns once that has begun."""
        body = {"source_blob": {"url": url, "version": version}}
        return cast("Build", self.send("POST", path_of("apps", app, "builds"), body))

    def rebuild(self, app: str) -> Build:
        """Build what the app runs from its kept source; returns once that has begun."""
        return cast("Build", self.send("POST", f"{path_of('apps', app, 'builds')}/actions/rebuild"))

    def config_vars(self, app: str, release: str | None = None) -> dict[str, str]:
        """Names and values, of the newest release or of another one."""
        of_release = ("releases", release) if release is not None else ()
        return cast("dict[str, str]", self.send("GET", path_of("apps", app, *of_release, "config-vars")))

    def change_config_vars(
        self, app: str, changes: Mapping[str, str | None], *, replace: bool = False
    ) -> tuple[dict[str, str], str | None]:
        """Set these, unset those that are None, and with `replace` all others.

        All that there are then, and the version of the release that was made: None where nothing has changed.
        """
        path = path_of("apps", app, "config-vars")
        config, headers = self.exchange("PUT" if replace else "PATCH", path, {}, dict(changes))
        return cast("dict[str, str]", config), headers.get("Dynod-Release") or None

    def purge_config_var(self, app: str, name: str) -> int:
        """Empty the value that old releases have; in how many it was."""
        done = self.send("POST", f"{path_of('apps', app, 'config-vars', name)}/actions/purge")
        return cast("dict[str, int]", done)["releases"]

    def releases(self, app: str) -> list[Release]:
        """Every release, oldest first."""
        return cast("list[Release]", self.all_of(path_of("apps", app, "releases")))

    def newest_releases(self, app: str, count: int) -> list[Release]:
        """So many, newest first."""
        headers = {"Range": f"version ..; order=desc,max={count}"}
        return cast("list[Release]", self.exchange("GET", path_of("apps", app, "releases"), headers, None)[0])

    def release(self, app: str, release: str) -> Release:
        """One, by version or id, or the `current` one."""
        return cast("Release", self.send("GET", path_of("apps", app, "releases", release)))

    def roll_back(self, app: str, release: str, *, code_only: bool) -> Release:
        """The release that goes back to that one."""
        body = {"release": release, "dynod": {"code_only": code_only}}
        return cast("Release", self.send("POST", path_of("apps", app, "releases"), body))

    def account(self) -> Account:
        """Who asks."""
        return cast("Account", self.send("GET", "/account"))

    def authorizations(self) -> list[Authorization]:
        """Every token of the API."""
        return cast("list[Authorization]", self.all_of("/oauth/authorizations"))

    def create_authorization(self, *, scope: str | None, app: str | None, description: str) -> Authorization:
        """A new token; the only answer that has the token itself."""
        body = {"scope": [scope] if scope is not None else None, "description": description, "dynod": {"app": app}}
        return cast("Authorization", self.send("POST", "/oauth/authorizations", body))

    def revoke_authorization(self, authorization: str) -> Authorization:
        """It opens nothing any more."""
        return cast("Authorization", self.send("DELETE", path_of("oauth", "authorizations", authorization)))

    def keys(self, *, everybodys: bool) -> list[Key]:
        """The keys of ssh of whoever asks, or of all users."""
        return cast("list[Key]", self.all_of("/dynod/keys" if everybodys else "/account/keys"))

    def add_key(self, text: str, *, user: str | None, scope: str, app: str | None) -> Key:
        """Let in whoever has it."""
        body = {"public_key": text, "dynod": {"user": user, "scope": scope, "app": app}}
        return cast("Key", self.send("POST", "/account/keys", body))

    def remove_key(self, key: str) -> Key:
        """It opens nothing any more."""
        return cast("Key", self.send("DELETE", path_of("account", "keys", key)))

    def heroku_environment(self, client: str) -> HerokuEnvironment:
        """An address and a token for Heroku's own command line; `client` has one token at a time."""
        return cast("HerokuEnvironment", self.send("POST", "/dynod/heroku-environment", {"client": client}))

    def open_dashboard(self, *, uid: int | None = None) -> DashboardCode:
        """Where the dashboard is, and what opens it once, for a browser of this user's or, as root, of another's."""
        body = {"uid": uid} if uid is not None else {}
        return cast("DashboardCode", self.send("POST", "/dynod/dashboard/codes", body))


def _dynos_path(app: str, process_type: str | None, dyno: str | None) -> str:
    if dyno is not None:
        return path_of("apps", app, "dynos", dyno)
    if process_type is not None:
        return path_of("apps", app, "formations", process_type)
    return path_of("apps", app, "dynos")
