"""The sockets of `dynod serve`: those of systemd's socket unit, those that outlived an earlier dynod, or new ones.

Where the keeper was killed, systemd has kept what it was given (`keeper/notify`), so that clients wait in the backlog
while dynod starts again. A kept socket is used where it is bound as the settings ask for now.
"""

import contextlib
import grp
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from dynod.errors import DynodError
from dynod.listeners import ListenAddress, listen_again

SOCKET_UNIT: Final = "http"  # FileDescriptorName= of dynod.socket: its sockets count, and `listen` does not
ROUTER: Final = "router"  # the names under which the keeper has the others
CONTROL: Final = "control"
CONTROL_GROUP: Final = "dynod"  # its members may use the control socket
CONTROL_BACKLOG: Final = 128

Held = Mapping[str, Sequence[int]]


class ControlSocketError(DynodError):
    """A control socket that cannot be had."""

    code = "invalid_params"


def resumed(held: Held) -> list[socket.socket]:
    """What an earlier core served on. Nothing, where it was stopping already."""
    return [socket.socket(fileno=fd) for name in (SOCKET_UNIT, ROUTER) for fd in held.get(name, ())]


def router_listeners(held: Held, addresses: Iterable[ListenAddress]) -> tuple[list[socket.socket], bool]:
    """Bound and listening, and whether they are systemd's. Raises ListenError; then the kept ones are left open."""
    kept = [socket.socket(fileno=fd) for fd in held.get(ROUTER, ())]
    if held.get(SOCKET_UNIT):
        for each in kept:
            each.close()
        return [socket.socket(fileno=fd) for fd in held[SOCKET_UNIT]], True
    found = [each for address in addresses for each in listen_again(address, kept, option="--listen")]
    for each in kept:
        each.close()
    return found, False


def control_listener(held: Held, path: Path) -> socket.socket:
    """The control socket, for its user and the group `dynod`. Raises ControlSocketError."""
    for fd in held.get(CONTROL, ()):
        kept = socket.socket(fileno=fd)
        if kept.getsockname() == os.fspath(path) and path.is_socket():
            return kept
        kept.close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.connect(os.fspath(path))
        raise ControlSocketError(f"another dynod serves on {path}: stop it, or choose another --socket")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_socket():
            path.unlink()  # of a dynod that was killed
        old = os.umask(0o177)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(old)
    except OSError as error:
        listener.close()
        raise ControlSocketError(
            f"cannot listen on {path}: {error.strerror or error}; choose another --socket"
        ) from error
    with contextlib.suppress(KeyError, PermissionError):
        os.chown(path, -1, grp.getgrnam(CONTROL_GROUP).gr_gid)
        path.chmod(0o660)
    listener.listen(CONTROL_BACKLOG)
    return listener
