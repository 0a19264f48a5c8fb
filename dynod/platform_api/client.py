"""The client of dynod's own verbs: Heroku's API over the control socket. Standard library only, fast to import.

The socket is one of this machine, or of another one, which `over_ssh` reaches.

A request that changes nothing is sent once more where the connection is cut: the core may have been replaced, and the
keeper holds the socket meanwhile. One that changes something is not: whether it was done is then unknown, and said so.
"""

import contextlib
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn, cast
from urllib.parse import quote, urlsplit, urlunsplit

from dynod.core import git_push
from dynod.core.attach_frame import UPGRADE
from dynod.errors import DynodError
from dynod.platform_api.finding import START_ONE, Daemon, NoDaemonError
from dynod.platform_api.http_connection import BrokenAnswerError, Fields, HttpConnection, UnixConnection, read_answer
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

if TYPE_CHECKING:  # imported where it is needed: it starts processes and threads
    from dynod.platform_api.over_ssh import Said

ACCEPT: Final = "application/vnd.heroku+json; version=3"
TIMEOUT_S: Final = 30.0  # everything that takes longer is answered as begun
STOP_TIMEOUT_S: Final = 900.0  # an app's last dyno may take its whole grace, which is the app's to choose
UPLOAD_TIMEOUT_S: Final = 120.0  # between two steps of an upload; at its end the daemon writes all of it to disk
WHOLE_PAGE: Final = 1000
LONGEST_REFUSAL: Final = 65_536  # bytes to read at once
FIRST_REFUSAL: Final = 400  # status
CUT_SHORT: Final = "cut_short"  # of an ApiError: an answer began, or was under way, and did not come whole
STREAM_BYTES: Final = 64 * 1024


