"""A `dynod up` of the doctor's own in a scratch folder: its log as it comes, its formation, its end.

The supervisor, the router and the log stream are those of `dynod up`, as a child; here is only how it is started,
listened to, scaled over its control socket, and ended so that nothing is left, whatever its dynos do.
"""

import contextlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Final, Self

import psutil

from dynod.core.doctor_time import TimeLeft
from dynod.doctor.scratch import Scratch
from dynod.errors import DynodError
from dynod.platform_api.client import ApiClient
from dynod.platform_api.finding import Daemon

WEB: Final = "web"
READ_ONLY: Final = "read-only"  # the process type that runs the web command with a code folder it cannot write to
CLEAN_END_S: Final = 4.0  # for dynos that have not been found to ignore SIGTERM
HURRIED_END_S: Final = 4.0  # from the second signal on, which kills
IGNORED_S: Final = 0.5  # between the two, where dynos have been found to ignore SIGTERM
LEAST_END_S: Final = 2.0  # of the whole time, kept for the second signal
KILL_S: Final = 1.0  # of the whole time, kept for SIGKILL
END_S: Final = 6.0  # of the whole time, kept for all of that
SCALE_S: Final = 10.0  # for an answer of `dynod up`, which carries it out later
LONGEST_LOG: Final = 50_000  # lines that are kept; a flood's last ones are not looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the log: when it came (monotonic), and its text."""

    at: float
    text: str


