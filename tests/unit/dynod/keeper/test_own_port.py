"""Which ports a process of a guarded group binds: asked of the kernel, where that can be had."""

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from dynod.keeper import cgroups
from dynod.keeper.own_port import FIRST, LAST, OWN, guard

# Of no dyno, and above the ephemeral ports: nobody else has them while the test does.
LIMITS = {OWN: 61_105, FIRST: 61_100, LAST: 61_109}
REFUSED = {errno.EADDRINUSE, errno.EPERM}  # the latter by kernels before 5.18
HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@pytest.fixture(scope="module")
def group() -> Iterator[str]:
    groups = cgroups.find(os.getpid())
    if groups is None:
        pytest.skip("no control groups here")
    try:
        made = groups.make("guarded")
        try:
            guard(made, LIMITS)
        except OSError as error:
            pytest.skip(f"no programs of control groups here: {error.strerror}")
        yield made
    finally:
        groups.remove_all()


@pytest.mark.parametrize(
    ("port", "kind", "is_refused"),
    [
        (61_105, socket.SOCK_STREAM, False),
        (61_100, socket.SOCK_STREAM, True),
        (61_109, socket.SOCK_STREAM, True),
        (61_099, socket.SOCK_STREAM, False),
        (61_110, socket.SOCK_STREAM, False),
        (0, socket.SOCK_STREAM, False),
        (61_100, socket.SOCK_DGRAM, False),
    ],
)
@pytest.mark.parametrize("family", HOSTS)
def test_of_the_range_it_binds_its_own(
    group: str, family: socket.AddressFamily, port: int, kind: socket.SocketKind, is_refused: bool
) -> None:
    if (child := os.fork()) == 0:
        try:
            cgroups.enter(group)
            with socket.socket(family, kind) as bound:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                bound.bind((HOSTS[family], port))
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 255)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert (ended in REFUSED) if is_refused else (ended == 0)


def test_where_nothing_is_said_of_ports_nothing_is_done() -> None:
    guard("/nowhere", {})
