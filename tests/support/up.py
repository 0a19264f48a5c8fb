"""The real `dynod up` as a child of a test, and the proof that it leaves nothing behind.

    with Up(app_folder(tmp_path, procfile={"web": toy("web_server")})) as up:
        up.wait_for_line(r"State changed from starting to up")
        assert up.get("/").status == 200

Leaving the block stops it with SIGTERM, expects status 0 (unless `stop` or `wait` was called before), and asserts
that no process, no file in the runtime directory and no `.dynod` in the folder is left. If the block fails, all is
killed and the whole output is printed.
"""

import contextlib
import fcntl
import http.client
import os
import pty
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

from support import abilities, processes
from support.processes import Process
from support.transcript import TIMEOUT_S, Line, Transcript

LISTENING: Final = r"^dynod: listening on (http://\S+)$"
IN_THE_FOLDER: Final = {"DYNOD_CONTAINER_ISOLATION": "none"}  # for --strict: a dyno sees the toys without more ado
STOP_TIMEOUT_S: Final = 60.0  # above the 30 s that dynos get, and what is killed after that

Found = TypeVar("Found")

# What the caller of a test run may have set and a test must not depend on (house rule: buffering tests run without
# PYTHONUNBUFFERED from outside).
_NOT_INHERITED = frozenset({"PORT", "DYNO", "NO_COLOR", "FORCE_COLOR", "VIRTUAL_ENV", "CLICOLOR", "CLICOLOR_FORCE"})
_PREFIXES_NOT_INHERITED = ("DYNOD_", "PYTHON", "PYTEST", "HEROKU_", "COV_", "MAKE", "MFLAGS")

