"""`dynod api-stdio`: stdin and stdout joined to the control socket of the dynod of this machine.

It is the far end of `DYNOD_HOST=ssh://…`: the ssh of a laptop starts it, and talks the API through it. It looks at no
byte. Who asks is, for the kernel and so for dynod, the user whom sshd has let in.
"""

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Final

import click

from dynod.platform_api.client import ApiClient
from dynod.platform_api.finding import find_daemon

PIECE_BYTES: Final = 64 * 1024


@click.command("api-stdio")
@click.option("--socket", "path", metavar="PATH", help="Control socket of the dynod to talk to.")
def command(path: str | None) -> None:
    """Join stdin and stdout to the control socket of the dynod of this machine; for ssh to start.

    Ends when the daemon closes the connection. The end of stdin is passed on, and answers are still waited for.
    """
    # `here`: no journey from VM to VM.
    with ApiClient(find_daemon(path, os.environ, Path.cwd(), here=True)).open_socket() as daemon:
        daemon.settimeout(None)
        # A daemon: once dynod has closed the connection, nobody waits for what stdin might still say.
        threading.Thread(target=_pass_on, args=(daemon,), name="stdin", daemon=True).start()
        _answer(daemon)
    # It may be in the middle of a read, and is not asked: ssh and its client wait for this process to end.
    os._exit(0)


def _pass_on(daemon: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the daemon has gone, which the other direction sees
        while data := os.read(0, PIECE_BYTES):
            daemon.sendall(data)
        daemon.shutdown(socket.SHUT_WR)


def _answer(daemon: socket.socket) -> None:
    with contextlib.suppress(OSError):  # either end has gone: nothing is left to do
        while data := daemon.recv(PIECE_BYTES):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(1, rest) :]
