"""The seam between dynos and router: dyno state in, request records out. The only module of dynod that knows `router`.

Flow: dyno up → **backend** → pool → relay → request record → **router line** of the app's log stream.
"""

import asyncio
import contextlib
import hmac
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from dynod.core.boot import Address
from dynod.core.page_urls import page_urls
from dynod.core.serving import WebCondition
from dynod.core.traffic import BOUNDS_MS, DynoTraffic
from dynod.errors import SettingsError
from dynod.stderr import say
from router import AppCondition, Backend, RequestRecord, Router, RouterMetrics, RouterSettings, format_line
from router import SettingsError as RouterSettingsError

DRAIN_S: Final = 30.0  # contracts 7: how long a dyno that stops may finish its requests
SAY_DRAIN_AFTER_S: Final = 1.0

CONDITIONS: Final = {
    WebCondition.SERVING: AppCondition.SERVING,
    WebCondition.BOOTING: AppCondition.BOOTING,
    WebCondition.CRASHED: AppCondition.CRASHED,
    WebCondition.NO_WEB: AppCondition.NO_WEB,
}

RouterLines = Callable[[Sequence[tuple[float, str]]], None]
PlatformLine = Callable[[str, str], None]


class Elsewhere(Protocol):
    """Other routers that still have requests for the same dynos: those of cores that are retired."""

    def joined(self, app: str, instance_id: str, dyno: str, address: Address, /) -> None: ...
    def left(self, app: str, instance_id: str, /) -> None: ...
    async def drained(self, app: str, instance_id: str, within_s: float, /) -> None: ...
    async def finished(self, within_s: float, /) -> None: ...


class Nowhere:
    """There are none."""

    def joined(self, *_dyno: object) -> None:
        """Nobody has to know."""

    def left(self, *_dyno: object) -> None:
        """Nobody has to know."""

    async def drained(self, *_dyno: object) -> None:
        """Nobody has a request for it."""

    async def finished(self, *_within: object) -> None:
        """Nobody has any."""


class AppTraffic:
    """One app's share of the router. Made by `Routing.add_app`."""

    def __init__(self, app: str, router: Router, elsewhere: Elsewhere) -> None:
        self.app = app
        self._elsewhere = elsewhere
        self.lines: RouterLines = lambda _lines: None  # takes the app's router lines; set when its log stream exists
        self.says: PlatformLine = lambda _ps, _message: None  # the same for what is said of one dyno
        self._router = router
        self._backends: set[str] = set()
        self._condition = AppCondition.BOOTING
        self._is_in_maintenance = False
        self._is_blank = False
        self._usual: Mapping[str, object] = {}
        self._own: Mapping[str, object] = {}
        self._pages: Mapping[str, object] = {}

    def join(self, instance_id: str, name: str, address: Address) -> None:
        """A web dyno is up; said again after a takeover, or when its replacement failed."""
        if instance_id not in self._backends:
            self._backends.add(instance_id)
            backend = Backend(id=instance_id, label=name, host=address.host, port=address.port)
            self._router.add_backend(self.app, backend)
            self._elsewhere.joined(self.app, instance_id, name, address)

    async def drain(self, instance_id: str) -> None:
        """No new requests for it; returns when those in flight are answered, at the latest after DRAIN_S."""
        elsewhere = self._elsewhere.drained(self.app, instance_id, DRAIN_S)
        if instance_id in self._backends:
            here = self._router.drain_backend(self.app, instance_id, timeout_s=DRAIN_S)
            await asyncio.gather(here, elsewhere)
        else:
            await elsewhere  # it was taken out by a core that has retired since, and may have requests of its

    def leave(self, instance_id: str) -> None:
        """The dyno is gone."""
        if instance_id in self._backends:
            self._backends.remove(instance_id)
            self._router.remove_backend(self.app, instance_id)
        self._elsewhere.left(self.app, instance_id)

    def take_lines(self, lines: Sequence[tuple[float, str]]) -> None:
        """Router lines of a core that is retired."""
        self.lines(lines)

    def take_word(self, dyno: str, message: str) -> None:
        """What such a core says of a dyno."""
        self.says(dyno, message)

    def in_pool(self, instance_id: str) -> bool:
        """Whether that dyno may be given requests, or still has some."""
        return instance_id in self._backends

    @property
    def has_backends(self) -> bool:
        """Whether any dyno of it is up."""
        return bool(self._backends)

    def condition(self, condition: WebCondition) -> None:
        """What a request gets while no dyno can take it."""
        self._condition = CONDITIONS[condition]
        self._change()

    def maintenance(self, *, on: bool) -> None:
        """Heroku's maintenance mode: H80 for every request from now on, whatever the dynos do, which go on."""
        self._is_in_maintenance = on
        self._change()

    def blank(self, *, on: bool) -> None:
        """The app has no code yet: H81."""
        self._is_blank = on
        self._change()

    def reached_by(
        self, hosts: Collection[str], usual: Mapping[str, object], own: Mapping[str, object] | None = None
    ) -> None:
        """Other hosts, and other settings of the router, from the next request on. Raises SettingsError.

        `usual` are what any app has, `own` what was set for this one; the pages that its config vars name are between.
        """
        own = own or {}
        settings = _settings({**usual, **self._pages, **own})
        self._usual, self._own = usual, own
        self._change(hosts, settings)

    def pages(self, config_vars: Mapping[str, str]) -> None:
        """The release that runs has these config vars, two of which name pages. Ask for nothing else of them."""
        pages = page_urls(config_vars)
        if pages != self._pages:
            self._pages = pages
            self._change(settings=_settings({**self._usual, **pages, **self._own}))

    def _change(self, hosts: Collection[str] | None = None, settings: RouterSettings | None = None) -> None:
        condition = self._condition
        if self._is_in_maintenance:  # Heroku looks at this first
            condition = AppCondition.MAINTENANCE
        elif self._is_blank:
            condition = AppCondition.BLANK
        self._router.set_app(self.app, condition=condition, hosts=hosts, settings=settings)


