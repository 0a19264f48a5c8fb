"""Who listens where, asked of the real kernel, by netlink and by psutil."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from dynod.core.boot import Address
from dynod.process import sockets
from dynod.process.boot_watch import SocketTable


@contextlib.contextmanager
def listening(host: str, *, only_v6: bool = True) -> Iterator[Address]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
        listener.bind((host, 0))
        listener.listen()
        yield Address(host, listener.getsockname()[1])


HOSTS = ["127.0.0.1", "127.0.0.7", "0.0.0.0", "::1", "::"]


@pytest.mark.parametrize("host", HOSTS)
def test_a_listening_socket_is_found_with_its_owner(host: str) -> None:
    own = sockets.socket_inodes([os.getpid()])
    with listening(host) as address:
        inodes = {listener.inode for listener in sockets.listeners() if listener.address == address}
        assert len(inodes) == 1
        assert inodes <= sockets.socket_inodes([os.getpid()]) - own
        assert address in sockets.listening_by_psutil([os.getpid()]).addresses
    assert address not in [listener.address for listener in sockets.listeners()]


def test_a_socket_that_is_bound_or_connected_does_not_listen() -> None:
    with listening("127.0.0.1") as address, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with socket.create_connection((address.host, address.port)) as client:
            found = [listener.address.port for listener in sockets.listeners()]
            assert address.port in found
            assert bound.getsockname()[1] not in found
            assert client.getsockname()[1] not in found


def test_many_listeners_need_more_than_one_answer() -> None:
    with contextlib.ExitStack() as stack:
        made = {stack.enter_context(listening("127.0.0.1")) for _ in range(400)}
        assert made <= {listener.address for listener in sockets.listeners()}


def test_processes_that_have_ended_hold_nothing() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert sockets.socket_inodes([child.pid]) == set()
    assert sockets.listening_by_psutil([child.pid]) == ([], True)


@pytest.mark.parametrize("by_netlink", [True, False])
def test_own_sockets_and_strangers_are_told_apart(*, by_netlink: bool) -> None:
    code = (
        "import socket, sys\n"
        "listener = socket.create_server(('127.0.0.1', 0)); print(listener.getsockname()[1], flush=True)\n"
        "sys.stdin.read()"
    )
    with (
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child,
        listening("127.0.0.1") as ours,
    ):
        assert child.stdout is not None
        theirs = Address("127.0.0.1", int(child.stdout.readline()))
        members = {"child": [child.pid], "nobody": []}
        table = SocketTable(lambda ids: {id_: members[id_] for id_ in ids}, by_netlink=by_netlink)
        assert asyncio.run(table.anyone_on([theirs.port]))
        seen = table.look({"child": theirs.port, "nobody": ours.port})
        assert list(seen["child"].own) == [theirs]
        assert list(seen["child"].strangers) == []
        assert list(seen["nobody"].own) == []
        assert list(seen["nobody"].strangers) == [ours]
        child.communicate()


@pytest.mark.parametrize("host", HOSTS)
def test_a_port_is_free_when_nobody_has_it_on_any_address(host: str) -> None:
    with listening(host) as address:
        assert not sockets.port_is_free(address.port)
    assert sockets.port_is_free(address.port)
