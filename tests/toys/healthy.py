"""A web dyno that answers health probes in every way that a probe has to understand; prints "listening on PORT".

    /ok          200, "all is well"             /redirect       302 to /login
    /headers     200, the request's head        /to-https       301 to https:// and the Host it was asked by
    /status/N    N, and why, in plain text      /host           400, as Django says it, unless the Host is demo.example
    /slow        the head, never the body       /silent         nothing at all
    /stream      a body that never ends         /garbage        something that is not HTTP
    /close       an end without an answer       /large          2 MB, the last words of which are "the end"

Connections that get no answer are held until the client leaves; so nothing here waits for a clock.
"""

import contextlib
import os
import signal
import socket
import threading

DJANGO = b"<html><head><title>Bad Request (400)</title></head><body><h1>Bad Request (400)</h1><p></p></body></html>"


def serve(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        request = b""
        while b"\r\n\r\n" not in request:
            data = connection.recv(65536)
            if not data:
                return
            request += data
        path = request.split(b" ")[1].decode()
        host = next(
            (line[5:].strip() for line in request.split(b"\r\n") if line.lower().startswith(b"host:")), b""
        ).decode()
        if answer(connection, path, host, request):
            while connection.recv(65536):
                pass


def answer(connection: socket.socket, path: str, host: str, request: bytes) -> bool:
    """Whether the connection is to be held."""
    match path.partition("?")[0].split("/")[1:]:
        case ["headers"]:
            send(connection, "200 OK", request)
        case ["redirect"]:
            send(connection, "302 Found", b"", "Location: /login\r\n")
        case ["to-https"]:
            send(connection, "301 Moved Permanently", b"", f"Location: https://{host}{path}\r\n")
        case ["host"] if host != "demo.example":
            send(connection, "400 Bad Request", DJANGO, "Content-Type: text/html\r\n")
        case ["status", number]:
            body = b"" if number == "204" else b"database is down\nand more"
            send(connection, f"{number} Whatever", body, "Content-Type: text/plain\r\n")
        case ["slow"]:
            connection.sendall(b"HTTP/1.1 500 Oh\r\nContent-Length: 100\r\n\r\n")
            return True
        case ["silent"]:
            return True
        case ["stream"]:
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n")
            connection.sendall(b"5\r\nworld\r\n")
            return True
        case ["garbage"]:
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        case ["close"]:
            pass
        case ["large"]:
            send(connection, "200 OK", b"x" * (2 << 20) + b"the end")
        case _:
            send(connection, "200 OK", b"all is well")
    return False


def send(connection: socket.socket, status: str, body: bytes, fields: str = "") -> None:
    head = f"HTTP/1.1 {status}\r\n{fields}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    connection.sendall(head.encode() + body)


def main() -> None:
    """Serves until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    host = os.environ.get("HOST", "127.0.0.1")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, int(os.environ.get("PORT", "0"))), family=family, backlog=128)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print(f"listening on {listener.getsockname()[1]}", flush=True)
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()
