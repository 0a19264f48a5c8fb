"""The git repositories that are pushed to, one bare one for each app, and the command line of git on one.

    state/git/APP_ID.git      its objects and branches            state/git/hooks/pre-receive    the only hook of all

git gets no settings but those given here, and an environment made from nothing: neither a user's configuration nor a
pusher has a say in what it runs. What a push brings is checked object by object before anything looks at it. All of
it blocks, for threads.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dynod.core.git_push import SERVICES
from dynod.errors import DynodError

MOST_BYTES: Final = 1024**3  # of one push; Heroku's limit for a checkout
SETTINGS: Final = {
    "receive.fsckObjects": "true",
    # Harmless, and in the history of many a real project (as GitLab has them).
    "receive.fsck.missingSpaceBeforeDate": "ignore",
    "receive.fsck.badTimezone": "ignore",
    "receive.fsck.zeroPaddedFilemode": "ignore",
    "receive.maxInputSize": str(MOST_BYTES),
    "receive.denyDeleteCurrent": "ignore",  # the hook decides about branches
    "gc.autoDetach": "false",  # nothing of a push goes on after it
    "uploadpack.allowAnySHA1InWant": "false",
    "core.fsyncMethod": "fsync",
    "core.logAllRefUpdates": "true",  # what was where, for whoever has forced a push
}
HOOK: Final = """#!/bin/sh
exec "$DYNOD_PYTHON" -P -m dynod.cli.push_hook
"""
SAID_BYTES: Final = 4096
_ID: Final = re.compile(r"[0-9a-f-]{36}", re.ASCII)


class GitMissingError(DynodError):
    """There is no git here, or it does nothing."""

    code = "git"


class Repositories:
    """Those of one state folder."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "git"

    def prepare(self, app_id: str) -> Path:
        """The app's repository, made now if there is none yet. Raises GitMissingError, OSError."""
        if shutil.which("git") is None:
            raise GitMissingError("There is no git on dynod's PATH: install it.")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._write_hook()
        path = self._path(app_id)
        if not (path / "HEAD").exists():
            command = ["git", "init", "--quiet", "--bare", "--initial-branch=main", "--template=", os.fspath(path)]
            try:
                subprocess.run(command, env=self._environment({}), check=True, capture_output=True)  # noqa: S603 (words of ours)
            except subprocess.CalledProcessError as error:
                raise GitMissingError(f"git init: {error.stderr.decode(errors='replace').strip()}") from error
        return path

    def remove(self, app_id: str) -> None:
        """There is no such app any more."""
        shutil.rmtree(self._path(app_id), ignore_errors=True)

    def command(self, service: str, path: Path) -> list[str]:
        """A git that serves this repository on stdin and stdout."""
        assert service in SERVICES  # noqa: S101 (whoever asks has looked)
        settings = {**SETTINGS, "core.hooksPath": os.fspath(self._folder / "hooks")}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return ["git", *words, service.removeprefix("git-"), os.fspath(path)]

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Of git, and of its hook, which gets `more`."""
        return self._environment(more)

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.fspath(self._folder),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "DYNOD_PYTHON": sys.executable,
            **more,
        }

    def _path(self, app_id: str) -> Path:
        if not _ID.fullmatch(app_id):
            raise ValueError(app_id)
        return (self._folder / f"{app_id}.git").absolute()

    def _write_hook(self) -> None:
        folder = self._folder / "hooks"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / "pre-receive"
        if path.exists() and path.read_text() == HOOK:
            return
        beside = folder / f".pre-receive.{os.getpid()}"
        beside.write_text(HOOK)
        beside.chmod(0o700)
        beside.replace(path)
