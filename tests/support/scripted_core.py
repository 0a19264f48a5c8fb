"""Stands in for the core, so that a test can be one: hands its end of the keeper's socket to the test and lies down.

    --keeper-fd N -- CONTROL_SOCKET

It connects to CONTROL_SOCKET, sends its pid and the descriptor, and then does what it is told, a byte a time:
exits with a status (`x` and the status as a byte), or stays deaf to SIGABRT as a core that hangs in C does (`d`).
Without a word more on that connection it goes on waiting, as a hung core would.
"""

import os
import signal
import socket
import sys


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    keeper_fd = int(sys.argv[sys.argv.index("--keeper-fd") + 1])
    control = socket.socket(socket.AF_UNIX)
    control.connect(sys.argv[-1])
    socket.send_fds(control, [os.getpid().to_bytes(4, "big")], [keeper_fd])
    os.close(keeper_fd)
    while told := control.recv(1):
        if told == b"x":
            os._exit(control.recv(1)[0])
        if told == b"d":
            signal.signal(signal.SIGABRT, signal.SIG_IGN)
            control.send(b".")
    while True:
        signal.pause()


main()