# Makes the terminal on stdin the controlling one of the new session, as a terminal emulator does, then becomes dynod.
# A program of its own, because a function run between fork and exec is unsafe in a process with threads.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer, whole."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Up:
    """One run of `dynod up` (or of another verb that runs dynos), from start to end."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        terminal: bool = False,
        port: int | None = None,
        chdir: bool = False,
        stdout: int | None = None,
    ) -> None:
        """`arguments` follow `dynod up -C folder -p 127.0.0.1:PORT`.

        `port`: a free one by default; 0 leaves `-p` out. `chdir`: start in the folder instead of naming it by -C.
        `terminal`: stdin, stdout and stderr are a terminal of its own, whose stream is called "terminal".
        `stdout`: a descriptor to write to instead of the transcript (of a file, or of a pipe that nobody reads).
        """
        self.folder = folder
        self.port = free_port() if port is None else port
        self.mark = uuid.uuid4().hex
        self.runtime = Path(tempfile.mkdtemp(prefix="up-"))  # short: socket paths end at 108 bytes
        self.output = Transcript()
        self.status: int | None = None
        self._terminal: int | None = None
        where = [] if chdir else ["-C", str(folder)]
        listen = ["-p", f"127.0.0.1:{self.port}"] if self.port else []
        self._command = [sys.executable, "-m", "dynod", "up", *where, *listen, *arguments]
        self._environment = {**clean_environment(), **abilities.environment(env)}
        self._environment |= {processes.MARK: self.mark, "XDG_RUNTIME_DIR": str(self.runtime)}
        self._cwd = folder if chdir else None
        self._wants_terminal = terminal
        self._stdout = stdout
        self._child: subprocess.Popen[bytes] | None = None

    # Life

    def __enter__(self) -> Self:
        if self._wants_terminal:
            self._start_on_terminal()
        else:
            self._start_on_pipes()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self.status is None:
                    status = self.stop()
                    assert status == 0, f"a clean stop ended with {status}:\n{self.output}"
                self.assert_nothing_left()
        except BaseException:
            self._give_up()
            raise
        else:
            if kind is not None:
                self._give_up()
        finally:
            if self._terminal is not None:
                os.close(self._terminal)
            shutil.rmtree(self.runtime, ignore_errors=True)

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Waits for dynod to end by itself; its exit status, -N for a death by signal N."""
        try:
            self.status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            left = "\n".join(map(str, self.processes()))
            raise AssertionError(f"dynod has not ended after {timeout_s:g} s:\n{self.output}\n{left}") from None
        self.output.wait_for_end()
        return self.status

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Asks dynod to end, and waits for that; its exit status."""
        self.send_signal(number)
        return self.wait(timeout_s)

    def send_signal(self, number: signal.Signals) -> None:
        """To the keeper alone, as `kill PID` does. For Ctrl-C as a terminal sends it: `type("\\x03")`."""
        os.kill(self.pid, number)

    def type(self, text: str) -> None:
        """As if typed at the terminal."""
        assert self._terminal is not None, "only with terminal=True"
        os.write(self._terminal, text.encode())

    # What it says

    def wait_for_line(
        self, pattern: str, *, since: int = 0, stream: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> Line:
        """See Transcript.wait_for_line; streams are "stdout" and "stderr", or "terminal"."""
        return self.output.wait_for_line(pattern, since=since, stream=stream, timeout_s=timeout_s)

    def wait_until_up(self, *dynos: str) -> None:
        """Until the log has said of each of these dynos that it is up."""
        for dyno in dynos:
            self.wait_for_line(rf"heroku\[{dyno}\]: +State changed from starting to up")

    @property
    def router_url(self) -> str:
        """Where the router listens, once it does; without a trailing slash."""
        return self.wait_for_line(LISTENING).group().rstrip("/")

    def get(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """One request to the router over a connection of its own."""
        address = urlsplit(self.router_url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(status=response.status, headers=response.headers, body=response.read())

    # Its processes

    @property
    def pid(self) -> int:
        """The keeper: dynod's own process id."""
        return self._process.pid

    def processes(self) -> list[Process]:
        """Every living process of this run: keeper, core, dynos and all that came from them."""
        return processes.marked(self.mark)

    def core_pid(self, *, other_than: int | None = None) -> int:
        """The keeper's child that runs dynod.daemon; `other_than`: wait for the next one."""

        def look() -> int | None:
            cores = [p.pid for p in self.processes() if p.parent == self.pid and "dynod.daemon" in p.command]
            return next((pid for pid in cores if pid != other_than), None)

        return eventually(look, what="a core")

    def dyno_pids(self) -> dict[str, list[int]]:
        """By dyno name, the processes started with that DYNO; those that the keeper itself started come first."""
        found: dict[str, list[Process]] = {}
        for process in self.processes():
            if process.dyno:
                found.setdefault(process.dyno, []).append(process)
        return {
            dyno: [p.pid for p in sorted(group, key=lambda p: (p.parent != self.pid, p.pid))]
            for dyno, group in found.items()
        }

    # The end

    def assert_nothing_left(self) -> None:
        """No process, no file in the runtime directory, no `.dynod`: right after the end, without a grace.

        Only after a SIGKILL of the keeper is there one: then it is the core that clears up, and nobody waits for it.
        """
        assert self.status is not None, "dynod still runs"
        killed = self.status == -signal.SIGKILL
        left = processes.wait_until_gone(self.mark, timeout_s=STOP_TIMEOUT_S if killed else 0)
        assert not left, "processes are left:\n" + "\n".join(map(str, left)) + f"\n{self.output}"
        files = sorted(str(path) for path in self.runtime.rglob("*") if not path.is_dir())
        assert not files, f"files are left in the runtime directory: {files}"
        assert not (self.folder / ".dynod").exists(), "the folder's .dynod is left"

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        assert self._child is not None, "not started: use it in a with statement"
        return self._child

    def _start_on_pipes(self) -> None:
        self._child = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if self._stdout is None else self._stdout,
            stderr=subprocess.PIPE,
            env=self._environment,
            cwd=self._cwd,
            start_new_session=True,
        )
        for name, pipe in (("stdout", self._child.stdout), ("stderr", self._child.stderr)):
            if pipe is not None:
                self.output.read(name, os.dup(pipe.fileno()))
                pipe.close()

    def _start_on_terminal(self) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-c", _TAKE_TERMINAL, *self._command],
                stdin=theirs,
                stdout=theirs if self._stdout is None else self._stdout,
                stderr=theirs,
                env={"TERM": "xterm-256color", **self._environment},
                cwd=self._cwd,
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        self._terminal = ours
        self.output.read("terminal", os.dup(ours), coloured=True)

    def _give_up(self) -> None:
        processes.kill_all(self.mark)
        if self._child is not None:
            self._child.wait()
        print(f"$ {' '.join(self._command)}\n{self.output}")


def free_port() -> int:
    """A port that was free on 127.0.0.1 and on ::1 a moment ago, and is not one that dynos get."""
    while True:
        with socket.socket(socket.AF_INET) as first, socket.socket(socket.AF_INET6) as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            second.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            with contextlib.suppress(OSError):
                second.bind(("::1", port))
                return port


def clean_environment() -> dict[str, str]:
    """The caller's environment without what would change how dynod or a toy behaves."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_INHERITED and not name.startswith(_PREFIXES_NOT_INHERITED)
    }


def eventually(probe: Callable[[], Found | None], *, what: str, timeout_s: float = TIMEOUT_S) -> Found:
    """The first value of `probe` that is true. For what announces itself nowhere, as a state in /proc does not."""
    deadline = time.monotonic() + timeout_s
    for pause in _pauses():
        if value := probe():
            return value
        assert time.monotonic() < deadline, f"{what}: not after {timeout_s:g} s"
        time.sleep(pause)
    raise AssertionError("unreachable")


def _pauses() -> Iterator[float]:
    pause = 0.002
    while True:
        yield pause
        pause = min(pause * 2, 0.1)
