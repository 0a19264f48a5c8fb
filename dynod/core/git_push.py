"""What a push asks for and what becomes of it: which commit is built, and what is said about the rest. Pure.

As on Heroku `main` and `master` are built, and any other branch is taken in and not built. What git hands to a
pre-receive hook is read here, line by line: `OLD NEW REF` (githooks(5)).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

BUILT: Final = ("refs/heads/main", "refs/heads/master")
BRANCH: Final = "refs/heads/"
SERVICES: Final = ("git-receive-pack", "git-upload-pack")  # push; fetch and clone
UPGRADE: Final = "dynod-git"  # the protocol to which a connection of the API is switched: one of these, and its bytes

_LINE: Final = re.compile(r"(?P<old>[0-9a-f]{40}|[0-9a-f]{64}) (?P<new>[0-9a-f]{40}|[0-9a-f]{64}) (?P<ref>refs/\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`commit` is to be built, if there is one; `refused` says why nothing of it is taken in; `said` is for people."""

    commit: str | None = None
    refused: str | None = None
    said: tuple[str, ...] = ()


def plan_of(lines: Iterable[str]) -> Plan:
    """What to do about a push of these refs; all of it is taken in or nothing, as a hook decides."""
    built: list[str] = []
    said: list[str] = []
    for line in lines:
        update = _LINE.fullmatch(line)
        if update is None:
            return Plan(refused="This is no push that git makes.")
        ref, is_deleted = update["ref"], not update["new"].strip("0")
        name = ref.removeprefix(BRANCH)
        if ref in BUILT and is_deleted:
            return Plan(refused=f"The branch {name} is what the app was built from: it cannot be deleted.")
        if ref in BUILT:
            built.append(update["new"])
        elif ref.startswith(BRANCH) and not is_deleted:
            said += [
                "Pushed to non-main branch, skipping build.",
                f"To build it: git push dynod {name}:main",
            ]
    if len(set(built)) > 1:
        return Plan(refused="Push main or master, not both: an app is built from one of them.")
    return Plan(commit=built[0] if built else None, said=tuple(said))
