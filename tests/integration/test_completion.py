"""Tab in real shells: verbs, apps, process types and dynos of a `dynod serve` that runs."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import pytest

from support.attached_run import TAKE_TERMINAL
from support.installed import program
from support.serve import Serve, ServedApp
from support.transcript import TIMEOUT_S
from support.up import clean_environment

SHELLS: Final = {
    "bash": (["--norc", "--noprofile", "-i"], "source <(dynod completion bash)"),
    "zsh": (["-f", "-i"], "autoload -U compinit; compinit -D; source <(dynod completion zsh)"),
    "fish": (["--no-config", "-i"], "dynod completion fish | source"),
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApp]:
    folder = tmp_path_factory.mktemp("completion")
    with Serve(folder / "state") as serve:
        serve.wait_until_ready()
        procfile = {"clock": "exec sleep 100000", "worker": "exec sleep 100000"}
        app = serve.app(folder, "shop", procfile=procfile, quantities={"clock": 1})
        app.wait_until_up("clock.1")
        yield app


class Shell:
    """A shell on a terminal."""

    def __init__(self, name: str, home: Path, socket: Path) -> None:
        arguments, self._begin = SHELLS[name]
        self._ours, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
        environment = {
            **clean_environment(),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": os.fspath(home),
            "TERM": "xterm",
            "DYNOD_SOCKET": os.fspath(socket),
        }
        self._child = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, program(name), *arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=home,
            env=environment,
            start_new_session=True,
        )
        os.close(terminal)
        self.said = b""

    def __enter__(self) -> Self:
        try:
            self.type(f"{self._begin}; echo be''gun\r")
            self.wait_for(b"begun")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.wait()
        os.close(self._ours)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def wait_for(self, *patterns: bytes) -> None:
        """Until each has been said, in this order, since the last time."""
        deadline = time.monotonic() + TIMEOUT_S
        while not re.search(b".*?".join(patterns), self.said, re.DOTALL):
            ready, _, _ = select.select([self._ours], [], [], deadline - time.monotonic())
            assert ready, f"{patterns} not in {self.said.decode(errors='replace')}"
            self.said += os.read(self._ours, 4096)
        self.said = b""


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_writes_verbs_types_apps_and_dynos(shell: str, app: ServedApp, tmp_path: Path) -> None:
    with Shell(shell, tmp_path, app.serve.socket) as terminal:
        terminal.type("dynod ps:sca\t-a sh\two\t2\r")  # what is wrong in it would be refused
        terminal.wait_for(rb"done, now running worker at 2")
        terminal.type("dynod ps:rest\t-a shop clock.\t\r")
        terminal.wait_for(rb"Restarting dyno clock\.1 on .*shop.*\.\.\. .*done")
        terminal.type("dynod ps --app=shop --js\t\r")
        terminal.wait_for(rb'"attach_url"')
        app.scale("worker=0")
        app.wait()
