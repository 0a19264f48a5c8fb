"""Where the API listens on TCP: from the start if settings say so, or on loopback from when somebody first asks.

The keeper holds the sockets, as the router's: a core that is killed refuses nobody. It speaks plain HTTP, so that it
may listen where other machines are only if that was asked for in so many words.
"""

import socket
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from dynod.core.api_host import is_loopback
from dynod.errors import SettingsError
from dynod.listeners import ListenAddress, listen_again, listen_near, url

HELD: Final = "api"  # the name under which the keeper has them
DEFAULT_PORT: Final = 5080  # from here up, for who has not chosen: near the router's, and the same after a restart


class Holder(Protocol):
    """The keeper, as far as sockets go."""

    def hold(self, name: str, fds: Sequence[int], /) -> None: ...
    def release(self, name: str, /) -> None: ...


class Server(Protocol):
    """The API."""

    async def start_tcp(self, sockets: Sequence[socket.socket], /) -> None: ...


class ApiListener:
    """Made by each core: `prepare`, `start`, and `close` at the end."""

    def __init__(self, address: ListenAddress | None, *, insecure: bool, keeper: Holder) -> None:
        """`insecure`: other machines may reach it in plain text."""
        self._address = address
        self._insecure = insecure
        self._keeper = keeper
        self._sockets: list[socket.socket] = []
        self._server: Server | None = None

    def prepare(self, held: Mapping[str, Sequence[int]], *, resumes: bool) -> None:
        """Take over what an earlier core had, or listen where it was asked for. Raises DynodError.

        Without `resumes`, what is held was kept from an earlier dynod, and is used where it still is what is asked for.
        """
        kept = [socket.socket(fileno=fd) for fd in held.get(HELD, ())]
        if resumes:
            self._sockets = kept
        elif self._address is not None:
            if not self._insecure:
                refuse_other_machines(self._address)
            self._take(listen_again(self._address, kept))
            for each in kept:
                each.close()
        elif kept:
            self._take(kept)  # somebody had asked for it, and has that address

    @property
    def names(self) -> tuple[str, ...]:
        """By which clients may call it, besides addresses and localhost."""
        return () if self._address is None or self._address.host is None else (self._address.host.lower(),)

    @property
    def url(self) -> str | None:
        """Where a program on this machine finds it; None: nowhere."""
        return url(self._sockets) if self._sockets else None

    async def start(self, server: Server) -> None:
        """Accept, now or when it is opened."""
        self._server = server
        if self._sockets:
            await server.start_tcp(self._sockets)

    async def open(self) -> str:
        """Listen on loopback unless it listens already; returns the URL. Raises ListenError."""
        if not self._sockets:
            self._take(listen_near(DEFAULT_PORT))
            if self._server is not None:
                await self._server.start_tcp(self._sockets)
        return url(self._sockets)

    def close(self) -> None:
        """Nobody is let in any more, by the next core either."""
        self._keeper.release(HELD)
        for each in self._sockets:
            each.close()
        self._sockets = []

    def _take(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self._keeper.hold(HELD, [each.fileno() for each in sockets])


def refuse_other_machines(address: ListenAddress) -> None:
    """A token that goes over a network in plain text is everybody's. Raises SettingsError."""
    for host in address.hosts:
        try:
            found = {str(each[4][0]) for each in socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)}
        except OSError as error:
            raise SettingsError(f"--api {address}: {host}: {error.strerror or error}") from error
        if not all(map(is_loopback, found)):
            raise SettingsError(
                f"--api {address}: other machines reach it there, and it speaks plain HTTP, tokens included: "
                "use a loopback address and a tunnel (ssh -L), or add --insecure-api where the network itself is safe"
            )
