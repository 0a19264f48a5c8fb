"""The addresses dynod listens on: from what a person wrote to bound, listening sockets."""

import contextlib
import errno
import re
import socket
from dataclasses import dataclass

from dynod.errors import DynodError, UsageError

DEFAULT_PORT = 5000  # Heroku's `heroku local`
DEFAULT_TRIES = 100
BACKLOG = 4096  # contracts 1: connections wait here while cores change
LOOPBACK = ("127.0.0.1", "::1")


class ListenError(DynodError):
    """An address that cannot be had."""

    code = "listen"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """`[HOST:]PORT`; no host means loopback, both families."""

    host: str | None
    port: int

    def __str__(self) -> str:
        if self.host is None:
            return str(self.port)
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def hosts(self) -> tuple[str, ...]:
        return LOOPBACK if self.host in {None, "localhost"} else (self.host or "",)


def parse_listen_address(text: str, *, option: str) -> ListenAddress:
    """`5000`, `0.0.0.0:5000`, `[::]:5000`, `localhost:5000`. Raises UsageError, which names the option."""
    match = re.fullmatch(r"(?:(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+):)?(?P<port>[0-9]{1,5})", text, re.ASCII)
    if match is None or not 1 <= int(match["port"]) <= 65_535:  # noqa: PLR2004 (the last TCP port)
        raise UsageError(f"{option} {text}: expected [HOST:]PORT with a port from 1 to 65535")
    host = match["host"]
    return ListenAddress(host=host.strip("[]") if host is not None else None, port=int(match["port"]))


def listen(address: ListenAddress, *, option: str = "-p") -> list[socket.socket]:
    """Bound and listening; `option` is what says where.

    Raises ListenError naming what is in the way; then nothing is left open.
    """
    sockets: list[socket.socket] = []
    host = ""
    try:
        for host in address.hosts:
            sockets += _listen_on(host, address.port, optional=len(address.hosts) > 1 and bool(sockets))
    except OSError as error:
        for each in sockets:
            each.close()
        if error.errno == errno.EADDRINUSE:
            reason = f"another program listens there: stop it, or choose another with {option} PORT"
        elif error.errno == errno.EACCES:
            reason = f"ports below 1024 need a privilege: choose another with {option} PORT"
        else:
            reason = (error.strerror or str(error)).lower()
        shown = f"[{host}]" if ":" in host else host
        raise ListenError(f"cannot listen on {shown}:{address.port}: {reason}") from error
    return sockets


def listen_again(address: ListenAddress, kept: list[socket.socket], *, option: str = "-p") -> list[socket.socket]:
    """As `listen`, by sockets of `kept` that are bound there already; those are taken out of the list."""
    wanted = set()
    for host in address.hosts:
        with contextlib.suppress(OSError):
            wanted.add(socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)[0][4][:2])
    found = [each for each in kept if each.getsockname()[:2] in wanted]
    for each in found:
        kept.remove(each)
    return found or listen(address, option=option)


def listen_near(port: int) -> list[socket.socket]:
    """Loopback on the first free port from `port` up: for a default, which nobody has asked for."""
    last = min(port + DEFAULT_TRIES - 1, 65_535)
    for candidate in range(port, last + 1):
        try:
            return listen(ListenAddress(host=None, port=candidate))
        except ListenError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EADDRINUSE:
                raise
    raise ListenError(f"no port from {port} to {last} is free: choose one with -p PORT")


def url(sockets: list[socket.socket]) -> str:
    """Where a browser on this machine finds it."""
    host, port = sockets[0].getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (a comparison)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen_on(host: str, port: int, *, optional: bool) -> list[socket.socket]:
    """`optional`: the second loopback family may be missing from the machine."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _name, where = found[0]
    try:
        listener = socket.socket(family, kind, protocol)
    except OSError:
        if optional:
            return []
        raise
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if optional and error.errno == errno.EADDRNOTAVAIL:
            return []
        raise
    return [listener]
