"""Where Prometheus finds dynod: the addresses, and the token that is asked for there.

Flow: metrics → **metrics listener**, metrics site → Prometheus. Off unless it is asked for. The keeper holds the
sockets, as the router's. The token is for this place alone, because it goes over a network in plain text.
"""

import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from dynod.app_figures import AppFigures
from dynod.listeners import ListenAddress, listen_again, url
from dynod.metrics_token import token_hash

if TYPE_CHECKING:
    from dynod.metrics_site import Exposes, MetricsSite

HELD: Final = "metrics"  # the name under which the keeper has the sockets
TOKEN_NOTE: Final = "metrics-token"  # noqa: S105 (a key: of the note that holds the hash)


class Keeper(Protocol):
    """The keeper, as far as sockets and notes go."""

    def hold(self, name: str, fds: Sequence[int], /) -> None: ...
    def release(self, name: str, /) -> None: ...
    def put(self, key: str, value: str | None, /) -> None: ...


class MetricsListener:
    """Made by each core: `prepare`, `start`, and `close` at the end."""

    def __init__(self, address: ListenAddress | None, *, token_file: Path | None, keeper: Keeper) -> None:
        """`address` None: nowhere."""
        self._address = address
        self._token_file = token_file
        self._keeper = keeper
        self._sockets: list[socket.socket] = []
        self._token_hash = ""
        self._site: MetricsSite | None = None

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

    async def start(self, metrics: "Exposes", apps: Callable[[], Iterable[AppFigures]]) -> None:
        """Accept from now on."""
        if not self._sockets:
            return
        from dynod.metrics_site import MetricsSite  # noqa: PLC0415 (aiohttp: 0.1 s, for those who asked for it)

        self._site = MetricsSite(metrics, apps, token_hash=self._token_hash)
        await self._site.start(self._sockets)

    async def hand_over(self) -> None:
        """Nobody is let in any more by this core."""
        if self._site is not None:
            await self._site.close()

    async def close(self) -> None:
        """Nobody is let in any more, by the next core either."""
        self._keeper.release(HELD)
        for each in self._sockets:
            each.close()
        self._sockets = []
        if self._site is not None:
            await self._site.close()
