"""A web process that is sound in all that `dynod doctor` checks, and small: each mutant of it breaks one thing.

    GET  /   says hello        POST /   reads the body, and says hello

Every request has a line on stdout at once; SIGTERM lets the requests under way be answered.
"""

import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer  # noqa: F401 - one of them is a mutant's


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for the requests under way
    request_queue_size = 128


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer(200)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200)

    def answer(self, status: int) -> None:
        body = b"hello\n"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        print(format % args, flush=True)


server = Server(("0.0.0.0", int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.05)
server.server_close()
