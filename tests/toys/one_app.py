"""An app that says what it finds where it runs, and what of the rest of the machine it reaches.

    GET /           its page
    GET /facts      JSON: what every app relies on; what works is "", what does not the error
    GET /elsewhere  JSON: folders of the machine in which it has made one; its capabilities
    GET /reach?...  JSON: by name whether it was reached; the query is JSON of what the test knows

With an argument it is a worker: it says "heard" when it is asked to leave, and ends with status 3.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.parse
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

KEYCTL = 250 if os.uname().machine == "x86_64" else 219
LIBC = ctypes.CDLL(None, use_errno=True)


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


def write(path: str) -> None:
    made = Path(path)
    made.parent.mkdir(exist_ok=True)
    made.write_text("x")
    made.replace(f"{path}.moved")
    if not path.startswith("media"):
        Path(f"{path}.moved").unlink()


def print_through(path: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"through {path}\n")


def facts() -> dict[str, object]:
    """What is the same wherever it runs."""
    status = Path("/proc/self/status").read_text()
    return {
        "home is the working folder": Path(os.environ["HOME"]).samefile("."),
        "variables": sorted(set(os.environ) - {"PWD", "TMPDIR"}),
        "dyno": os.environ["DYNO"],
        "umask": status.partition("Umask:\t")[2][:4],
        "stdin": sys.stdin.read(),
        "files": sorted(path.name for path in Path().iterdir() if path.name not in {"__pycache__", "media"}),
        "dumps no core": resource.getrlimit(resource.RLIMIT_CORE)[0] <= 1,
        "written before": Path("media/a.moved").exists(),
        "writes beside its code": outcome(lambda: write("media/a")),
        "writes to /tmp": outcome(lambda: write(f"/tmp/{uuid.uuid4()}")),
        "writes temporary files": outcome(lambda: write(tempfile.mkdtemp() + "/a")),
        "writes to /dev/shm": outcome(lambda: write(f"/dev/shm/{uuid.uuid4()}")),
        "prints through /dev/stdout": outcome(lambda: print_through("/dev/stdout")),
        "prints through /dev/stderr": outcome(lambda: print_through("/dev/stderr")),
        "finds hosts": outcome(lambda: socket.getaddrinfo("localhost", 80)),
        "status of a child": subprocess.run(["sh", "-c", "exit 9"], check=False).returncode,
        "signals a child": subprocess.run(["sh", "-c", "kill -TERM $$"], check=False).returncode,
    }


ELSEWHERE = ("/", "/run", "/dev", "/var", "/usr", "/etc", "/opt", "/srv", "/proc", "/sys", "/nix")


def elsewhere() -> list[str]:
    """Folders of the machine that it can write to."""
    return [path for path in ELSEWHERE if outcome(Path(path, "x").mkdir) == ""]


def capabilities() -> list[str]:
    """Those that it has, or hands on."""
    lines = Path("/proc/self/status").read_text().splitlines()
    held = [line for line in lines if line.startswith(("CapInh", "CapPrm", "CapEff", "CapAmb"))]
    return [line for line in held if int(line.split()[1], 16)]


def reach(known: dict[str, Any]) -> dict[str, bool]:
    """The rest of the machine."""

    def has_tried(attempt: Callable[[], object]) -> bool:
        return outcome(attempt) == ""

    def connect() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(known["abstract"])

    def control() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(known["control"])

    def use_keyrings() -> None:
        if LIBC.syscall(ctypes.c_long(KEYCTL), ctypes.c_long(0), ctypes.c_long(-3), ctypes.c_long(1)) < 0:
            raise OSError(ctypes.get_errno(), "keyctl")

    def signal_one(pid: int) -> None:
        os.kill(pid, 0)

    (sibling, *_) = [pid for pid in known["siblings"] if pid != os.getpid()]
    return {
        "state": has_tried(lambda: Path(known["state"]).read_bytes()),
        "code": has_tried(lambda: Path(known["code"]).read_bytes()),
        "environment": has_tried(lambda: Path(f"/proc/{known['daemon']}/environ").read_bytes()),
        "daemon": has_tried(lambda: signal_one(known["daemon"])),
        "other": has_tried(lambda: signal_one(known["other"])),
        "sibling": has_tried(lambda: signal_one(sibling)),
        "processes": Path(f"/proc/{known['daemon']}/stat").exists(),
        "file": has_tried(lambda: Path(known["file"]).read_bytes()),
        "tmp": has_tried(lambda: Path(known["tmp"]).read_bytes()),
        "control": has_tried(control),
        "abstract": has_tried(connect),
        "calls": has_tried(use_keyrings),
        "rights": "NoNewPrivs:\t0" in Path("/proc/self/status").read_text(),
    }


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        body = b"hello\n"
        if path == "/facts":
            body = json.dumps(facts()).encode()
        elif path == "/elsewhere":
            body = json.dumps({"folders": elsewhere(), "capabilities": capabilities()}).encode()
        elif path == "/reach":
            body = json.dumps(reach(json.loads(urllib.parse.unquote(query)))).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """The router says it."""


def leave(_number: int, _frame: object) -> None:
    print("heard", flush=True)
    sys.exit(3)


if len(sys.argv) > 1:
    signal.signal(signal.SIGTERM, leave)
    print("ready", flush=True)
    while True:
        signal.pause()
print("to stderr", file=sys.stderr, flush=True)
HTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
