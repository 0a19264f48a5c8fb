"""How far `dynod serve` keeps dynos and builds apart: by its settings and what the machine gives, found by trying it.

For the composition root. May import settings, container_tools, build_place, process, core.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dynod.build_place import BuildsApart, open_way
from dynod.container_tools import find_tools, own_user_lack
from dynod.core.container import User
from dynod.core.isolation import Abilities, Isolation, choose
from dynod.keeper.features import may_change_users
from dynod.process.container import DYNOS, Containers
from dynod.settings import Container as Asked


class Kept(NamedTuple):
    """What was found. `says`: sentences for the start; `lacks`: those for the status."""

    containers: Containers | None  # None: dynos are plain children
    user: Callable[[int], User] | None  # of the app with this number; None: all are dynod's own
    lacks: tuple[str, ...]
    says: tuple[str, ...]
    builds: Callable[[], BuildsApart]  # blocks, the first time


def keep_apart(container: Asked, state: Path, *, settings: Path | None) -> Kept:
    """Decide, by trying it; blocks for some milliseconds. `settings`: the file, which no dyno sees.

    Raises SettingsError where the machine gives less than was container for by name.
    """

    def user(number: int) -> User:
        uid = container.first_uid + number % container.uids
        return User(uid=uid, gid=uid)

    hidden = [os.fspath(folder) for folder in (state, settings and settings.parent) if folder is not None]
    for_builds = _Once(lambda: _for_builds(container, state, user=user, hidden=hidden))
    if container.isolation == Isolation.NONE:
        return Kept(None, None, choose(container.isolation, Abilities(container=None)).lacks, (), for_builds)
    may_give = os.geteuid() == 0
    found = find_tools(state, user=user(0) if may_give else None, visible=container.visible, hidden=hidden)
    chosen = choose(container.isolation, found.abilities)
    if found.tools is None:
        return Kept(None, None, chosen.lacks, chosen.lacks, for_builds)
    containers = Containers(state / DYNOS, found.tools)
    users = user if may_give else None
    return Kept(containers, users, chosen.lacks, chosen.lacks, lambda: BuildsApart(containers=containers, user=users))


def _for_builds(container: Asked, state: Path, *, user: Callable[[int], User], hidden: list[str]) -> BuildsApart:
    """Where dynos have no containers: what a buildpack does is not to be done with dynod's rights, least with root's.

    In a container where one can be made for all that, since there it finds dynod's Python wherever that lies.
    """
    is_root = os.geteuid() == 0
    if not may_change_users():
        return BuildsApart(refused="dynod may not change its user (CAP_SETUID) here" if is_root else None)
    tools = find_tools(state, user=user(0), visible=container.visible, hidden=hidden).tools
    if tools is not None:
        return BuildsApart(containers=Containers(state / DYNOS, tools), user=user)
    try:
        lack = own_user_lack(open_way(state), user(0))
    except OSError as error:
        lack = f"{error.filename}: {error.strerror}"
    if lack is None:
        return BuildsApart(user=user)
    return BuildsApart(refused=f"the app's user cannot run them: {lack}" if is_root else None)


class _Once:
    """What is found out when it is first asked for: by a build, in a thread."""

    def __init__(self, find: Callable[[], BuildsApart]) -> None:
        self._find = find
        self._found: BuildsApart | None = None
        self._lock = threading.Lock()

    def __call__(self) -> BuildsApart:
        with self._lock:
            if self._found is None:
                self._found = self._find()
            return self._found
