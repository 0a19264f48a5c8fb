"""How far `dynod serve` keeps dynos apart: by its settings and what the machine gives, found out before it starts.

For the composition root. May import settings, container_tools, process, core.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dynod.container_tools import find_tools
from dynod.core.container import User
from dynod.core.isolation import Abilities, Isolation, choose
from dynod.process.container import Containers
from dynod.settings import Container as Asked


class Kept(NamedTuple):
    """What was found. `says`: sentences for the start; `lacks`: those for the status."""

    containers: Containers | None  # None: dynos are plain children
    user: Callable[[int], User] | None  # of the app with this number; None: all are dynod's own
    lacks: tuple[str, ...]
    says: tuple[str, ...]


def keep_apart(container: Asked, state: Path, *, settings: Path | None) -> Kept:
    """Decide, by trying it; blocks for some milliseconds. `settings`: the file, which no dyno sees.

    Raises SettingsError where the machine gives less than was container for by name.
    """
    if container.isolation == Isolation.NONE:
        return Kept(None, None, choose(container.isolation, Abilities(container=None)).lacks, ())

    def user(number: int) -> User:
        uid = container.first_uid + number % container.uids
        return User(uid=uid, gid=uid)

    may_give = os.geteuid() == 0
    hidden = [os.fspath(folder) for folder in (state, settings and settings.parent) if folder is not None]
    found = find_tools(state, user=user(0) if may_give else None, visible=container.visible, hidden=hidden)
    chosen = choose(container.isolation, found.abilities)
    containers = Containers(state / "dynos", found.tools) if found.tools is not None else None
    return Kept(containers, user if may_give and containers is not None else None, chosen.lacks, chosen.lacks)
