"""The Platform API v3 on the control socket and on TCP: routes to operations, and nothing decided in between.

Sockets are bound and owned by the caller, who gets them back untouched; here they are only accepted from. May import
operations, access, core and errors.
"""

import asyncio
import contextlib
import inspect
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from aiohttp import web

from dynod.core.losses import Lose, unheeded
from dynod.operations import Operations
from dynod.platform_api import (
    absent,
    app_events,
    app_settings,
    apps,
    attach,
    authorizations,
    backup,
    blobs,
    buildpacks,
    builds,
    config_vars,
    daemon,
    dashboard,
    dashboard_stream,
    description,
    domains,
    dynos,
    features,
    formation,
    git,
    heroku_environment,
    keys,
    log_drains,
    log_sessions,
    on_behalf,
    releases,
    sizes,
    slugs,
    stats,
    storage,
    webhooks,
)
from dynod.platform_api.admission import Admission
from dynod.platform_api.app_events import EVENTS, Events
from dynod.platform_api.connection import open_connection
from dynod.platform_api.exchange import LARGEST_BODY, OPERATIONS, OVER_TCP, STORED, answer
from dynod.platform_api.gate import ADMISSION, HEALTH, ON_BUG, OnBug, gate
from dynod.platform_api.page_sessions import PageSessions
from dynod.platform_api.streams import OPEN_STREAMS, Streams
from dynod.platform_api.tcp_door import OverTcp, TcpDoor
from dynod.status_report import DaemonFacts, status_of
from dynod.stored_resources import StoredResources

CLOSE_S: Final = 5.0  # what is answered at the end is answered at once; a body that trickles in is not waited for
BACKLOG: Final = 128


def report_bug(request: str, error: Exception) -> None:
    """On stderr, as everything that is no app's output."""
    lines = "".join(traceback.format_exception(error))
    sys.stderr.write(f"dynod: a bug, while answering {request}\n{lines}")
    sys.stderr.flush()


class PlatformApi:
    """Owned by the composition root: `start` once, then `close`."""

    def __init__(
        self,
        operations: Operations,
        *,
        stored: StoredResources | None = None,
        over_tcp: OverTcp | None = None,
        secret: bytes,
        facts: DaemonFacts | None = None,
        events: Events | None = None,
        traffic: stats.Traffic = lambda _app: {},
        histories: dashboard_stream.Histories | None = None,
        on_bug: OnBug = report_bug,
        lose: Lose = unheeded,
    ) -> None:
        """`stored`: what lasts, None in `up`. `over_tcp`: for whoever has a token; None: not at all.

        `secret` signs what the next core must know again. `facts` are the daemon's own, for its status. `on_bug` is
        told of what nobody expected: the request's id, method and path, and the exception. `histories`: of traffic.
        `lose`: of pages that take nothing.
        """
        application = web.Application(middlewares=[gate], client_max_size=LARGEST_BODY)
        application[OPERATIONS] = operations
        application[STORED] = stored
        application[ON_BUG] = on_bug
        application[daemon.STATUS] = lambda: status_of(operations, facts) if facts is not None else None
        application[dashboard.PAGE_SESSIONS] = pages = PageSessions(secret)
        application[dashboard.FILES] = dashboard.read_files()
        application[dashboard_stream.HISTORIES] = histories
        application[dashboard_stream.VIEWERS] = viewers = Streams(
            dashboard_stream.MOST_VIEWERS, patience_s=dashboard_stream.PATIENCE_S, lose=lose
        )
        application[ADMISSION] = Admission(over_tcp, pages)
        application[OVER_TCP] = self._over_tcp = over_tcp
        application[EVENTS] = events
        application[stats.TRAFFIC] = traffic
        application.router.add_get(HEALTH, _health)
        application[log_sessions.SESSIONS] = sessions = log_sessions.LogSessions(secret)
        application[OPEN_STREAMS] = streams = Streams()
        application.on_shutdown.extend([sessions.open.close, streams.close, viewers.close])
        application[blobs.UPLOADS] = asyncio.Semaphore(blobs.MOST_UPLOADS)
        for resource in (
            absent,
            app_events,
            app_settings,
            apps,
            attach,
            authorizations,
            backup,
            blobs,
            buildpacks,
            builds,
            config_vars,
            daemon,
            dashboard,
            dashboard_stream,
            description,
            domains,
            heroku_environment,
            dynos,
            features,
            formation,
            git,
            keys,
            log_drains,
            log_sessions,
            on_behalf,
            releases,
            sizes,
            slugs,
            stats,
            webhooks,
            storage,
        ):
            application.add_routes(resource.routes)
        self._runner = web.AppRunner(application, shutdown_timeout=CLOSE_S, access_log=None)
        self._servers: list[asyncio.AbstractServer] = []
        self._operations = operations
        self._on_bug = on_bug
        self._door: TcpDoor | None = None

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Accept from these listening unix sockets."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        for listening in sockets:
            own = listening.dup()  # the loop closes what it is given
            own.setblocking(False)
            # Python 3.13 removes the socket's path when it stops accepting; another core may go on with it.
            keep: dict[str, Any] = {"cleanup_socket": False} if _removes_paths(loop) else {}
            self._servers.append(
                await loop.create_unix_server(self._opener(loop, tcp=False), sock=own, backlog=BACKLOG, **keep)
            )

    async def start_tcp(self, sockets: Sequence[socket.socket]) -> None:
        """Accept from these listening TCP sockets too, after `start`: with a token, from no web page."""
        assert self._over_tcp is not None  # noqa: S101 (without it there are no such sockets)
        loop = asyncio.get_running_loop()
        self._door = TcpDoor(
            self._over_tcp.authority, self._operations.rendezvous, self._opener(loop, tcp=True), loop, self._on_bug
        )
        for listening in sockets:
            own = listening.dup()
            own.setblocking(False)
            self._servers.append(await loop.create_server(self._door.open, sock=own, backlog=BACKLOG))

    def _opener(self, loop: asyncio.AbstractEventLoop, *, tcp: bool) -> Callable[[], asyncio.BaseProtocol]:
        assert self._runner.server is not None  # noqa: S101 (made by setup)
        return partial(open_connection, self._runner.server, loop, tcp=tcp)

    async def close(self) -> None:
        """Accept no more, finish what is being answered, close the connections."""
        for server in self._servers:
            server.close()
        if self._door is not None:
            await self._door.close()
        await self._runner.cleanup()
        for server in self._servers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await server.wait_closed()
        self._servers.clear()


def _removes_paths(loop: asyncio.AbstractEventLoop) -> bool:
    return "cleanup_socket" in inspect.signature(loop.create_unix_server).parameters


async def _health(request: web.Request) -> web.Response:
    """For balancers and monitors: this process answers."""
    del request
    return answer({"status": "ok"})
