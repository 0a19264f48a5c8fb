"""The Platform API on a real unix socket, over an app that is only made up.

    with ApiServer() as server:
        status, headers, document = server.ask("GET", "/apps")

    token = server.token(scope=Scope.READ)
    status, headers, document = server.ask_tcp("GET", "/apps", token=token)

The server runs in a thread with a loop of its own, so that tests may block. What it was asked to do to dynos is in
`server.operations.done`; what nobody expected is in `server.bugs`, which is looked at when the block is left.
"""

import asyncio
import contextlib
import http.client
import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from uuid import UUID, uuid5

import uvloop

from dynod.access import Access
from dynod.core.api_token import Scope
from dynod.core.dyno import SlotState
from dynod.core.dyno_sizes import UNSIZED
from dynod.core.scaling import FormationUpdate, ScalingRefusedError, plan_scaling
from dynod.local_ca import LocalAuthority
from dynod.operations import AppView, DynoView, FormationView, InvalidError, NotFoundError, Operations
from dynod.platform_api.finding import Daemon
from dynod.platform_api.server import PlatformApi
from dynod.platform_api.tcp_door import OverTcp
from dynod.process.slot_log import Happening
from dynod.stored_resources import StoredResources
from dynod.up_tokens import KeptTokens
from support.transcript import TIMEOUT_S

APP_ID: Final = "01234567-89ab-cdef-0123-456789abcdef"
MADE: Final = datetime(2015, 1, 1, 12, 0, 0, 999_999, UTC)
CHANGED: Final = datetime(2015, 1, 2, 3, 4, 5, tzinfo=UTC)
APP: Final = AppView(
    id=APP_ID, name="shop", web_url="http://127.0.0.1:5000/", created_at=MADE, updated_at=CHANGED, maintenance=False
)
COMMANDS: Final = {"web": "gunicorn shop", "worker": "work", "release": "migrate"}


def id_of(name: str) -> str:
    return str(uuid5(UUID(APP_ID), name))


def formation_view(process_type: str, quantity: int) -> FormationView:
    return FormationView(
        id=id_of(process_type),
        app=APP,
        process_type=process_type,
        command=COMMANDS[process_type],
        quantity=quantity,
        size=UNSIZED,
        created_at=MADE,
        updated_at=CHANGED,
    )


def dyno_view(name: str, state: SlotState = SlotState.UP) -> DynoView:
    process_type = name.rpartition(".")[0]
    return DynoView(
        id=id_of(name),
        app=APP,
        name=name,
        process_type=process_type,
        command=COMMANDS.get(process_type, "bash"),
        state=state,
        size=UNSIZED,
        release_version=0,
        release_id=None,
        current_release=0,
        latest_release=0,
        created_at=MADE,
        updated_at=CHANGED,
        restarting=False,
        pid=4711,
        port=20_001,
        why=(Happening(at=MADE.timestamp(), what="dynod up"),),
    )


class MadeUpOperations(Operations):
    """One app, "shop", whose dynos are where its formation says, at once. Everything done is written down."""

    def __init__(self, quantities: Mapping[str, int] | None = None) -> None:
        super().__init__([])
        self.quantities = dict(quantities or {"web": 2, "worker": 1})
        self.views: dict[str, AppView] = {APP.name: APP}
        self.states: dict[str, SlotState] = {}
        self.one_offs: list[str] = []
        self.done: list[tuple[object, ...]] = []
        self.on_look: Callable[[], None] = lambda: None

    def apps(self) -> list[AppView]:
        return list(self.views.values())

    def app(self, ref: str) -> AppView:
        for view in self.views.values():
            if ref in {view.name, view.id}:
                return view
        raise NotFoundError("Couldn't find that app.", "app")

    def formation(self, ref: str) -> list[FormationView]:
        self.app(ref)
        return [formation_view(name, self.quantities.get(name, 0)) for name in sorted(COMMANDS)]

    async def scale(self, ref: str, updates: Sequence[FormationUpdate], *, by: str) -> list[FormationView]:
        self.app(ref)
        try:
            plan = plan_scaling(updates, types=list(COMMANDS), quantities=self.quantities)
        except ScalingRefusedError as error:
            if error.unknown_type:
                raise NotFoundError(str(error), "formation") from error
            raise InvalidError(str(error)) from error
        self.quantities |= plan.quantities
        self.done.append(("scale", dict(plan.quantities), {name: size.name for name, size in plan.sizes.items()}, by))
        return [
            replace(view, size=plan.sizes.get(view.process_type, UNSIZED))
            for view in self.formation(ref)
            if view.process_type in {update.process_type for update in updates}
        ]

    def dynos(self, ref: str) -> list[DynoView]:
        self.on_look()
        self.app(ref)
        names = [f"{kind}.{number}" for kind, count in self.quantities.items() for number in range(1, count + 1)]
        return [dyno_view(name, self.states.get(name, SlotState.UP)) for name in [*self.one_offs, *names]]

    def dyno(self, ref: str, name: str) -> DynoView:
        for view in self.dynos(ref):
            if name in {view.name, view.id}:
                return view
        raise NotFoundError("Couldn't find that dyno.", "dyno")

    def restart(self, ref: str, selector: str | None, *, by: str) -> None:
        self.app(ref)
        self.done.append(("restart", selector, by))

    def stop(self, ref: str, selector: str, *, by: str) -> None:
        self.app(ref)
        self.done.append(("stop", selector, by))


