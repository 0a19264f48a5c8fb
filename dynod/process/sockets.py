"""Who listens where: the kernel's TCP listening sockets, and which processes hold them.

Linux answers over netlink (sock_diag(7)) with the listening sockets alone, in microseconds, where /proc/net/tcp would
list every connection of a busy router; owners are found through /proc/PID/fd. Elsewhere psutil is asked per process.
On Linux psutil reads /proc itself: where tests switch that off it stands for what it asks of macOS (libproc).
"""

import contextlib
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from dynod.core.boot import Address

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST_DUMP: Final = 0x1 | 0x300
_NLMSG_DONE: Final = 3
_NLMSG_ERROR: Final = 2
_LISTEN_ONLY: Final = 1 << 10  # TCP_LISTEN
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr
_REQUEST: Final = struct.Struct("=BBBxI48x")  # inet_diag_req_v2, any address
_ANSWER: Final = struct.Struct("=4B H 2x 16s 16s I 8x I I I I I")  # inet_diag_msg; ports are big endian
_RECEIVE_BYTES: Final = 65_536

ANSWERS_WITHIN_S: Final = 0.05  # the kernel answers for the program; one whose backlog is full is seen the next time

_NO_IPV6: Final = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


class Listener(NamedTuple):
    """A listening socket, the inode by which its owners are found, and the user who made it."""

    address: Address
    inode: int
    user: int


class Asked(NamedTuple):
    """What processes said of themselves."""

    addresses: list[Address]
    of_all: bool  # none of them may not be asked


def listeners() -> list[Listener]:
    """Every TCP listening socket of this network namespace, by netlink. Raises OSError where there is none."""
    found: list[Listener] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as netlink:
        for family in (socket.AF_INET, socket.AF_INET6):
            request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _LISTEN_ONLY)
            size = _HEADER.size + len(request)
            netlink.send(_HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 0, 0) + request)
            done = False
            while not done:
                done = _read_answers(netlink.recv(_RECEIVE_BYTES), family, found)
    return found


def _read_answers(data: bytes, family: int, found: list[Listener]) -> bool:
    offset = 0
    while offset < len(data):
        size, kind, _flags, _sequence, _pid = _HEADER.unpack_from(data, offset)
        if kind == _NLMSG_DONE:
            return True
        if kind == _NLMSG_ERROR:
            number = -struct.unpack_from("=i", data, offset + _HEADER.size)[0]
            raise OSError(number, os.strerror(number))
        fields = _ANSWER.unpack_from(data, offset + _HEADER.size)
        port, source, user, inode = socket.ntohs(fields[4]), fields[5], fields[11], fields[12]
        raw = source[:4] if family == socket.AF_INET else source
        found.append(Listener(Address(str(ipaddress.ip_address(raw)), port), inode, user))
        offset += (size + 3) & ~3
    return False


def socket_inodes(pids: Iterable[int]) -> set[int]:
    """The inodes of all sockets these processes hold; those that have ended or are another user's count as none."""
    inodes = set()
    for pid in pids:
        try:
            entries = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 (hot while dynos boot)
        except OSError:
            continue
        for entry in entries:
            try:
                target = os.readlink(f"/proc/{pid}/fd/{entry}")  # noqa: PTH115 (hot while dynos boot)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(int(target[8:-1]))
    return inodes


def listening_by_psutil(pids: Collection[int]) -> Asked:
    """Where these processes listen, wherever psutil works."""
    import psutil  # noqa: PLC0415 (8 ms of a start, which Linux goes without)

    found: list[Address] = []
    of_all = True
    for pid in pids:
        try:
            connections = psutil.Process(pid).net_connections("tcp")
        except psutil.NoSuchProcess:  # a zombie counts as one
            continue
        except psutil.AccessDenied:
            of_all = False
            continue
        found += [
            Address(str(connection.laddr.ip), connection.laddr.port)
            for connection in connections
            if connection.status == psutil.CONN_LISTEN
        ]
    return Asked(found, of_all)


def answering(port: int) -> list[Address]:
    """Where on loopback a connection to the port is taken; it is closed at once. Blocks, for moments.

    For ports below those that the system gives to clients: a client that was given `port` would connect to itself.
    """
    found = []
    for host in ("127.0.0.1", "::1"):
        with contextlib.suppress(OSError), socket.create_connection((host, port), ANSWERS_WITHIN_S):
            found.append(Address(host, port))
    return found


def port_is_free(port: int) -> bool:
    """Whether a dyno could listen on the port just now, on IPv4 and, where there is one, IPv6."""
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 (bound and closed at once)
        try:
            with socket.socket(family, socket.SOCK_STREAM | getattr(socket, "SOCK_CLOEXEC", 0)) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((host, port))
        except OSError as error:
            if family == socket.AF_INET6 and error.errno in _NO_IPV6:
                continue
            return False
    return True
