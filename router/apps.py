"""The apps that the router knows, their backends, and the requests that wait for one.

Flow: Host → `AppTable.find` → `RoutedApp` → pool (core) → a link, at once or after a wait. The decisions are the
pool's; here is what they need of the world: connections, timers, waiting requests. Owned by the router, on its loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Final, Protocol

from router.backend_link import BackendLink, Date, IdleLinks
from router.core.backend import Backend, BackendState, PooledBackend
from router.core.codes import Code
from router.core.pool import BackendPool, Outcome
from router.core.retry import RetryBudget
from router.head_values import HeadLimits
from router.settings import RouterSettings

# Members of an Enum cost a look-up of 0.1 µs each in Python 3.11, where they are used for every request.
_SERVING: Final = BackendState.SERVING
_ANSWERED: Final = Outcome.ANSWERED
_OUT_OF_DESCRIPTORS = (23, 24)  # ENFILE, EMFILE


class WaitingRequest(Protocol):
    """A client connection, as far as it waits for a backend."""

    def room(self) -> None:
        """A backend may be free: ask the pool again."""

    def connected(self, attempt: object, link: BackendLink) -> bool:
        """The connection asked for is there. `attempt` is what `connect` was given. False: not wanted any more."""

    def connect_failed(self, attempt: object, code: Code) -> None:
        """It could not be made."""


class RoutedApp:
    """One app: its pool, its idle connections, its waiting requests."""

    __slots__ = (
        "_connects",
        "_date",
        "_drains",
        "_limits",
        "_loop",
        "_room_timer",
        "_sweeper",
        "budget",
        "hosts",
        "idle",
        "is_usual",
        "name",
        "open",
        "pool",
        "settings",
        "via",
        "waiting",
    )

    def __init__(
        self,
        name: str,
        settings: RouterSettings,
        *,
        loop: asyncio.AbstractEventLoop,
        random: Callable[[], float],
        date: Date,
        connects: set[asyncio.Task[None]],
    ) -> None:
        self.name = name
        self.hosts: tuple[str, ...] = ()
        self.open = 0  # requests and tunnels, waiting ones included
        self.waiting: deque[WaitingRequest] = deque()
        self._loop = loop
        self._date = date
        self._connects = connects
        self._drains: dict[str, list[asyncio.Future[None]]] = {}
        self._room_timer: asyncio.TimerHandle | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self.pool = BackendPool(random=random)
        self.idle = IdleLinks(reuse_s=0, reuse_unsafe_s=0, most=0, clock=loop.time)
        self.apply(settings)

    def apply(self, settings: RouterSettings) -> None:
        """Use other settings from the next request on."""
        self.settings = settings
        self.is_usual = not (settings.session_affinity or settings.request_deadline_s)
        self.via = settings.via_name.encode()
        self._limits = HeadLimits(
            request_line=settings.max_request_line,
            line=settings.max_answer_line,
            fields=settings.max_fields,
            head=settings.max_answer_head,
        )
        pool, idle = self.pool, self.idle
        pool.balance = settings.balance
        pool.max_in_flight = settings.max_in_flight
        pool.boot_hold_s = settings.boot_hold_s
        pool.queue_timeout_s = settings.queue_timeout_s
        pool.slow_start_s = settings.slow_start_s
        idle.reuse_s = settings.idle_reuse_s
        idle.reuse_unsafe_s = settings.idle_reuse_unsafe_s
        idle.most = settings.max_idle_links
        self.budget = RetryBudget(share=settings.retry_share)

    # -- backends --------------------------------------------------------------------------------------------------

    def add(self, backend: Backend) -> None:
        """A backend is up."""
        self.pool.add(backend, self._loop.time())
        self.wake()

    async def drain(self, backend_id: str, timeout_s: float) -> int:
        """Take a backend out and wait for its requests; returns how many are left at the deadline."""
        if self.pool.get(backend_id) is None:
            return 0
        entry = self.pool.drain(backend_id)
        self.idle.drop(backend_id)
        self.wake()
        if entry.in_flight:
            done: asyncio.Future[None] = self._loop.create_future()
            waiters = self._drains.setdefault(backend_id, [])
            waiters.append(done)
            try:
                async with asyncio.timeout(timeout_s):
                    await done
            except TimeoutError:
                pass
            finally:
                waiters.remove(done)
        return entry.in_flight

    def remove(self, backend_id: str) -> None:
        """Forget a backend; requests that it still has go on."""
        self.idle.drop(backend_id)
        self.pool.remove(backend_id)
        for done in self._drains.pop(backend_id, ()):
            if not done.done():
                done.set_result(None)
        self.wake()

    def release(self, entry: PooledBackend, outcome: Outcome) -> None:
        """A request is done with its backend."""
        self.pool.release(entry, outcome, self._loop.time())
        if self.waiting or entry.state is not BackendState.SERVING:
            self._let_go(entry)

    def to_tunnel(self, entry: PooledBackend) -> None:
        """A request has become a tunnel."""
        self.pool.to_tunnel(entry)
        self._let_go(entry)

    def _let_go(self, entry: PooledBackend) -> None:
        if entry.state is not BackendState.SERVING and entry.in_flight == 0:
            for done in self._drains.get(entry.id, ()):
                if not done.done():
                    done.set_result(None)
        if self.waiting:
            self.wake()

    # -- waiting ---------------------------------------------------------------------------------------------------

    def wait(self, request: WaitingRequest, retry_at: float | None) -> None:
        """Park a request. The caller keeps its deadline."""
        self.waiting.append(request)
        if retry_at is not None and (self._room_timer is None or self._room_timer.when() > retry_at):
            if self._room_timer is not None:
                self._room_timer.cancel()
            self._room_timer = self._loop.call_at(retry_at, self._quarantine_over)

    def stop_waiting(self, request: WaitingRequest) -> None:
        """The request has given up."""
        if request in self.waiting:
            self.waiting.remove(request)

    def wake(self) -> None:
        """Let parked requests ask again, oldest first, as long as there is room."""
        for _ in range(len(self.waiting)):
            if not self.waiting or not self.pool.room(self._loop.time()):
                return
            self.waiting.popleft().room()

    def _quarantine_over(self) -> None:
        self._room_timer = None
        self.wake()

    # -- connections -----------------------------------------------------------------------------------------------

    def connect(self, request: WaitingRequest, attempt: object, entry: PooledBackend) -> None:
        """Connect to a claimed backend; the request hears of it through `connected` or `connect_failed`."""
        task = self._loop.create_task(self._connect(request, attempt, entry), name=f"connect:{entry.label}")
        self._connects.add(task)
        task.add_done_callback(self._connects.discard)

    async def _connect(self, request: WaitingRequest, attempt: object, entry: PooledBackend) -> None:
        make = partial(
            BackendLink,
            entry,
            self.idle,
            limits=self._limits,
            via=self.via,
            date=self._date,
        )
        try:
            async with asyncio.timeout(self.settings.connect_timeout_s):
                _, link = await self._loop.create_connection(make, entry.backend.host, entry.backend.port)
        except TimeoutError:
            request.connect_failed(attempt, Code.CONNECT_TIMEOUT)
            return
        except OSError as error:
            ours = error.errno in _OUT_OF_DESCRIPTORS
            request.connect_failed(attempt, Code.PLATFORM_ERROR if ours else Code.CONNECT_REFUSED)
            return
        link.transport.set_write_buffer_limits(high=self.settings.write_buffer)
        if not request.connected(attempt, link):
            self.keep(link)  # its request is gone; the next one may have it

    def answered(self, link: BackendLink, entry: PooledBackend, now: float, *, clean: bool) -> None:
        """`keep` (or close) and `release` after a whole answer, and one request less."""
        self.open -= 1
        if clean and entry.state is _SERVING and self._sweeper is not None:
            self.idle.put(link, now)
        elif clean:
            self.keep(link)
        else:
            link.transport.close()
        self.pool.release(entry, _ANSWERED, now)
        if self.waiting or entry.state is not _SERVING:
            self._let_go(entry)

    def keep(self, link: BackendLink) -> None:
        """Put a link that may be used again among the idle ones."""
        if link.entry.state is not BackendState.SERVING or link.lost:
            link.transport.close()
            return
        self.idle.put(link, self._loop.time())
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self.settings.idle_reuse_s, self._sweep)

    def _sweep(self) -> None:
        self.idle.sweep(self._loop.time())
        self._sweeper = self._loop.call_later(self.settings.idle_reuse_s, self._sweep) if len(self.idle) else None

    def close(self) -> None:
        """Close idle connections and stop the timers."""
        self.idle.close()
        for timer in (self._sweeper, self._room_timer):
            if timer is not None:
                timer.cancel()
        self._sweeper = self._room_timer = None


class AppTable:
    """Which app a Host belongs to: exact name, then wildcard, then the default app (contracts.md section 4)."""

    __slots__ = ("_apps", "_by_host", "_default", "_wildcards", "generation")

    def __init__(self) -> None:
        self._apps: dict[str, RoutedApp] = {}
        self._by_host: dict[str, RoutedApp] = {}
        self._wildcards: dict[str, RoutedApp] = {}
        self._default: str | None = None
        self.generation = 0  # changes with every change, so that what `find` said may be remembered

    def __iter__(self) -> Iterator[RoutedApp]:
        return iter(self._apps.values())

    def get(self, name: str) -> RoutedApp | None:
        """The app of that name."""
        return self._apps.get(name)

    def put(self, app: RoutedApp, hosts: Collection[str]) -> None:
        """Add an app, or give it other hosts."""
        self._apps[app.name] = app
        app.hosts = tuple(host.lower().removesuffix(".") for host in hosts)
        self._index()

    def remove(self, name: str) -> RoutedApp | None:
        """Forget an app."""
        app = self._apps.pop(name, None)
        self._index()
        return app

    def find(self, host: str) -> RoutedApp | None:
        """The app for a Host without port, in lower case."""
        app = self._by_host.get(host)
        if app is not None:
            return app
        _, dot, rest = host.partition(".")
        while dot:
            app = self._wildcards.get(rest)
            if app is not None:
                return app
            _, dot, rest = rest.partition(".")
        return self._apps.get(self._default) if self._default is not None else None

    def set_default(self, name: str | None) -> None:
        """The app that any other Host reaches."""
        self._default = name
        self.generation += 1

    def hosts(self) -> tuple[str, ...]:
        """Every host name in use."""
        return tuple(host for app in self for host in app.hosts)

    def _index(self) -> None:
        self.generation += 1
        self._by_host = {host: app for app in self for host in app.hosts if not host.startswith("*.")}
        self._wildcards = {host[2:]: app for app in self for host in app.hosts if host.startswith("*.")}