class ApiError(DynodError):
    """The daemon has refused: `code` is the id of Heroku's table, `status` that of HTTP."""

    def __init__(self, message: str, *, code: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class _Speaking(UnixConnection):
    """A connection on which all is asked on behalf of somebody else."""

    def __init__(self, path: str, timeout_s: float, somebody: Mapping[str, str]) -> None:
        super().__init__(path, timeout_s)
        self._somebody = somebody

    def _introduce(self, opening: socket.socket) -> None:
        """Nothing else is asked before the daemon has agreed. Raises OSError, ApiError."""
        body = json.dumps(dict(self._somebody)).encode()
        opening.sendall(
            f"POST /dynod/on-behalf HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        with opening.makefile("rb") as file:
            answer = read_answer(file)
            _understood(answer.status, answer.read())


class ApiClient:
    """One daemon. Opens a connection when it is first needed, and keeps it."""

    def __init__(
        self, daemon: Daemon, *, timeout_s: float = TIMEOUT_S, on_behalf: Mapping[str, str] | None = None
    ) -> None:
        """`on_behalf`: all is asked for somebody else (`/dynod/on-behalf`), over the control socket of this machine."""
        self.daemon = daemon
        self._on_behalf = on_behalf
        self._said: Said | None = None
        self._connection = self._new_connection(timeout_s)
        self._session: HttpConnection | None = None  # the newest that `attach` has opened

    def close(self) -> None:
        """Let go of the connections."""
        self._connection.close()
        if self._session is not None:
            self._session.close()

    def open_socket(self) -> socket.socket:
        """A connection of its own, for whoever talks the API by other means. Raises NoDaemonError, ApiError."""
        return self._opened(self._unix_connection(TIMEOUT_S))

    # --- the resources ----------------------------------------------------------------------------------------------

    def apps(self) -> list[App]:
        """Every app of the daemon."""
        return cast("list[App]", self._list("/apps"))

    def app(self, app: str) -> App:
        """One app."""
        return cast("App", self._send("GET", _path("apps", app)))

    def create_app(self, name: str | None, folder: str | None) -> App:
        """A new app, which runs from a folder of the daemon's machine, or waits for its code. None: a made up name."""
        body = {"name": name, "dynod": {"folder": folder} if folder is not None else None}
        return cast("App", self._send("POST", "/apps", body))

    def change_app(self, app: str, *, name: str | None = None, maintenance: bool | None = None) -> App:
        """Rename an app, or switch its maintenance mode."""
        return cast("App", self._send("PATCH", _path("apps", app), {"name": name, "maintenance": maintenance}))

    def destroy_app(self, app: str) -> App:
        """Stop the app and forget it; returns when its last dyno has ended."""
        return cast("App", self._exchange("DELETE", _path("apps", app), {}, None, timeout_s=STOP_TIMEOUT_S)[0])

    def formation(self, app: str) -> list[Formation]:
        """Every process type."""
        return cast("list[Formation]", self._list(_path("apps", app, "formation")))

    def scale(self, app: str, updates: list[dict[str, str]]) -> list[Formation]:
        """Change quantities (`"2"`, `"+1"`, `"-1"`) and sizes of process types, all or none."""
        return cast("list[Formation]", self._send("PATCH", _path("apps", app, "formation"), {"updates": updates}))

    def dynos(self, app: str) -> list[Dyno]:
        """Every dyno."""
        return cast("list[Dyno]", self._list(_path("apps", app, "dynos")))

    def dyno(self, app: str, name: str) -> Dyno:
        """One dyno."""
        return cast("Dyno", self._send("GET", _path("apps", app, "dynos", name)))

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
        return cast("Dyno", self._send("POST", _path("apps", app, "dynos"), body))

    def enter_dyno(
        self, app: str, dyno: str, command: str | None, *, environment: Mapping[str, str], terminal: bool
    ) -> Dyno:
        """Run a command, a shell by default, where a dyno runs; it begins when `attach` is called with its address."""
        body = {"command": command, "env": dict(environment), "force_no_tty": None if terminal else True}
        return cast("Dyno", self._send("POST", f"{_path('apps', app, 'dynos', dyno)}/actions/exec", body))

    def put_on_terminal(self, app: str, dyno: str, window: tuple[int, int] | None) -> Dyno:
        """Have a dyno restarted on a terminal, to `attach` to. `window`: rows, columns."""
        body = {} if window is None else {"rows": window[0], "columns": window[1]}
        return cast("Dyno", self._send("POST", f"{_path('apps', app, 'dynos', dyno)}/actions/attach", body))

    def attach(self, url: str, window: tuple[int, int] | None) -> tuple[socket.socket, bytes]:
        """A session with a dyno, on a connection of its own: that, and what has come already. `window`: rows, columns.

        Raises NoDaemonError, ApiError.
        """
        size = f"Window-Size: {window[0]}x{window[1]}\r\n" if window is not None else ""
        return self._upgrade(url.removeprefix("unix:"), UPGRADE, size)

    def git(self, app: str, service: str) -> tuple[socket.socket, bytes]:
        """A connection on which that service of git talks about an app, and what it has said already.

        Raises NoDaemonError, ApiError.
        """
        return self._upgrade(_path("apps", app, "git", service), git_push.UPGRADE)

    def _upgrade(self, path: str, protocol: str, more: str = "") -> tuple[socket.socket, bytes]:
        """A connection of its own, switched to another protocol. `more`: fields of the head, each with its end."""
        if self._session is not None:
            self._session.close()
        self._session = opening = self._new_connection(TIMEOUT_S)
        connection = self._opened(opening)
        try:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
                f"Upgrade: {protocol}\r\n{more}\r\n".encode("ascii")
            )
            head, rest = _head(connection)
            if head.startswith(b"HTTP/1.1 101 "):
                connection.settimeout(None)
                return connection, rest
            while not _is_whole(rest) and (data := connection.recv(LONGEST_REFUSAL)):
                rest += data
            _refuse_session(int(head.split(b" ", 2)[1]), rest)
        except TimeoutError as error:
            connection.close()
            raise NoDaemonError(f"dynod does not answer on {self.daemon.socket} ({TIMEOUT_S:.0f} s)") from error
        except (OSError, ValueError, IndexError) as error:
            connection.close()
            raise ApiError("the connection was cut before the session began", code=CUT_SHORT, status=0) from error
        except BaseException:
            connection.close()
            raise

    def sizes(self) -> list[DynoSize]:
        """Every dyno size."""
        return cast("list[DynoSize]", self._list("/dyno-sizes"))

    def restart(self, app: str, *, process_type: str | None = None, dyno: str | None = None) -> None:
        """Restart all dynos, those of a type, or one."""
        self._send("DELETE", _dynos_path(app, process_type, dyno))

    def stop(self, app: str, *, process_type: str | None = None, dyno: str | None = None) -> None:
        """Stop the dynos of a type, or one."""
        self._send("POST", f"{_dynos_path(app, process_type, dyno)}/actions/stop")

    def log_drains(self, app: str) -> list[LogDrain]:
        """Every log drain."""
        return cast("list[LogDrain]", self._list(_path("apps", app, "log-drains")))

    def log_drain(self, app: str, drain: str) -> LogDrain:
        """One log drain, by id, token or URL."""
        return cast("LogDrain", self._send("GET", _path("apps", app, "log-drains", drain)))

    def add_log_drain(self, app: str, url: str) -> LogDrain:
        """Send the app's log there too."""
        return cast("LogDrain", self._send("POST", _path("apps", app, "log-drains"), {"url": url}))

    def remove_log_drain(self, app: str, drain: str) -> LogDrain:
        """Send it there no more."""
        return cast("LogDrain", self._send("DELETE", _path("apps", app, "log-drains", drain)))

    def test_log_drain(self, app: str, drain: str) -> DrainTest:
        """Send one message there."""
        return cast("DrainTest", self._send("POST", f"{_path('apps', app, 'log-drains', drain)}/actions/test"))

    def domains(self, app: str) -> list[Domain]:
        """The app's own name, and every domain."""
        return cast("list[Domain]", self._list(_path("apps", app, "domains")))

    def add_domain(self, app: str, hostname: str) -> Domain:
        """Lead a host name to the app."""
        return cast("Domain", self._send("POST", _path("apps", app, "domains"), {"hostname": hostname}))

    def remove_domain(self, app: str, domain: str) -> Domain:
        """Lead it there no more. By name or id."""
        return cast("Domain", self._send("DELETE", _path("apps", app, "domains", domain)))

    def storage(self, app: str) -> list[StorageEntry]:
        """Folders that outlive its dynos."""
        return cast("list[StorageEntry]", self._list(_path("apps", app, "storage")))

    def mount_storage(self, app: str, mount: str) -> StorageEntry:
        """NAME:/path."""
        return cast("StorageEntry", self._send("POST", _path("apps", app, "storage"), {"mount": mount}))

    def unmount_storage(self, app: str, name: str) -> StorageEntry:
        """By name or path."""
        return cast("StorageEntry", self._send("DELETE", _path("apps", app, "storage", name)))

    def features(self, app: str) -> list[Feature]:
        """Every feature, on or off."""
        return cast("list[Feature]", self._list(_path("apps", app, "features")))

    def feature(self, app: str, name: str) -> Feature:
        """One feature."""
        return cast("Feature", self._send("GET", _path("apps", app, "features", name)))

    def switch_feature(self, app: str, name: str, *, on: bool) -> Feature:
        """Switch it on or off."""
        return cast("Feature", self._send("PATCH", _path("apps", app, "features", name), {"enabled": on}))

    def settings(self, app: str) -> dict[str, str]:
        """What is set: `[TYPE.]KEY` → value."""
        return cast("dict[str, str]", self._send("GET", _path("apps", app, "settings")))

    def change_settings(self, app: str, changes: Mapping[str, str | None]) -> dict[str, str]:
        """Set and, by None, unset; what is set then."""
        return cast("dict[str, str]", self._send("PATCH", _path("apps", app, "settings"), dict(changes)))

    def buildpacks(self, app: str) -> list[BuildpackInstallation]:
        """The buildpacks, in their order."""
        return cast("list[BuildpackInstallation]", self._list(_path("apps", app, "buildpack-installations")))

    def replace_buildpacks(self, app: str, urls: list[str]) -> list[BuildpackInstallation]:
        """These and no others."""
        body = {"updates": [{"buildpack": url} for url in urls]}
        return cast(
            "list[BuildpackInstallation]", self._send("PUT", _path("apps", app, "buildpack-installations"), body)
        )

    def log_lines(self, app: str, wanted: Mapping[str, object]) -> Iterator[bytes]:
        """The app's log, in pieces as they come. `wanted`: the members of a log session.

        Raises ApiError; with the code `cut_short` where there would have been more.
        """
        yield from self.stream(self.log_session(app, wanted))

    def log_session(self, app: str, wanted: Mapping[str, object]) -> str:
        """The address of such a log, to be read by `stream`. Raises ApiError."""
        body = {name: value for name, value in wanted.items() if value is not None}
        return cast("LogSession", self._send("POST", _path("apps", app, "log-sessions"), body))["logplex_url"]

    def stream(self, url: str, *, opened: Callable[[socket.socket], None] | None = None) -> Iterator[bytes]:
        """What is at an address that the API has told, in pieces as they come. Raises ApiError.

        It has a connection of its own and may be read in another thread; `opened` is given that, to cut it by.
        """
        path = urlunsplit(("", "", *urlsplit(url)[2:4], ""))
        connection = self._new_connection(TIMEOUT_S)  # its own: it stays open as long as what it reads
        with contextlib.closing(connection):
            try:
                connection.request("GET", path, headers={"User-Agent": "dynod"})
                response = connection.getresponse()
                if response.status >= FIRST_REFUSAL:
                    _understood(response.status, response.read())
                reading = self._opened(connection)
                reading.settimeout(None)
                if opened is not None:
                    opened(reading)
                while piece := response.read1(STREAM_BYTES):
                    yield piece
            except OSError as error:
                raise ApiError("what was read was cut short", code=CUT_SHORT, status=0) from error

    def backup(self, *, storage: bool = False) -> Iterator[bytes]:
        """Everything that has to be kept, in pieces as they come. Raises ApiError, also where it is cut short."""
        yield from self.stream(f"/dynod/backup{'?storage=1' if storage else ''}")

    def events(self, app: str | None, *, after: int | None = None, limit: int = 100) -> list[EventEntry]:
        """The causal history of an app, None: of all, oldest first; after that id, else the newest."""
        path = _path("apps", app, "events") if app is not None else "/dynod/events"
        query = f"?limit={limit}" + (f"&after={after}" if after is not None else "")
        return cast("list[EventEntry]", self._send("GET", path + query))

    def webhooks(self, app: str) -> list[WebhookEntry]:
        """Who is told when something goes wrong."""
        return cast("list[WebhookEntry]", self._list(_path("apps", app, "webhooks")))

    def add_webhook(
        self, app: str, *, url: str, include: list[str], level: str, secret: str | None, authorization: str | None
    ) -> tuple[WebhookEntry, str]:
        """A new one, and the secret that signs its messages."""
        body = {"url": url, "include": include, "level": level, "secret": secret, "authorization": authorization}
        document, headers = self._exchange("POST", _path("apps", app, "webhooks"), {}, body)
        return cast("WebhookEntry", document), headers.get("Heroku-Webhook-Secret")

    def remove_webhook(self, app: str, webhook: str) -> WebhookEntry:
        """Tell it nothing more."""
        return cast("WebhookEntry", self._send("DELETE", _path("apps", app, "webhooks", webhook)))

    def webhook_deliveries(self, app: str) -> list[WebhookDelivery]:
        """The last messages, and what became of them."""
        return cast("list[WebhookDelivery]", self._list(_path("apps", app, "webhook-deliveries")))

    def stats(self, app: str) -> Stats:
        """The app in figures."""
        return cast("Stats", self._send("GET", _path("apps", app, "stats")))

    def all_stats(self) -> list[Stats]:
        """Every app in figures."""
        return cast("dict[str, list[Stats]]", self._send("GET", "/dynod/stats"))["apps"]

    def status(self) -> Status:
        """How the daemon does."""
        return cast("Status", self._send("GET", "/dynod/status"))

    def create_source(self, app: str) -> Source:
        """Where to upload a source, and what to name it by."""
        return cast("Source", self._send("POST", _path("apps", app, "sources")))

    def upload(self, url: str, file: BinaryIO) -> None:
        """Put a file's content at an address that the API has told. Raises ApiError, NoDaemonError."""
        size = file.seek(0, 2)
        file.seek(0)
        connection = self._new_connection(UPLOAD_TIMEOUT_S)
        with contextlib.closing(connection):
            try:
                connection.request("PUT", urlsplit(url).path, body=file, headers={"Content-Length": str(size)})
                response = connection.getresponse()
                content = response.read()
            except OSError as error:
                raise ApiError("the upload was cut short", code=CUT_SHORT, status=0) from error
            if response.status >= FIRST_REFUSAL:
                _understood(response.status, content)

    def builds(self, app: str) -> list[Build]:
        """Every build."""
        return cast("list[Build]", self._list(_path("apps", app, "builds")))

    def build(self, app: str, build: str) -> Build:
        """One build."""
        return cast("Build", self._send("GET", _path("apps", app, "builds", build)))

    def create_build(self, app: str, url: str, version: str | None) -> Build:
        """Build the source at this address; returns once that has begun."""
        body = {"source_blob": {"url": url, "version": version}}
        return cast("Build", self._send("POST", _path("apps", app, "builds"), body))

    def rebuild(self, app: str) -> Build:
        """Build what the app runs from its kept source; returns once that has begun."""
        return cast("Build", self._send("POST", f"{_path('apps', app, 'builds')}/actions/rebuild"))

    def config_vars(self, app: str, release: str | None = None) -> dict[str, str]:
        """Names and values, of the newest release or of another one."""
        of_release = ("releases", release) if release is not None else ()
        return cast("dict[str, str]", self._send("GET", _path("apps", app, *of_release, "config-vars")))

    def change_config_vars(
        self, app: str, changes: Mapping[str, str | None], *, replace: bool = False
    ) -> tuple[dict[str, str], str | None]:
        """Set these, unset those that are None, and with `replace` all others.

        All that there are then, and the version of the release that was made: None where nothing has changed.
        """
        path = _path("apps", app, "config-vars")
        config, headers = self._exchange("PUT" if replace else "PATCH", path, {}, dict(changes))
        return cast("dict[str, str]", config), headers.get("Dynod-Release") or None

    def purge_config_var(self, app: str, name: str) -> int:
        """Empty the value that old releases have; in how many it was."""
        done = self._send("POST", f"{_path('apps', app, 'config-vars', name)}/actions/purge")
        return cast("dict[str, int]", done)["releases"]

    def releases(self, app: str) -> list[Release]:
        """Every release, oldest first."""
        return cast("list[Release]", self._list(_path("apps", app, "releases")))

    def newest_releases(self, app: str, count: int) -> list[Release]:
        """So many, newest first."""
        headers = {"Range": f"version ..; order=desc,max={count}"}
        return cast("list[Release]", self._exchange("GET", _path("apps", app, "releases"), headers, None)[0])

    def release(self, app: str, release: str) -> Release:
        """One, by version or id, or the `current` one."""
        return cast("Release", self._send("GET", _path("apps", app, "releases", release)))

    def roll_back(self, app: str, release: str, *, code_only: bool) -> Release:
        """The release that goes back to that one."""
        body = {"release": release, "dynod": {"code_only": code_only}}
        return cast("Release", self._send("POST", _path("apps", app, "releases"), body))

    def account(self) -> Account:
        """Who asks."""
        return cast("Account", self._send("GET", "/account"))

    def authorizations(self) -> list[Authorization]:
        """Every token of the API."""
        return cast("list[Authorization]", self._list("/oauth/authorizations"))

    def create_authorization(self, *, scope: str | None, app: str | None, description: str) -> Authorization:
        """A new token; the only answer that has the token itself."""
        body = {"scope": [scope] if scope is not None else None, "description": description, "dynod": {"app": app}}
        return cast("Authorization", self._send("POST", "/oauth/authorizations", body))

    def revoke_authorization(self, authorization: str) -> Authorization:
        """It opens nothing any more."""
        return cast("Authorization", self._send("DELETE", _path("oauth", "authorizations", authorization)))

    def keys(self, *, everybodys: bool) -> list[Key]:
        """The keys of ssh of whoever asks, or of all users."""
        return cast("list[Key]", self._list("/dynod/keys" if everybodys else "/account/keys"))

    def add_key(self, text: str, *, user: str | None, scope: str, app: str | None) -> Key:
        """Let in whoever has it."""
        body = {"public_key": text, "dynod": {"user": user, "scope": scope, "app": app}}
        return cast("Key", self._send("POST", "/account/keys", body))

    def remove_key(self, key: str) -> Key:
        """It opens nothing any more."""
        return cast("Key", self._send("DELETE", _path("account", "keys", key)))

    def heroku_environment(self, client: str) -> HerokuEnvironment:
        """An address and a token for Heroku's own command line; `client` has one token at a time."""
        return cast("HerokuEnvironment", self._send("POST", "/dynod/heroku-environment", {"client": client}))

    def open_dashboard(self) -> DashboardCode:
        """Where the dashboard is, and what opens it once."""
        return cast("DashboardCode", self._send("POST", "/dynod/dashboard/codes", {}))

    # --- requests ---------------------------------------------------------------------------------------------------

    def _list(self, path: str) -> list[object]:
        """All pages of a list."""
        found: list[object] = []
        headers: dict[str, str] = {}
        while True:
            page, answered = self._exchange("GET", path, headers, None)
            found += cast("list[object]", page)
            if "Next-Range" not in answered:
                return found
            headers = {"Range": answered["Next-Range"]}

    def _send(self, method: str, path: str, body: object = None) -> object:
        return self._exchange(method, path, {}, body)[0]

    def _exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: object,
        timeout_s: float | None = None,
    ) -> tuple[object, Fields]:
        sent = {"Accept": ACCEPT, "User-Agent": "dynod", **headers}
        encoded = None
        if body is not None:
            encoded = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        for attempt in (1, 2):
            self._opened(self._connection).settimeout(timeout_s or self._connection.timeout)
            try:
                self._connection.request(method, path, body=encoded, headers=sent)
                response = self._connection.getresponse()
                content = response.read()
                if "Content-Length" not in response.headers:  # which dynod always sends: the head was cut short
                    raise BrokenAnswerError("an answer without its length")
            except TimeoutError as error:
                self._connection.close()
                raise NoDaemonError(f"dynod does not answer on {self.daemon.socket} ({TIMEOUT_S:.0f} s)") from error
            except OSError as error:
                self._connection.close()
                if method == "GET" and attempt == 1:
                    continue
                raise ApiError(
                    "the connection was cut before an answer came; look with `dynod ps` whether it was done",
                    code=CUT_SHORT,
                    status=0,
                ) from error
            if response.headers.get("Connection").lower() == "close":
                self._connection.close()
            return _understood(response.status, content), response.headers
        raise AssertionError("unreachable")

    def _new_connection(self, timeout_s: float) -> HttpConnection:
        if self.daemon.host is None:
            return self._unix_connection(timeout_s)
        from dynod.platform_api.over_ssh import Said, SshConnection  # noqa: PLC0415 (who stays here does not pay)

        self._said = self._said or Said()
        return SshConnection(self.daemon, timeout_s, self._said)

    def _unix_connection(self, timeout_s: float) -> UnixConnection:
        if self._on_behalf is None:
            return UnixConnection(self.daemon.socket, timeout_s)
        return _Speaking(self.daemon.socket, timeout_s, self._on_behalf)

    def _opened(self, connection: HttpConnection) -> socket.socket:
        if connection.sock is None:
            try:
                connection.connect()
            except OSError as error:
                raise _unreachable(self.daemon, error) from error
        assert connection.sock is not None  # noqa: S101 - connect has set it
        return connection.sock


