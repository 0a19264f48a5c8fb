"""The router as its owner sees it: apps and backends in, records out, listeners, drain, shutdown.

Flow: `start` puts a `ClientConnection` (relay.py) on every accepted socket; the owner changes apps and backends
while it runs; finished requests are handed out in batches, off the hot path. This is the seam of design.md section
2: plain values cross it, and the same calls could come over a pipe.
"""

import asyncio
import contextlib
import ipaddress
import random
import resource
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from email.utils import formatdate
from functools import partial
from secrets import token_bytes
from time import time

from router.apps import AppTable, RoutedApp
from router.client_connection import ClientConnection
from router.core.backend import Backend
from router.core.pool import AppCondition
from router.core.request_ids import request_ids
from router.core.request_record import RequestRecord
from router.hangups import Hangups
from router.head_values import HeadLimits
from router.metrics import RouterMetrics
from router.relay_context import RelayContext
from router.settings import RouterSettings

_RECORDS_LATE_S = 0.05
_RECORDS_AT_ONCE = 64  # a larger batch is written down in fewer calls, and everybody else waits for it the longer
_BACKLOG = 4096
_TRUST_REMEMBERED = 10_000  # addresses judged and kept; a client may have any
_KEPT_DESCRIPTORS = 64  # for everything that is no client connection or link


