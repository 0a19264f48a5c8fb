"""Heroku's own command line, unmodified, pointed at a `dynod serve` by what `dynod heroku:env` says.

    with HerokuCli(serve, home) as heroku:
        assert heroku.done("ps:scale", "web=2", "-a", "demo").stdout ...

It is kept from everything but loopback: no telemetry, no look for a newer version, a home of its own.
To load it takes more than a second of one core. So one process, `toys/heroku/many.mjs`, runs one command after the
other; only what has to do with stdin, with a terminal or with time (`HerokuRun`, `alone`) is a process of its own.
"""

import json
import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from support import installed
from support.attached_run import AttachedRun
from support.serve import Serve
from support.up import clean_environment

TIMEOUT_S = 90.0


class HerokuCli:
    """As a user who has said `eval "$(dynod heroku:env)"` in one shell."""

    def __init__(self, serve: Serve, home: Path) -> None:
        folder = installed.node_folder("tests/toys/heroku")
        self.command = [installed.program("node"), str(folder / "node_modules/heroku/bin/run.js")]
        self._many = [installed.program("node"), "--no-deprecation", str(folder / "many.mjs")]
        self.serve = serve
        self._own = {
            **clean_environment(),
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "DISABLE_TELEMETRY": "true",
            "HEROKU_SKIP_NEW_VERSION_CHECK": "true",
            "NO_COLOR": "1",
            "TERM": "xterm",
        }
        self.variables: dict[str, str] = {}
        self.renew()

    def renew(self) -> None:
        """`heroku:env` once more: the token is another one."""
        said = self.serve.done("heroku:env", "--json", env=self._own).stdout
        self.variables = json.loads(said)

    @property
    def environment(self) -> dict[str, str]:
        """All that it is given."""
        return {**self._own, **self.variables}

    def __enter__(self) -> Self:
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        self._child = subprocess.Popen(
            [*self._many, str(requests), str(answers)],
            env=self.environment,
            cwd=self.serve.runtime,  # no repository, whose remotes it would look into
            stdin=subprocess.DEVNULL,
            pass_fds=(requests, answers),
        )
        os.close(requests)
        os.close(answers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._requests)  # the end of its input is the end of it
        try:
            self._child.wait(TIMEOUT_S)
        finally:
            self._child.kill()
            self._child.wait()
            os.close(self._answers)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        request = json.dumps({"arguments": arguments, "env": self.variables}) + "\n"
        os.write(self._requests, request.encode())
        answer = b""
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([self._answers], [], [], TIMEOUT_S)
            assert ready, f"heroku {arguments} has not ended"
            piece = os.read(self._answers, 65536)
            assert piece, f"heroku {arguments} has ended all of it, with {self._child.wait(TIMEOUT_S)}"
            answer += piece
        said = json.loads(answer)
        return subprocess.CompletedProcess(list(arguments), said["status"], said["stdout"], said["stderr"])

    def alone(self, *arguments: str, stdin: str = "", folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """One command to its end, in a process of its own and by the program that users start."""
        return subprocess.run(
            [*self.command, *arguments],
            env=self.environment,
            cwd=folder or self.serve.runtime,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def done(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """As `run`, for a command that must succeed."""
        ended = self.run(*arguments)
        assert ended.returncode == 0, f"heroku {arguments}: {ended.stdout}{ended.stderr}"
        return ended

    def each(self, *commands: Sequence[str]) -> list[str]:
        """Several, one after the other; their stdouts."""
        return [self.done(*command).stdout for command in commands]


class HerokuRun(AttachedRun):
    """One `heroku` that goes on: on a terminal of its own, or with pipes."""

    def __init__(
        self,
        heroku: HerokuCli,
        *arguments: str,
        terminal: bool = False,
        size: tuple[int, int] = (24, 80),
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(heroku.serve, terminal=terminal, size=size, folder=heroku.serve.runtime)
        self._command = [*heroku.command, *arguments]
        self._environment = {**heroku.environment, **(env or {})}