def _understood(status: int, content: bytes) -> object:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ApiError(f"dynod answered {status} and no JSON: is it dynod?", code="no_json", status=status) from error
    if status < FIRST_REFUSAL:
        return document
    refused = document if isinstance(document, dict) else {}
    message = str(refused.get("message", f"refused with status {status}"))
    raise ApiError(message, code=str(refused.get("id", "unknown")), status=status)


def _refuse_session(status: int, content: bytes) -> NoReturn:
    _understood(status, content)
    raise ApiError("dynod speaks another language: is it dynod?", code="no_session", status=status)


def _is_whole(document: bytes) -> bool:
    try:
        json.loads(document)
    except ValueError:
        return False
    return True


def _head(connection: socket.socket) -> tuple[bytes, bytes]:
    """The head of an answer, and what came with it."""
    seen = b""
    while b"\r\n\r\n" not in seen:
        data = connection.recv(LONGEST_REFUSAL)
        if not data:
            raise ConnectionResetError("cut short")
        seen += data
    head, _, rest = seen.partition(b"\r\n\r\n")
    return head, rest


def _path(*parts: str) -> str:
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def _dynos_path(app: str, process_type: str | None, dyno: str | None) -> str:
    if dyno is not None:
        return _path("apps", app, "dynos", dyno)
    if process_type is not None:
        return _path("apps", app, "formations", process_type)
    return _path("apps", app, "dynos")


def _unreachable(daemon: Daemon, error: OSError) -> NoDaemonError:
    path, named = daemon.socket, f" (from {daemon.source})" if daemon.source != daemon.socket else ""
    match error:
        case PermissionError():
            return NoDaemonError(
                f"you may not talk to the dynod at {path}{named}: it lets in its own user and the group dynod "
                "(`sudo usermod -aG dynod $USER`, then log in again)"
            )
        case FileNotFoundError() | ConnectionRefusedError() if daemon.folder is not None:
            return NoDaemonError(
                f"the dynod of {daemon.folder} has ended without clearing up: start it again with `dynod up` there, "
                f"or remove {daemon.source}"
            )
        case FileNotFoundError():
            return NoDaemonError(f"there is no socket {path}{named}: {START_ONE}")
        case ConnectionRefusedError():
            return NoDaemonError(f"nothing listens on {path}{named} any more: that dynod has ended; {START_ONE}")
        case _:
            return NoDaemonError(f"no connection to {path}{named}: {error}")
