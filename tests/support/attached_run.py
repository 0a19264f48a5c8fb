"""The real `dynod run` as somebody uses it: on a terminal of its own, or with pipes.

with AttachedRun(up, "bash", terminal=True) as run:
    run.type("stty size\\r")
    run.wait_for_line("24 80")
    assert run.end("exit 3\\r") == 3
"""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from support import processes
from support.transcript import TIMEOUT_S, Line, Transcript
from support.up import Up, clean_environment

TAKE_TERMINAL: Final = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class AttachedRun:
    """One `dynod run`, from start to end; what is left of it is killed."""

    def __init__(
        self,
        up: Up,
        *arguments: str,
        terminal: bool = False,
        size: tuple[int, int] = (24, 80),
        folder: Path | None = None,
        env: dict[str, str] | None = None,
        verb: str = "run",
    ) -> None:
        self.output = Transcript()
        self._command = [sys.executable, "-m", "dynod", verb, *arguments]
        self._environment = {
            **clean_environment(),
            processes.MARK: up.mark,
            "XDG_RUNTIME_DIR": str(up.runtime),
            "TERM": "xterm",
            **(env or {}),
        }
        self._folder = folder or up.folder
        self._wants_terminal = terminal
        self._size = size
        self._terminal: int | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if self._wants_terminal:
            ours, theirs = pty.openpty()
            self._terminal = ours
            self.resize(*self._size)
            self._child = subprocess.Popen(
                [sys.executable, "-c", TAKE_TERMINAL, *self._command],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                env=self._environment,
                cwd=self._folder,
                start_new_session=True,
            )
            self.before = termios.tcgetattr(ours)
            os.close(theirs)
            self.output.read("terminal", os.dup(ours), coloured=True)
        else:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
                cwd=self._folder,
                start_new_session=True,
            )
            for name, pipe in (("stdout", self._child.stdout), ("stderr", self._child.stderr)):
                assert pipe is not None
                self.output.read(name, os.dup(pipe.fileno()))
                pipe.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        child = self.child
        if child.poll() is None:
            child.kill()
        child.wait()
        if child.stdin is not None:
            child.stdin.close()
        if self._terminal is not None:
            os.close(self._terminal)
        if kind is not None:
            print(f"$ {' '.join(self._command)}\n{self.output}")

    @property
    def child(self) -> subprocess.Popen[bytes]:
        assert self._child is not None, "not started: use it in a with statement"
        return self._child

    @property
    def dyno(self) -> str:
        """The name of its dyno, once it has one."""
        return self.wait_for_line(r"\.\.\. up, (run\.[0-9]+)").group()

    def type(self, text: str) -> None:
        """Keys, or what stdin gets."""
        if self._terminal is not None:
            os.write(self._terminal, text.encode())
        else:
            assert self.child.stdin is not None
            self.child.stdin.write(text.encode())
            self.child.stdin.flush()

    def end_input(self) -> None:
        assert self.child.stdin is not None
        self.child.stdin.close()

    def resize(self, rows: int, columns: int) -> None:
        assert self._terminal is not None
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def attributes(self) -> list[object]:
        """Of its terminal: whether it echoes, for one."""
        assert self._terminal is not None
        return termios.tcgetattr(self._terminal)

    def send_signal(self, number: signal.Signals) -> None:
        self.child.send_signal(number)

    def wait_for_line(self, pattern: str, *, since: int = 0) -> Line:
        return self.output.wait_for_line(pattern, since=since)

    def wait(self) -> int:
        try:
            return self.child.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"dynod run has not ended:\n{self.output}") from None

    def end(self, text: str) -> int:
        """Type this, and wait for the end; the exit status."""
        self.type(text)
        return self.wait()
