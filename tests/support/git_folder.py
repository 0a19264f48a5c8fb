"""A git repository of a test's own: no settings of the user or the machine have a say in it.

work = GitFolder(folder)
work.commit()
work.git("push", "dynod", "main", env=...)
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from support.up import clean_environment

TIMEOUT_S: Final = 90.0
NOBODYS: Final = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.com",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.com",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C.UTF-8",
}


class GitFolder:
    """A work tree, whose branch is `main`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.done("init", "--quiet", "--initial-branch", "main")

    def git(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """One git to its end; dynod's programs are on its PATH."""
        return subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def done(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """As `git`, for one that must succeed; its stdout."""
        ended = self.git(*arguments, env=env)
        assert ended.returncode == 0, f"git {arguments}: {ended.stdout}{ended.stderr}"
        return ended.stdout.strip()

    def commit(self, **files: str | None) -> str:
        """Commit all that there is, and these (None: removed); the commit."""
        for name, text in files.items():
            path = self.folder / name.replace("__", ".")
            if text is None:
                path.unlink()
            else:
                path.write_text(text)
        self.done("add", "--all")
        self.done("commit", "--quiet", "--allow-empty", "--message", "a change")
        return self.done("rev-parse", "HEAD")

    @staticmethod
    def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
        """Of git and dynod beside it."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**clean_environment(), "PATH": path, **NOBODYS, **(env or {})}
