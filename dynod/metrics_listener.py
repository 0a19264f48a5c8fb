"""Where Prometheus finds dynod: `/metrics`, and `/sd/prometheus`, which lists the dynos for it to scrape by itself.

Flow: metrics → **metrics listener** → Prometheus. Off unless it is asked for. The keeper holds the sockets, as the
router's. It shows names and numbers and can change nothing, so a token is asked for only where one was set; that one
is for this place alone, because it goes over a network in plain text.
"""

import asyncio
import hmac
import json
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final, Protocol

from aiohttp import web

from dynod.app_figures import AppFigures
from dynod.core.api_host import host_of, is_loopback
from dynod.core.boot import Address
from dynod.listeners import ListenAddress, listen_again, url
from dynod.metrics_token import hash_of, token_hash

HELD: Final = "metrics"  # the name under which the keeper has the sockets
TOKEN_NOTE: Final = "metrics-token"  # noqa: S105 (a key: of the note that holds the hash)
AT_ONCE: Final = 4  # scrapes; more wait
CLOSE_S: Final = 2.0


class Keeper(Protocol):
    """The keeper, as far as sockets and notes go."""

    def hold(self, name: str, fds: Sequence[int], /) -> None: ...
    def release(self, name: str, /) -> None: ...
    def put(self, key: str, value: str | None, /) -> None: ...


class Answer(Protocol):
    """An answer to a scrape."""

    @property
    def content_type(self) -> str: ...
    @property
    def body(self) -> bytes: ...


class Exposes(Protocol):
    """The metrics."""

    async def expose(self, accept: str, /) -> Answer: ...


class MetricsListener:
    """Made by each core: `prepare`, `start`, and `close` at the end."""

    def __init__(self, address: ListenAddress | None, *, token_file: Path | None, keeper: Keeper) -> None:
        """`address` None: nowhere."""
        self._address = address
        self._token_file = token_file
        self._keeper = keeper
        self._sockets: list[socket.socket] = []
        self._token_hash = ""
        self._runner: web.AppRunner | None = None

    def prepare(self, held: Mapping[str, Sequence[int]], stored: Mapping[str, str], *, resumes: bool) -> None:
        """Take over what an earlier core had, or listen where it was asked for. Raises DynodError."""
        if resumes:
            self._sockets = [socket.socket(fileno=fd) for fd in held.get(HELD, ())]
            self._token_hash = stored.get(TOKEN_NOTE, "")
            return
        self._token_hash = token_hash(self._token_file)
        kept = [socket.socket(fileno=fd) for fd in held.get(HELD, ())]
        if self._address is not None:
            self._sockets = listen_again(self._address, kept, option="--metrics")
            self._keeper.hold(HELD, [each.fileno() for each in self._sockets])
            self._keeper.put(TOKEN_NOTE, self._token_hash)
        elif kept:
            self._keeper.release(HELD)
        for each in kept:  # by systemd, from an earlier dynod that listened elsewhere
            each.close()

    @property
    def url(self) -> str | None:
        """Where a program on this machine finds it; None: nowhere."""
        return url(self._sockets) if self._sockets else None

    async def start(self, metrics: Exposes, apps: Callable[[], Iterable[AppFigures]]) -> None:
        """Accept from now on."""
        if not self._sockets:
            return
        scrapes = asyncio.Semaphore(AT_ONCE)

        async def scrape(request: web.Request) -> web.Response:
            async with scrapes:
                answer = await metrics.expose(request.headers.get("Accept", ""))
            return web.Response(body=answer.body, headers={"Content-Type": answer.content_type})

        async def discover(request: web.Request) -> web.Response:
            del request
            return web.Response(text=json.dumps(targets(apps())), content_type="application/json")

        application = web.Application(middlewares=[self._let_in], client_max_size=1)
        application.add_routes([web.get("/metrics", scrape), web.get("/sd/prometheus", discover)])
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=CLOSE_S)
        await self._runner.setup()
        for each in self._sockets:
            own = each.dup()  # the loop closes what it is given
            own.setblocking(False)
            await web.SockSite(self._runner, own).start()

    async def hand_over(self) -> None:
        """Nobody is let in any more by this core."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def close(self) -> None:
        """Nobody is let in any more, by the next core either."""
        self._keeper.release(HELD)
        for each in self._sockets:
            each.close()
        self._sockets = []
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _let_in(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if "Origin" in request.headers or self._is_rebound(request):
            raise web.HTTPForbidden(text="This is not for web pages.\n")
        if self._token_hash:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            known = hmac.compare_digest(hash_of(token.strip()), self._token_hash)
            if scheme.lower() != "bearer" or not known:
                headers = {"WWW-Authenticate": 'Bearer realm="dynod metrics"'}
                return web.Response(status=HTTPStatus.UNAUTHORIZED, text="A token is needed.\n", headers=headers)
        return await handler(request)

    def _is_rebound(self, request: web.Request) -> bool:
        """A page whose own name resolves to loopback (DNS rebinding): there a browser reaches what others cannot."""
        name = request.transport.get_extra_info("sockname") if request.transport is not None else None
        if name is None or not is_loopback(str(name[0])):
            return False
        host = host_of(request.headers.get("Host", ""))
        return host is None or not is_loopback(host)


def targets(apps: Iterable[AppFigures]) -> list[dict[str, object]]:
    """Prometheus' http_sd: each dyno that is up and has a port, for programs that have metrics of their own."""
    return [
        {
            "targets": [_target(dyno.address)],
            "labels": {"app": app.name, "process_type": dyno.process_type, "dyno": dyno.name},
        }
        for app in apps
        for dyno in app.dynos
        if dyno.address is not None
    ]


def _target(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"
