"""The seam between dynos and router: dyno state in, request records out. The only module of dynod that knows `router`.

Flow: dyno up → **backend** → pool → relay → request record → **router line** of the log stream.
"""

import socket
from collections.abc import Callable, Sequence
from typing import Final

from dynod.core.boot import Address
from dynod.core.serving import WebCondition
from router import AppCondition, Backend, RequestRecord, Router, RouterSettings, format_line

DRAIN_S: Final = 30.0  # contracts 7: how long a dyno that stops may finish its requests

CONDITIONS: Final = {
    WebCondition.SERVING: AppCondition.SERVING,
    WebCondition.BOOTING: AppCondition.BOOTING,
    WebCondition.CRASHED: AppCondition.CRASHED,
    WebCondition.NO_WEB: AppCondition.NO_WEB,
}

RouterLines = Callable[[Sequence[tuple[float, str]]], None]


class Routing:
    """One app behind a router of its own: what `dynod up` needs."""

    def __init__(self, app: str, *, strict: bool) -> None:
        """`strict`: production's time limits; else H12 is only reported, a breakpoint being no timeout."""
        self._app = app
        self._lines: RouterLines | None = None
        self._backends: set[str] = set()
        self._is_shut = False
        # No slow start: dynos of one folder are alike, and a reload should show the balancing from the first request.
        settings = RouterSettings(enforce_first_byte=strict, slow_start_s=0.0)
        self._router = Router(settings, on_records=self._record)
        self._router.set_app(app, condition=AppCondition.BOOTING)
        self._router.set_default_app(app)

    async def start(self, listeners: Sequence[socket.socket], lines: RouterLines) -> None:
        """Serve on sockets that already listen; the keeper holds them too. `lines` takes the router's log lines."""
        self._lines = lines
        await self._router.start(listeners)

    def join(self, instance_id: str, name: str, address: Address) -> None:
        """A web dyno is up; said again after a takeover, or when its replacement failed."""
        if instance_id in self._backends or self._is_shut:
            return
        self._backends.add(instance_id)
        self._router.add_backend(self._app, Backend(id=instance_id, label=name, host=address.host, port=address.port))

    async def drain(self, instance_id: str) -> None:
        """No new requests for it; returns when those in flight are answered, at the latest after DRAIN_S."""
        if instance_id in self._backends and not self._is_shut:
            await self._router.drain_backend(self._app, instance_id, timeout_s=DRAIN_S)

    def leave(self, instance_id: str) -> None:
        """The dyno is gone."""
        if instance_id in self._backends and not self._is_shut:
            self._backends.remove(instance_id)
            self._router.remove_backend(self._app, instance_id)

    def condition(self, condition: WebCondition) -> None:
        """What a request gets while no dyno can take it."""
        if not self._is_shut:
            self._router.set_app(self._app, condition=CONDITIONS[condition])

    async def shutdown(self, *, drain_timeout_s: float) -> None:
        """Stop accepting, answer what is in flight, cut what remains at the deadline."""
        await self._router.shutdown(drain_timeout_s=drain_timeout_s)
        self._is_shut = True

    def _record(self, records: Sequence[RequestRecord]) -> None:
        if self._lines is not None:
            # A request that reached no app, such as one with a malformed head, is in no app's log; on Heroku neither.
            self._lines(
                [(record.started_at + record.total_ms / 1000, format_line(record)) for record in records if record.app]
            )


class NoRouting:
    """An app without web dynos: nothing is routed."""

    async def start(self, listeners: Sequence[socket.socket], lines: RouterLines) -> None: ...

    def join(self, instance_id: str, name: str, address: Address) -> None: ...

    async def drain(self, instance_id: str) -> None: ...

    def leave(self, instance_id: str) -> None: ...

    def condition(self, condition: WebCondition) -> None: ...

    async def shutdown(self, *, drain_timeout_s: float) -> None: ...
