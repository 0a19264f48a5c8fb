"""How far `dynod serve` keeps dynos and builds apart: by its settings and what the machine gives, found by trying it.

For the composition root. May import settings, container_tools, build_place, process, core.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dynod.build_place import CACHES, WORKS, BuildsApart, open_way
from dynod.container_tools import Found, find_tools, own_user_lack, own_users, users_lack, without_containers
from dynod.core.container import User
from dynod.core.isolation import Abilities, Isolation, choose
from dynod.keeper.features import may_change_users
from dynod.process.container import DYNOS, Containers, Encloses
from dynod.settings import Container as Asked

UserOf = Callable[[int], User]  # of the app with this number


class Kept(NamedTuple):
    """What was found. `says`: sentences for the start; `lacks`: those for the status."""

    level: Isolation
    containers: Encloses | None  # None: dynos are plain children
    user: UserOf | None  # None: all are dynod's own
    lacks: tuple[str, ...]
    says: tuple[str, ...]
    builds: Callable[[], BuildsApart]  # blocks, the first time
    gives_code: bool = False  # code has to be the app's user's, since it cannot be shown so


def keep_apart(container: Asked, state: Path, *, settings: Path | None) -> Kept:
    """Decide, by trying it; blocks for some milliseconds. `settings`: the file, which no dyno sees.

    Raises SettingsError where the machine gives less than was asked for by name.
    """
    return _Looking(container, state, settings).decide()


class _Looking:
    """For one start."""

    def __init__(self, container: Asked, state: Path, settings: Path | None) -> None:
        self.container = container
        self._state = state
        self._hidden = [os.fspath(folder) for folder in (state, settings and settings.parent) if folder is not None]
        self._may_give = may_change_users()
        self._lock = threading.Lock()
        self._builds: BuildsApart | None = None

    def decide(self) -> Kept:
        wanted = self.container.isolation
        if wanted == Isolation.NONE:
            chosen = choose(wanted, Abilities(container=None))
            return Kept(chosen.level, None, None, chosen.lacks, (), self._for_builds)
        found = self._tools() if wanted != Isolation.USER else Found(without_containers(), None)
        abilities = found.abilities
        users = own_users(self._state / DYNOS, visible=self.container.visible)
        if found.tools is None and self._may_give:
            abilities = replace(without_containers(), container=abilities.container, users=self._users_lack())
        chosen = choose(wanted, abilities)
        if found.tools is not None:
            self._state.chmod(0o700)  # nobody has to get through it, as without containers
            containers = Containers(self._state / DYNOS, found.tools)
            user = self._user if abilities.own_users else None
            self._builds = BuildsApart(containers=containers, user=user)
            return Kept(
                chosen.level,
                containers,
                user,
                chosen.lacks,
                chosen.lacks,
                self._for_builds,
                gives_code=found.tools.by_namespace or not found.tools.mapped,
            )
        if chosen.level is Isolation.USER:
            return Kept(chosen.level, users, self._user, chosen.lacks, chosen.lacks, self._for_builds)
        return Kept(chosen.level, None, None, chosen.lacks, chosen.lacks, self._for_builds)

    def _user(self, number: int) -> User:
        uid = self.container.first_uid + number % self.container.uids
        return User(uid=uid, gid=uid)

    def _tools(self) -> Found:
        user = self._user(0) if self._may_give else None
        return find_tools(self._state, user=user, visible=self.container.visible, hidden=self._hidden)

    def _users_lack(self) -> str | None:
        try:
            open_way(self._state, DYNOS)
        except OSError as error:
            return f"{error.filename}: {error.strerror}"
        return users_lack(self._state, self._user(0), visible=self.container.visible)

    def _for_builds(self) -> BuildsApart:
        """Found out by the first build, in a thread, where dynos have no containers."""
        with self._lock:
            if self._builds is None:
                self._builds = self._found_for_builds()
            return self._builds

    def _found_for_builds(self) -> BuildsApart:
        """What a buildpack does is not to be done with dynod's rights, least with root's.

        In a container where one can be made for all that, since there it finds dynod's Python wherever that lies.
        """
        is_root = os.geteuid() == 0
        if not self._may_give:
            return BuildsApart(refused="dynod may not change its user (CAP_SETUID) here" if is_root else None)
        found = self._tools()
        if found.tools is not None and found.abilities.own_users:
            return BuildsApart(containers=Containers(self._state / DYNOS, found.tools), user=self._user)
        try:
            lack = own_user_lack(open_way(self._state, WORKS, CACHES), self._user(0))
        except OSError as error:
            lack = f"{error.filename}: {error.strerror}"
        if lack is None:
            users = own_users(self._state / DYNOS, visible=self.container.visible)
            return BuildsApart(user=self._user, hold=users.hold)
        return BuildsApart(refused=f"the app's user cannot run them: {lack}" if is_root else None)
