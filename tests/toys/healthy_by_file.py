"""A web dyno whose checks a test decides: GET /KIND is 503 while a file `PID.KIND` or `all.KIND` is in its folder.

Any other path answers with its process id.
"""

import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        kind = self.path.strip("/")
        bad = kind and any(Path(f"{whose}.{kind}").exists() for whose in (os.getpid(), "all"))
        body = str(os.getpid()).encode()
        self.send_response(503 if bad else 200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        """Nothing."""


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("listening", flush=True)
server.serve_forever(poll_interval=0.05)