class ApiServer:
    """A server for the length of a `with` block."""

    def __init__(
        self,
        operations: Operations | None = None,
        *,
        stored: StoredResources | None = None,
        uvloop_too: bool = True,
        expect_bugs: bool = False,
        calls_an_hour: int = 0,
        names: Sequence[str] = (),
    ) -> None:
        self.access = Access(KeptTokens(None, lambda _key, _note: None))
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self._calls_an_hour = calls_an_hour
        self._names = names
        self.operations = MadeUpOperations() if operations is None else operations
        self._stored = stored
        self.bugs: list[tuple[str, Exception]] = []
        self._folder = Path(tempfile.mkdtemp(prefix="api-"))  # short: socket paths end at 108 bytes
        self.path = self._folder / "s"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._expects_bugs = expect_bugs
        self._loop_factory = uvloop.new_event_loop if uvloop_too else asyncio.new_event_loop
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="api-server")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def __enter__(self) -> Self:
        self.socket.bind(str(self.path))
        self.socket.listen()
        self._thread.start()
        assert self._started.wait(TIMEOUT_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.socket.close()
        self.tcp.close()
        shutil.rmtree(self._folder)
        assert not self._thread.is_alive(), "the server has not ended"
        if kind is None and not self._expects_bugs:
            assert self.bugs == []

    def stop(self) -> None:
        """As a core that ends: the listening socket stays open."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(TIMEOUT_S)

    @property
    def daemon(self) -> Daemon:
        """For an ApiClient."""
        return Daemon(socket=str(self.path), source="--socket")

    def ask(
        self, method: str, path: str, *, body: bytes | object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], object]:
        """One request over a connection of its own: status, headers in lower case, and the body's JSON or None."""
        connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT_S)
        connection.sock = self.connect()
        return _ask(connection, method, path, body, headers)

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return int(self.tcp.getsockname()[1])

    def token(self, *, scope: Scope = Scope.ADMIN, app_id: str | None = None, by: str = "alice") -> str:
        """A new token."""
        assert self._loop is not None
        making = self.access.create(by=by, scope=scope, app_id=app_id)
        return asyncio.run_coroutine_threadsafe(making, self._loop).result(TIMEOUT_S).secret

    def ask_tcp(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: bytes | object = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], object]:
        """As `ask`, over TCP."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        authorization = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return _ask(connection, method, path, body, {**authorization, **(headers or {})})

    def connect(self) -> socket.socket:
        """A raw connection."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(self.path))  # without a timeout it waits where the backlog is full
        connection.settimeout(TIMEOUT_S)
        return connection

    async def _open(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self._loop_factory) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        api = PlatformApi(
            self.operations,
            stored=self._stored,
            secret=b"of a test",
            over_tcp=OverTcp(
                access=self.access,
                authority=LocalAuthority(self._folder / "ca"),
                open=self._open,
                calls_an_hour=self._calls_an_hour,
                names=tuple(self._names),
            ),
            on_bug=lambda request, error: self.bugs.append((request, error)),
        )
        await api.start([self.socket])
        await api.start_tcp([self.tcp])
        self._started.set()
        await self._stop.wait()
        await api.close()


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | object,
    headers: Mapping[str, str] | None,
) -> tuple[int, Mapping[str, str], object]:
    with contextlib.closing(connection):
        raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, body=raw, headers=dict(headers or {}))
        response = connection.getresponse()
        content = response.read()
        found = {name.lower(): value for name, value in response.headers.items()}
        return response.status, found, json.loads(content) if content else None
