"""A well-behaved web dyno: says who it is and what it was asked, and finishes its requests when told to leave.

    GET  /           JSON: dyno, pid, port, method, path, headers as they came
    POST /echo       the body, as it came
    GET  /bytes/N    N bytes
    GET  /after/MS   the path, MS milliseconds later; X-Began is when it came (CLOCK_MONOTONIC), X-Pid who had it
    POST /after/MS   the same with the body
    GET  /gate/NAME  an answer once somebody writes to the FIFO NAME in the working folder
    GET  /metrics    how many requests it has read, as Prometheus wants it, with a label `dyno` of its own
    GET  /exit/N     no answer: the process ends with status N

By default it listens on 0.0.0.0 and $PORT. With --host and --port it is the dyno that listens where nobody looks,
or on ::1 alone; with --gate NAME the one that binds late: once somebody writes to the FIFO NAME.
With --counts it says at its end how many requests for /after it has had.
"""

import argparse
import json
import os
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for the requests under way
    request_queue_size = 128

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.idle: set[socket.socket] = set()  # kept-alive connections between two requests
        self.leaving = False
        self.timed = 0  # requests for /after
        self.read = 0  # requests
        self.lock = threading.Lock()
        super().__init__((host, port), Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()

    def leave(self) -> None:
        """Ends the serve_forever of another thread, and the connections that wait for nothing."""
        with self.lock:
            self.leaving = True
            for connection in self.idle:
                connection.shutdown(socket.SHUT_RD)
        self.shutdown()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def handle_one_request(self) -> None:
        with self.server.lock:
            if self.server.leaving:
                self.close_connection = True
                return
            self.server.idle.add(self.connection)
        super().handle_one_request()

    def parse_request(self) -> bool:
        with self.server.lock:
            self.server.idle.discard(self.connection)
            self.server.read += 1
        return super().parse_request()

    def finish(self) -> None:
        with self.server.lock:
            self.server.idle.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        match self.path.split("?")[0].split("/")[1:]:
            case ["bytes", count]:
                self.answer(b"x" * int(count))
            case ["after", delay]:
                self.after(int(delay), self.path.encode())
            case ["gate", name]:
                say(f"request waits at gate {name}")
                Path(name).read_bytes()
                self.answer(b"passed\n")
            case ["metrics"]:
                name = "toy_requests_total"
                text = f'# TYPE {name} counter\n{name}{{dyno="as the app calls it"}} {self.server.read}\n'
                self.answer(text.encode(), "text/plain; version=0.0.4")
            case ["exit", status]:
                os._exit(int(status))
            case _:
                self.answer(json.dumps(self.described(), indent=2).encode() + b"\n", "application/json")

    do_HEAD = do_GET  # noqa: N815 - the name that the base class looks for

    def do_POST(self) -> None:
        began = time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/after/"):
            self.after(int(self.path.split("?")[0].split("/")[2]), body, began)
            return
        self.answer(body, self.headers.get("Content-Type", "application/octet-stream"))

    def after(self, delay_ms: int, body: bytes, began: float | None = None) -> None:
        began = time.monotonic() if began is None else began
        with self.server.lock:
            self.server.timed += 1
        time.sleep(delay_ms / 1000)  # what is asked for: an app that works for so long
        self.answer(body, more={"X-Began": f"{began:.6f}", "X-Pid": str(os.getpid())})

    def described(self) -> dict[str, object]:
        return {
            "dyno": os.environ.get("DYNO"),
            "pid": os.getpid(),
            "port": self.server.server_address[1],
            "method": self.command,
            "path": self.path,
            "headers": self.headers.items(),
        }

    def answer(self, body: bytes, kind: str = "text/plain", *, more: dict[str, str] | None = None) -> None:
        if self.server.leaving:
            self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Dyno", os.environ.get("DYNO", ""))
        for name, value in (more or {}).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        """Nothing: the router has a line for each request."""


def say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """Serves until SIGTERM, then ends once every request under way is answered."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=os.environ.get("PORT"))
    parser.add_argument("--gate")
    parser.add_argument("--counts", action="store_true")
    parser.add_argument("--label", help="nothing: it is there to be seen in the log")
    wanted = parser.parse_args()
    if wanted.gate:
        say("waits before it binds")
        Path(wanted.gate).read_bytes()
    server = Server(wanted.host, wanted.port)
    # In a thread, because shutdown() waits for serve_forever, which the handler has interrupted.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.leave).start())
    say(f"listening on {wanted.host} port {server.server_address[1]}")
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    if wanted.counts:
        say(f"had {server.timed} timed requests")
    say("all requests are answered")


if __name__ == "__main__":
    main()
