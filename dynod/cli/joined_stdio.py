"""stdin and stdout joined to a socket: every byte, both ways, until its other end closes it."""

import contextlib
import os
import socket
import threading
from typing import Final, NoReturn

PIECE_BYTES: Final = 64 * 1024


def join(connection: socket.socket, first: bytes = b"") -> NoReturn:
    """Until the other end has closed it, and then this process ends. `first`: what has come from there already.

    The end of stdin is passed on, and answers are still waited for.
    """
    connection.settimeout(None)
    # A daemon: once the other end has closed the connection, nobody waits for what stdin might still say.
    threading.Thread(target=_pass_on, args=(connection,), name="stdin", daemon=True).start()
    with contextlib.suppress(OSError):  # either end has gone: nothing is left to do
        _write(first)
        while data := connection.recv(PIECE_BYTES):
            _write(data)
    # The thread may be in the middle of a read, and is not asked: whoever started this process waits for its end.
    os._exit(0)


def _pass_on(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other end has gone, which the other direction sees
        while data := os.read(0, PIECE_BYTES):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)


def _write(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]
