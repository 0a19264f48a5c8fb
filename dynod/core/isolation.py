"""How far dynos are kept apart here: what was asked for, what the machine gives, and what then cannot be kept. Pure.

Whoever asks for a level by name gets it or is refused; "strongest" takes what there is, and says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dynod.errors import SettingsError

STRONGEST: Final = "strongest"
_INSTEAD: Final = f'; "{STRONGEST}" takes what there is'
_BY_USERS: Final = "dynos are kept apart by users alone, each app its own"


class Isolation(StrEnum):
    """The levels, strongest first."""

    CONTAINER = "container"
    USER = "user"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What was found by trying it; a text says why something cannot be, None: it can.

    `users`: without containers, by users of their own; `confined`: those are held to their own files by Landlock too.
    `own_users`: whether apps can have them in containers, `mapped` whether their code can then be shown as theirs.
    `filtered`: whether system calls can be filtered; `scoped`: whether sockets without a file can be kept apart.
    """

    container: str | None
    users: str | None = "dynod may not give apps users of their own"
    confined: bool = True
    own_users: bool = False
    mapped: str | None = None
    filtered: bool = True
    scoped: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The level that is used, and sentences on what it leaves open."""

    level: Isolation
    lacks: tuple[str, ...] = ()


def choose(wanted: str, abilities: Abilities) -> Chosen:
    """Decide. `wanted`: a level, or STRONGEST. Raises SettingsError for one by name that cannot be had."""
    if wanted == Isolation.NONE:
        return Chosen(level=Isolation.NONE, lacks=("dynos are not kept apart: container.isolation is none",))
    by_users = _BY_USERS if abilities.confined else f"{_BY_USERS} and free to read what every user may (no Landlock)"
    open_ = tuple(_left_open(abilities))
    if wanted == Isolation.USER:
        if abilities.users is not None:
            raise SettingsError(f"container.isolation: no users for apps: {abilities.users}{_INSTEAD}")
        return Chosen(level=Isolation.USER, lacks=(f"{by_users}: container.isolation is user", *open_))
    if abilities.container is not None:
        if wanted == Isolation.CONTAINER:
            raise SettingsError(
                f"container.isolation: this machine makes no containers: {abilities.container}{_INSTEAD}"
            )
        if abilities.users is None:
            lack = f"{by_users}, not by containers: {abilities.container}"
            return Chosen(level=Isolation.USER, lacks=(lack, *open_))
        return Chosen(
            level=Isolation.NONE,
            lacks=(f"dynos are not kept apart: no containers: {abilities.container}; no users: {abilities.users}",),
        )
    lacks = []
    if not abilities.own_users:
        lacks.append("dynos of all apps run as dynod's own user, in containers: it may not give them users")
    elif abilities.mapped is not None:
        lacks.append(f"dynos cannot write over the code of folders, only over what was deployed: {abilities.mapped}")
    return Chosen(level=Isolation.CONTAINER, lacks=(*lacks, *open_))


def _left_open(abilities: Abilities) -> Iterator[str]:
    """What the kernel does not keep, at either level."""
    if not abilities.filtered:
        yield "system calls of dynos are not filtered: their numbers on this processor are not known"
    if not abilities.scoped:
        yield "dynos reach abstract sockets of others: this kernel's Landlock is not of version 6 (Linux 6.12)"
