"""What Prometheus is answered: `/metrics`, and `/sd/prometheus`, which lists the dynos for it to scrape by itself.

Flow: metrics → metrics listener, **metrics site** → Prometheus. It shows names and numbers and can change nothing, so a
token is asked for only where one was set. Imported where metrics are asked for.
"""

import asyncio
import hmac
import json
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Final, Protocol

from aiohttp import web

from dynod.app_figures import AppFigures
from dynod.core.api_host import host_of, is_loopback
from dynod.core.boot import Address
from dynod.metrics_token import hash_of

AT_ONCE: Final = 4  # scrapes; more wait
CLOSE_S: Final = 2.0


class Answer(Protocol):
    """An answer to a scrape."""

    @property
    def content_type(self) -> str: ...
    @property
    def body(self) -> bytes: ...


class Exposes(Protocol):
    """The metrics."""

    async def expose(self, accept: str, /) -> Answer: ...


class MetricsSite:
    """`start` once, then `close`."""

    def __init__(self, metrics: Exposes, apps: Callable[[], Iterable[AppFigures]], *, token_hash: str) -> None:
        """`token_hash` "": whoever reaches it is answered."""
        self._token_hash = token_hash
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

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Accept from these listening sockets, which stay the caller's."""
        await self._runner.setup()
        for each in sockets:
            own = each.dup()  # the loop closes what it is given
            own.setblocking(False)
            await web.SockSite(self._runner, own).start()

    async def close(self) -> None:
        """Accept no more, and finish what is being answered."""
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