class Log:
    """What `dynod up` writes, line by line, read by a thread that ends with the stream."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._lines: list[Line] = []
        self._ended = False
        self._news = threading.Condition()
        self._stream = stream
        self._reader = threading.Thread(target=self._read, name="log", daemon=True)
        self._reader.start()

    def __len__(self) -> int:
        return len(self._lines)

    def find(self, pattern: str, *, since: int = 0) -> re.Match[str] | None:
        """The first line, from number `since` on, in which the pattern is found."""
        found = self.line(pattern, since=since)
        return re.search(pattern, found.text) if found is not None else None

    def line(self, pattern: str, *, since: int = 0) -> Line | None:
        """The same, as the line."""
        looked_for = re.compile(pattern)
        return next((line for line in self._lines[since:] if looked_for.search(line.text)), None)

    def number(self, pattern: str, *, since: int = 0) -> int | None:
        """The same, as its number in the log."""
        looked_for = re.compile(pattern)
        return next((n for n in range(since, len(self._lines)) if looked_for.search(self._lines[n].text)), None)

    def last(self, pattern: str) -> re.Match[str] | None:
        """The last line in which the pattern is found."""
        looked_for = re.compile(pattern)
        return next((found for line in reversed(self._lines) if (found := looked_for.search(line.text))), None)

    def wait(self, pattern: str, *, since: int = 0, until: float) -> re.Match[str] | None:
        """The same, waiting for it until a moment of the monotonic clock, or until the stream ends."""
        with self._news:
            while (found := self.find(pattern, since=since)) is None:
                left = until - time.monotonic()
                if self._ended or left <= 0:
                    return None
                self._news.wait(left)
            return found

    def last_of(self, dyno: str) -> str:
        """The last line that a dyno itself has written; empty where there is none."""
        looked_for = re.compile(rf" app\[{re.escape(dyno)}\]: (.*\S)")
        for line in reversed(self._lines):
            if (match := looked_for.search(line.text)) is not None:
                return match[1].strip()
        return ""

    def close(self) -> None:
        """Once the stream has ended."""
        self._reader.join()
        self._stream.close()

    def _read(self) -> None:
        for raw in self._stream:
            with self._news:
                if len(self._lines) < LONGEST_LOG:
                    text = raw.decode(errors="replace").rstrip("\n")
                    self._lines.append(Line(at=time.monotonic(), text=text))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


class Formation:
    """`with Formation(…) as formation`: one web dyno is being started inside, and after it nothing is left."""

    def __init__(
        self,
        scratch: Scratch,
        *,
        app: str,
        commands: Mapping[str, str],
        env_files: Sequence[str],
        release: bool,
        time_left: TimeLeft,
    ) -> None:
        """`time_left`: for all of it, its end included."""
        self._time = time_left
        self._scratch = scratch
        self._app = app
        self._commands = commands
        self._arguments = ["--app", app, *(word for name in env_files for word in ("-e", name))]
        self._arguments += ["--release"] if release else []
        self.port = free_port()
        self.ignores_sigterm = False

    def __enter__(self) -> Self:
        lines = "".join(f"{name}: {command}\n" for name, command in self._commands.items())
        procfile = self._scratch.write("Procfile", lines)
        folder = str(self._scratch.folder)
        up = [sys.executable, "-m", "dynod", "up", "-C", folder, "-f", str(procfile), "-p", f"127.0.0.1:{self.port}"]
        self._child = subprocess.Popen(  # noqa: S603 (ours)
            self._scratch.within([*up, *self._arguments, f"{WEB}=1"]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._scratch.environment(),
            start_new_session=True,  # Ctrl-C is the doctor's to handle
        )
        assert self._child.stdout is not None  # noqa: S101 (a pipe was asked for)
        self.log = Log(self._child.stdout)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.end()
        finally:
            for process in self._tree():
                with contextlib.suppress(psutil.Error):
                    process.kill()
            self._child.kill()
            self._child.wait()
            self.log.close()

    @property
    def has_ended(self) -> bool:
        """Whether `dynod up` itself is gone, as when it refuses to start."""
        return self._child.poll() is not None

    @property
    def has_read_only(self) -> bool:
        """Whether there is a process type that runs with a code folder it cannot write to."""
        return READ_ONLY in self._commands

    def scale(self, process_type: str, quantity: int) -> None:
        """So many dynos of a type. Raises DynodError where `dynod up` is no more, OutOfTimeError without time."""
        found = self._scratch.control_socket()
        if found is None:
            raise DynodError("the scratch formation has ended")
        timeout_s = self._time.keeping(END_S).within(SCALE_S)
        client = ApiClient(Daemon(socket=found, source="dynod doctor", app=self._app), timeout_s=timeout_s)
        try:
            client.scale(self._app, [{"type": process_type, "quantity": str(quantity)}])
        finally:
            client.close()

    def processes(self, dyno: str) -> list[psutil.Process]:
        """Those of a dyno, its first one first: by the variable DYNO, and by descent."""
        found: dict[int, psutil.Process] = {}
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                if process.pid in found or process.environ().get("DYNO") != dyno:
                    continue
                found[process.pid] = process
                found |= {child.pid: child for child in process.children(recursive=True)}
        return list(found.values())

    def end(self) -> None:
        """In order, as Ctrl-C ends it; where that takes long, by the second signal, which kills what still runs."""
        first_s = IGNORED_S if self.ignores_sigterm else CLEAN_END_S
        for wanted_s, kept_s in ((first_s, LEAST_END_S + KILL_S), (HURRIED_END_S, KILL_S)):
            keeper = self._keeper()
            if self._child.poll() is not None or keeper is None:
                return
            with contextlib.suppress(psutil.Error):
                keeper.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(min(wanted_s, self._time.keeping(kept_s).seconds()))

    def _tree(self) -> list[psutil.Process]:
        """Everything that came from the child, dynos' own children last."""
        try:
            return psutil.Process(self._child.pid).children(recursive=True)
        except psutil.Error:
            return []

    def _keeper(self) -> psutil.Process | None:
        """`dynod up` itself, which in a sandbox is the child's child."""
        for process in (psutil.Process(self._child.pid), *self._tree()) if self._child.poll() is None else ():
            with contextlib.suppress(psutil.Error):
                command = process.cmdline()
                if command[:4] == [sys.executable, "-m", "dynod", "up"]:
                    return process
        return None


def free_port() -> int:
    """A port for the router that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
