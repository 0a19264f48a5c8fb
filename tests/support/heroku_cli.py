"""Heroku's own command line, unmodified, pointed at a `dynod serve` by what `dynod heroku:env` says.

    heroku = HerokuCli(serve)
    assert heroku.done("ps:scale", "web=2", "-a", "demo").stdout ...

It is kept from everything but loopback: no telemetry, no look for a newer version, a home of its own.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support import installed
from support.attached_run import AttachedRun
from support.serve import Serve
from support.up import clean_environment

TIMEOUT_S = 90.0
AT_ONCE = 3  # each is a second of one core


class HerokuCli:
    """As a user who has said `eval "$(dynod heroku:env)"` in one shell."""

    def __init__(self, serve: Serve, home: Path) -> None:
        folder = installed.node_folder("tests/toys/heroku")
        self.command = [installed.program("node"), str(folder / "node_modules/heroku/bin/run.js")]
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

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        return subprocess.run(
            [*self.command, *arguments],
            env=self.environment,
            cwd=self.serve.runtime,  # no repository, whose remotes it would look into
            input="" if stdin is None else stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def done(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """As `run`, for a command that must succeed."""
        ended = self.run(*arguments, stdin=stdin)
        assert ended.returncode == 0, f"heroku {arguments}: {ended.stdout}{ended.stderr}"
        return ended

    def together(self, *commands: Sequence[str]) -> list[str]:
        """Several that have nothing to do with each other; their stdouts."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return [ended.stdout for ended in pool.map(lambda command: self.done(*command), commands)]


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