class Router:
    """An HTTP/1.1 reverse proxy with Heroku's semantics.

    All methods belong to the event loop's thread. `on_records` gets finished requests, each exactly once, at most about
    50 ms late; it must not raise. `on_overdue` is told of a request without a byte of an answer after so many seconds
    (H12) where that is no limit (`enforce_first_byte`): when they have passed, once, with the record as it is then; the
    request goes on, and comes to `on_records` when it has ended. `affinity_key` signs session affinity cookies: give
    the same one to keep clients pinned over a restart of the router.
    """

    def __init__(
        self,
        settings: RouterSettings,
        *,
        on_records: Callable[[Sequence[RequestRecord]], None],
        on_overdue: Callable[[RequestRecord, float], None] | None = None,
        rng: random.Random | None = None,
        affinity_key: bytes | None = None,
    ) -> None:
        self._settings = settings
        self._on_records = on_records
        self._on_overdue = on_overdue
        self._random = rng if rng is not None else random.Random()  # noqa: S311  # balance and ids, no secrets
        self._affinity_key = affinity_key or token_bytes(32)
        self._apps = AppTable()
        self._connects: set[asyncio.Task[None]] = set()
        self._records: list[RequestRecord] = []
        self._flush_timer: asyncio.TimerHandle | None = None
        self._sockets: tuple[socket.socket, ...] = ()
        self._servers: list[asyncio.Server] = []
        self._accepting = False
        self._resuming: asyncio.Task[None] | None = None
        self._date_second = 0
        self._date = b""
        self._trust: dict[str, bool] = {}
        self._networks = tuple(ipaddress.ip_network(network) for network in settings.trusted_proxies)
        self._max_connections = settings.max_connections or _connections_that_fit()
        self._context: RelayContext | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._quiet: asyncio.Event | None = None
        self._empty: asyncio.Event | None = None
        self.metrics = RouterMetrics(
            gauges=self._gauges,
            queued=lambda: [(app.name, len(app.waiting)) for app in self._apps],
            connections=self._connections,
        )

    # -- listeners -------------------------------------------------------------------------------------------------

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serve on `sockets`: bound and listening already, and still the caller's (the router works on duplicates)."""
        context = self._ready()
        self._sockets = (*self._sockets, *sockets)
        self._accepting = True
        context.closing = False
        for sock in sockets:
            await self._serve(sock)

    def stop_accepting(self) -> None:
        """Take no more connections; they wait in the backlog of the caller's sockets.

        From here on every answer ends its connection, so that the next router gets the clients.
        """
        self._accepting = False
        if self._context is not None:
            self._context.closing = True
        self._close_servers()

    async def retire(self, timeout_s: float) -> int:
        """Another router serves the sockets now: see out every connection that there is, then close everything.

        Nothing is closed that a client may be about to use: the next request of a connection is answered, and that
        answer ends it. Tunnels stay. What is left after `timeout_s` is cut; returns how many requests that were.
        """
        self.stop_accepting()
        empty = self._empty = asyncio.Event()
        self._look_if_empty()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await empty.wait()
        self._empty = None
        return await self.shutdown(drain_timeout_s=0.0)

    async def drain(self, timeout_s: float) -> int:
        """Stop accepting, finish the requests under way. Returns how many were cut at the deadline. Tunnels stay."""
        self.stop_accepting()
        if self._resuming is not None:
            await self._resuming
        context = self._ready()
        for connection in tuple(context.connections):
            connection.end_if_idle()
        quiet = self._quiet = asyncio.Event()
        self._look_if_quiet()
        try:
            async with asyncio.timeout(timeout_s):
                await quiet.wait()
        except TimeoutError:
            pass
        cut = sum(connection.cut_short() for connection in tuple(context.connections))
        self._quiet = None
        return cut

    async def shutdown(self, *, drain_timeout_s: float) -> int:
        """Drain, then close everything, tunnels included. Returns how many requests were cut at the deadline."""
        cut = await self.drain(drain_timeout_s)
        for tunnel in tuple(self._ready().tunnels):
            tunnel.abort()
        connects = tuple(self._connects)
        for task in connects:
            task.cancel()
        await asyncio.gather(*connects, return_exceptions=True)
        for app in self._apps:
            app.close()
        await asyncio.sleep(0)  # the aborted transports' last callbacks
        self._ready().hangups.close()
        self._flush()
        return cut

    def set_settings(self, settings: RouterSettings) -> None:
        """Other settings of the router itself, for connections that are made from now on; an app keeps its own."""
        self._settings = settings
        self._networks = tuple(ipaddress.ip_network(network) for network in settings.trusted_proxies)
        self._trust.clear()
        self._max_connections = settings.max_connections or _connections_that_fit()
        if self._context is not None:
            self._context.settings = settings
            self._context.limits = _limits(settings)
            self._context.via = settings.via_name.encode()

    # -- apps ------------------------------------------------------------------------------------------------------

    def set_app(
        self,
        app: str,
        *,
        condition: AppCondition,
        hosts: Collection[str] | None = None,
        settings: RouterSettings | None = None,
    ) -> None:
        """Create an app or change it; parked requests ask again.

        `hosts` are exact names or `*.example.com`; None leaves them as they are. `settings` None: as they are, or the
        router's own for a new app.
        """
        known = self._apps.get(app)
        if known is None:
            context = self._ready()
            known = RoutedApp(
                app,
                settings or self._settings,
                loop=context.loop,
                random=self._random.random,
                date=self._http_date,
                connects=self._connects,
            )
            self._apps.put(known, hosts or ())
        else:
            if settings is not None:
                known.apply(settings)
            if hosts is not None:
                self._apps.put(known, hosts)
        known.pool.condition = condition
        known.wake()

    def set_default_app(self, app: str | None) -> None:
        """The app that any other Host reaches; None for none."""
        self._apps.set_default(app)

    def remove_app(self, app: str) -> None:
        """Forget an app. Requests under way go on; waiting ones are answered as a blank app's."""
        known = self._apps.remove(app)
        if known is not None:
            known.pool.condition = AppCondition.BLANK
            known.wake()
            known.close()

    def add_backend(self, app: str, backend: Backend) -> None:
        """A backend is up: give it requests, waiting ones first."""
        self._app(app).add(backend)

    async def drain_backend(self, app: str, backend_id: str, *, timeout_s: float) -> int:
        """Take a backend out of the pool at once, then wait for its requests (tunnels do not count).

        Returns how many were left at the deadline, 0 if all were done. An unknown backend has none.
        """
        return await self._app(app).drain(backend_id, timeout_s)

    def remove_backend(self, app: str, backend_id: str) -> None:
        """Forget a backend; what it still has in flight goes on. Nothing happens if it is not there."""
        self._app(app).remove(backend_id)

    def in_flight_by_label(self, app: str) -> Mapping[str, int]:
        """Requests in flight now, by the label of their backend; two of one label are added up."""
        found: dict[str, int] = {}
        for entry in self._app(app).pool.entries():
            found[entry.label] = found.get(entry.label, 0) + entry.in_flight
        return found

    def in_flight(self, app: str) -> Mapping[str, int]:
        """Requests per backend id now, draining backends included, tunnels not."""
        return {entry.id: entry.in_flight for entry in self._app(app).pool.entries()}

    def tunnels(self, app: str) -> Mapping[str, int]:
        """Upgraded connections per backend id now."""
        return {entry.id: entry.tunnels for entry in self._app(app).pool.entries()}

    def queued(self, app: str) -> int:
        """Requests that wait for a backend now."""
        return len(self._app(app).waiting)

    # -- private ---------------------------------------------------------------------------------------------------

    def _ready(self) -> RelayContext:
        if self._context is None:
            loop = self._loop = asyncio.get_running_loop()
            settings = self._settings
            self._context = RelayContext(
                loop=loop,
                settings=settings,
                limits=_limits(settings),
                apps=self._apps,
                via=settings.via_name.encode(),
                affinity_key=self._affinity_key,
                date=self._http_date,
                new_request_id=request_ids(self._random.getrandbits).__next__,
                trusts=self._trusts,
                finished=self._finished,
                overdue=self._overdue,
                client_fault=self.metrics.client_fault,
                connections=set(),
                tunnels=set(),
                hangups=Hangups(loop),
                connection_made=self._connection_made,
                connection_gone=self._connection_gone,
            )
        return self._context

    def _app(self, name: str) -> RoutedApp:
        app = self._apps.get(name)
        if app is None:
            raise KeyError(f"no app {name!r} in the router")
        return app

    async def _serve(self, sock: socket.socket) -> None:
        context = self._ready()
        name = sock.getsockname()
        port = str(name[1]).encode() if isinstance(name, tuple) else b"80"
        loop = context.loop
        own = sock.dup()
        own.setblocking(False)
        make = partial(ClientConnection, context, port=port, scheme=b"http")
        if sock.family == socket.AF_UNIX:
            server = await loop.create_unix_server(make, sock=own, backlog=_BACKLOG)
        else:
            server = await loop.create_server(make, sock=own, backlog=_BACKLOG)
        self._servers.append(server)

    def _close_servers(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _connection_made(self) -> None:
        context = self._context
        if context is not None and self._servers and self._connections() >= self._max_connections:
            self._close_servers()  # the rest waits in the backlog; see _connections_that_fit

    def _connection_gone(self) -> None:
        self._look_if_empty()
        if self._quiet is not None:
            self._look_if_quiet()
        elif (
            self._accepting
            and not self._servers
            and not self._resuming
            and self._loop is not None
            and self._connections() < self._max_connections
        ):
            self._resuming = self._loop.create_task(self._accept_again(), name="router:accept-again")

    async def _accept_again(self) -> None:
        try:
            for sock in self._sockets:
                if self._accepting:  # else they may be closed
                    await self._serve(sock)
        finally:
            self._resuming = None
        if not self._accepting:
            self._close_servers()

    def _connections(self) -> int:
        context = self._context
        return len(context.connections) + len(context.tunnels) if context is not None else 0

    def _look_if_quiet(self) -> None:
        context = self._context
        if self._quiet is not None and context is not None and not context.connections:
            self._quiet.set()

    def _look_if_empty(self) -> None:
        if self._empty is not None and not self._connections():
            self._empty.set()

    def _finished(self, record: RequestRecord) -> None:
        records = self._records
        records.append(record)
        if self._flush_timer is None and self._loop is not None:
            self._flush_timer = self._loop.call_later(_RECORDS_LATE_S, self._flush)
        elif len(records) >= _RECORDS_AT_ONCE:
            self._flush()

    def _overdue(self, record: RequestRecord, seconds: float) -> None:
        if self._on_overdue is not None:
            self._on_overdue(record, seconds)

    def _flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        records, self._records = self._records, []
        if records:
            self.metrics.count(records)
            self._on_records(records)

    def _gauges(self) -> list[tuple[str, str, int, int]]:
        return [
            (app.name, entry.label, entry.in_flight, entry.tunnels)
            for app in self._apps
            for entry in app.pool.entries()
        ]

    def _trusts(self, address: str) -> bool:
        known = self._trust.get(address)
        if known is None:
            try:
                parsed = ipaddress.ip_address(address.partition("%")[0])
            except ValueError:
                return False
            mapped = getattr(parsed, "ipv4_mapped", None) or parsed
            known = any(mapped in network for network in self._networks if network.version == mapped.version)
            if len(self._trust) > _TRUST_REMEMBERED:
                self._trust.clear()
            self._trust[address] = known
        return known

    def _http_date(self) -> bytes:
        second = int(time())
        if second != self._date_second:
            self._date_second = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date


def _connections_that_fit() -> int:
    # A relayed request needs two descriptors. Accepting more than fit would end in EMFILE, where libuv takes
    # connections only to close them; not accepting leaves them in the backlog.
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1_000_000
    return max(16, (soft - _KEPT_DESCRIPTORS) // 2)


def _limits(settings: RouterSettings) -> HeadLimits:
    return HeadLimits(
        request_line=settings.max_request_line,
        line=settings.max_field_line,
        fields=settings.max_fields,
        head=settings.max_head,
    )
