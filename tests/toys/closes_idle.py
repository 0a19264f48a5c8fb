"""A web server that closes a connection on which nothing came for so many seconds after an answer, and says its port.

It looks once more just before it closes, as poll(2) does of itself: what it was too slow to read is answered. So the
only requests that it fails are those which arrive between that look and the close.
"""

import select
import socket
import sys
import threading

REQUEST_END = b"\r\n\r\nbody"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def readable(connection: socket.socket, seconds: float | None) -> bool:
    return bool(select.select([connection], [], [], seconds)[0])


def serve(connection: socket.socket, idle_s: float) -> None:
    got = b""
    limit_s: float | None = None
    with connection:
        while readable(connection, limit_s) or readable(connection, 0):
            data = connection.recv(65536)
            if not data:
                return
            got += data
            if got.endswith(REQUEST_END):
                got, limit_s = b"", idle_s
                connection.sendall(ANSWER)


with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
    print(listener.getsockname()[1], flush=True)
    while True:
        accepted, _ = listener.accept()
        threading.Thread(target=serve, args=(accepted, float(sys.argv[1])), daemon=True).start()
