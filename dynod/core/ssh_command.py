"""What somebody with a key asks sshd to run, and what of it dynod does: git on an app, or the API. Pure.

It is read as a shell would split it into words and is never run: of a command that is allowed only an app's name is
taken, of any other nothing.
"""

import shlex
from dataclasses import dataclass
from typing import Final

from dynod.core.app_name import app_name_fault
from dynod.core.git_push import SERVICES
from dynod.core.ssh_host import REMOTE
from dynod.errors import UsageError

HELLO: Final = (
    "this key opens no shell, but `git push ssh://…/APP.git main`, and dynod's verbs with DYNOD_HOST=ssh://…; "
    "`dynod apps` lists the apps"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GitService:
    """One of git's services, on an app's repository."""

    service: str
    app: str


class Api:
    """The API, byte by byte."""


def parse_ssh_command(text: str | None) -> GitService | Api:
    """What sshd has in SSH_ORIGINAL_COMMAND; None: a shell was asked for. Raises UsageError."""
    if not text:
        raise UsageError(HELLO)
    if text == REMOTE:
        return Api()
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(HELLO) from error
    if len(words) == 3 and words[0] == "git":  # noqa: PLR2004 (`git receive-pack APP`, as some clients have it)
        words = [f"git-{words[1]}", words[2]]
    if len(words) != 2 or words[0] not in SERVICES:  # noqa: PLR2004 (what, and on which app)
        raise UsageError(HELLO)
    app = words[1].strip("/").removesuffix(".git")
    if app_name_fault(app) is not None:
        raise UsageError(f'"{words[1]}" is no app: expected APP.git')
    return GitService(service=words[0], app=app)
