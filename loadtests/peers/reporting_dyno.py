"""A dyno that says when it lives: one datagram, its pid and port, once it listens (or at once, without a PORT).

    REPORT=UDP_PORT [PORT=N] python -I -S peers/reporting_dyno.py [FIRST_PORT NUMBER]

The same program under every supervisor, so that "started" means the same thing for all. The arguments are for those
that can number their processes on the command line alone. Few imports, because its own start is part of every latency
that is measured with it.
"""

import os
import signal
import socket
import sys


def main() -> None:
    port = sum(map(int, sys.argv[1:])) or int(os.environ.get("PORT") or 0)
    listener = socket.create_server(("127.0.0.1", port)) if port else None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as report:
        report.sendto(f"{os.getpid()} {port}".encode(), ("127.0.0.1", int(os.environ["REPORT"])))
    while listener is not None:
        connection, _ = listener.accept()
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        connection.close()
    while True:
        signal.pause()


main()