def _settings(knobs: Mapping[str, object]) -> RouterSettings:
    try:
        return RouterSettings.from_mapping(knobs)
    except RouterSettingsError as error:
        raise SettingsError(f"router: {error}") from error


class Routing:
    """The router of this core and the apps behind it."""

    def __init__(
        self,
        knobs: Mapping[str, object],
        *,
        secret: bytes,
        elsewhere: Elsewhere = Nowhere(),  # noqa: B008 (a value)
    ) -> None:
        """`knobs` are settings of the router, by name. Raises SettingsError naming the one that is wrong.

        `secret` outlives the core: with another one it would know the clients of session affinity no more.
        """
        key = hmac.digest(secret, b"session affinity", "sha256")  # the secret signs other things, too
        self._router = Router(_settings(knobs), on_records=self._record, on_overdue=self._overdue, affinity_key=key)
        self.apps: dict[str, AppTraffic] = {}
        self._elsewhere = elsewhere
        self._takes_strays = ""
        self._is_started = False

    @staticmethod
    def check(knobs: Mapping[str, object]) -> None:
        """Whether these are settings of the router. Raises SettingsError."""
        _settings(knobs)

    def go_by(self, knobs: Mapping[str, object]) -> None:
        """Other settings of the router itself, for connections that are made from now on. Raises SettingsError."""
        self._router.set_settings(_settings(knobs))

    def add_app(
        self,
        app: str,
        *,
        hosts: Collection[str] = (),
        default: bool = False,
        knobs: Mapping[str, object] | None = None,
    ) -> AppTraffic:
        """An app, reached by these hosts; `default`: by any other host too. `knobs` None: the router's own."""
        traffic = self.apps[app] = AppTraffic(app, self._router, self._elsewhere)
        self._router.set_app(
            app, condition=AppCondition.BOOTING, hosts=hosts, settings=None if knobs is None else _settings(knobs)
        )
        if default:
            self._router.set_default_app(app)
            self._takes_strays = app
        return traffic

    def set_default_app(self, app: str | None) -> None:
        """The app that any unknown host reaches; None: such a host is answered 404."""
        self._router.set_default_app(app)

    def remove_app(self, app: str) -> None:
        """Nothing is routed to it any more."""
        del self.apps[app]
        self._router.remove_app(app)

    async def start(self, listeners: Sequence[socket.socket]) -> None:
        """Serve on sockets that already listen; the keeper holds them too."""
        self._is_started = True
        await self._router.start(listeners)

    @property
    def metrics(self) -> RouterMetrics:
        """The router's numbers; apps are called there what `add_app` was told."""
        return self._router.metrics

    def traffic_of(self, app: str) -> dict[str, DynoTraffic]:
        """By dyno, what passed so far and what is in flight; "" is what reached no dyno."""
        found = {
            name: DynoTraffic(requests=each.requests, failed=each.failed, buckets=each.buckets, in_flight=0)
            for name, each in self._router.metrics.totals(app).items()
        }
        none = DynoTraffic(requests=0, failed=0, buckets=(0,) * (len(BOUNDS_MS) + 1), in_flight=0)
        if app in self.apps:
            for name, in_flight in self._router.in_flight_by_label(app).items():
                found[name] = replace(found.get(name, none), in_flight=in_flight)
        return found

    def stop_accepting(self) -> None:
        """No more connections; those that come wait in the backlog as long as anybody has the sockets."""
        if self._is_started:
            self._router.stop_accepting()

    async def drain(self, hurry: asyncio.Event) -> None:
        """Answer what is in flight; after DRAIN_S, or in a `hurry`, cut it. WebSockets stay (contracts 7).

        What waits for a dyno to come up is answered now: none will.
        """
        for traffic in self.apps.values():
            if not traffic.has_backends:
                traffic.condition(WebCondition.NO_WEB)
        if not self._is_started:
            return
        drained = asyncio.ensure_future(self._drain_all())
        hurried = asyncio.ensure_future(hurry.wait())
        try:
            both = {drained, hurried}
            done, _ = await asyncio.wait(both, timeout=SAY_DRAIN_AFTER_S, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                count = sum(sum(self._router.in_flight(app).values()) for app in self.apps)
                what = "1 request" if count == 1 else f"{count} requests"
                say(f"waiting up to {DRAIN_S:.0f} s for {what} in flight (a second signal cuts them)")
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not drained.done():
                drained.cancel()
                await self._router.drain(0.0)
        finally:
            hurried.cancel()
            drained.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await drained

    async def _drain_all(self) -> int:
        cut, _ = await asyncio.gather(self._router.drain(DRAIN_S), self._elsewhere.finished(DRAIN_S))
        return cut

    async def retire(self, within_s: float) -> None:
        """Another core's router has the sockets: see out every connection, tunnels too, for at most so long."""
        if self._is_started:
            await self._router.retire(within_s)

    async def finish(self) -> None:
        """The daemon ends while this router sees its connections out: answer what is in flight, close the others."""
        if self._is_started:
            await self._router.drain(DRAIN_S)

    async def shutdown(self) -> None:
        """Cut what is left, and give out the last records."""
        if self._is_started:
            await self._router.shutdown(drain_timeout_s=0.0)

    def _record(self, records: Sequence[RequestRecord]) -> None:
        """A request that reached no app, such as one with a malformed head, is in no app's log, as on Heroku.

        Where there is but one app by design, as in `up`, it is in that one's.
        """
        by_app: dict[str, list[tuple[float, str]]] = {}
        for record in records:
            if app := record.app or self._takes_strays:
                ended_at = record.started_at + record.total_ms / 1000
                by_app.setdefault(app, []).append((ended_at, format_line(record)))
        for app, lines in by_app.items():
            if (traffic := self.apps.get(app)) is not None:
                traffic.lines(lines)

    def _overdue(self, record: RequestRecord, seconds: float) -> None:
        """H12 that only reports: a line of the dyno's as soon as it is so; the router's one line comes at the end."""
        if (traffic := self.apps.get(record.app or self._takes_strays)) is not None:
            path = record.path.decode("latin-1").replace('"', "%22")
            asked = f'{record.method.decode()} "{path}"'
            traffic.says(
                record.dyno.decode(),
                f"Error H12 (Request timeout) -> No answer to {asked} within {seconds:.0f} seconds; it goes on "
                f"(request_id={record.request_id.decode()})",
            )
