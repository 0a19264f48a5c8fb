"""What asyncio's transports do not offer of a TCP socket."""

import asyncio
import contextlib
import os
import socket
import struct
import sys
from typing import Final

# Where Linux's struct tcp_info (tcp(7)) has `tcpi_last_data_recv`, milliseconds; other systems have other structures.
_DATA_RECEIVED_AT: Final = 52 if sys.platform == "linux" else 0
_MS: Final = struct.Struct("=I")

_LINGER_ZERO = struct.pack("ii", 1, 0)


def reset(transport: asyncio.Transport) -> None:
    """Close with a reset instead of an end: for an answer whose end would pass for its completion."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):  # closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    transport.abort()


def connected(transport: asyncio.Transport) -> bool:
    """Whether the other side has not reset the connection: it then has no peer any more."""
    sock = transport.get_extra_info("socket")
    try:
        return sock is not None and sock.getpeername() is not None
    except OSError:
        return False


def quiet(transport: asyncio.Transport) -> bool:
    """Whether nothing can be read: neither bytes nor the other side's end. A byte that is there is lost."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return False
    try:
        os.read(sock.fileno(), 1)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def silent_s(transport: asyncio.Transport) -> float:
    """How long ago the other side's last byte arrived, in seconds; 0 where the kernel does not tell.

    What the loop knows is when it has read that byte, which is later where the process was stopped meanwhile.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or not _DATA_RECEIVED_AT:
        return 0.0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _DATA_RECEIVED_AT + _MS.size)
    except OSError:
        return 0.0
    since_ms: int = _MS.unpack_from(info, _DATA_RECEIVED_AT)[0] if len(info) == _DATA_RECEIVED_AT + _MS.size else 0
    return since_ms / 1000.0


def read_now(transport: asyncio.Transport, limit: int = 65536) -> bytes:
    """What has arrived and was not read yet, at most `limit` bytes; empty if nothing or at the end."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return b""
    try:
        return os.read(sock.fileno(), limit)
    except OSError:
        return b""
