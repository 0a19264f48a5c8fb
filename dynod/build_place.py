"""Where a build runs: in a container as its app's user, as dynos do; else in its folders, as that user if it can be.

In a container it sees its folder at /build, the app's cache at /cache, and an empty /app that is its HOME, as on
Heroku; beside them the machine, read-only, and what it needs of dynod itself. May import process.container, core.
"""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dynod
from dynod.builds.preparation import HOME as EMPTY_HOME
from dynod.builds.preparation import TEMPORARY
from dynod.core.container import HOME, SYSTEM, TMP, Bind, Container, User
from dynod.process.container import Enclosed, Encloses, Wanted

WORKS: Final = "work"  # of the state folder: a folder for each build
CACHES: Final = "cache"  # the same for each app
WORK: Final = "/build"
CACHE: Final = "/cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildsApart:
    """How builds are kept apart from dynod: in containers, by users, by both or, where dynod is nobody special, not.

    `user` of the app with this number; `hold` is what holds its builds without containers to what those would show.
    `refused`: dynod is root, and a build could only be that too, so there is none.
    """

    containers: Encloses | None = None
    user: Callable[[int], User] | None = None
    hold: Callable[[Container, Wanted, str], Enclosed] | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlace:
    """`work` and `cache` as the machine has them; the rest as the build sees them.

    `container`: the one that it runs in; `held`: without one, what its app's user may open for it.
    """

    work: Path
    cache: Path
    user: User | None  # whose they are to be
    container: Container | None
    held: Container | None
    seen_work: str
    seen_cache: str
    home: str
    temporary: str


def place_for(work: Path, cache: Path, *, contained: bool, user: User | None) -> BuildPlace:
    """`contained`: there are containers. `user`: of the app, where it has one."""
    if not contained:
        return BuildPlace(
            work=work,
            cache=cache,
            user=user,
            container=None,
            held=None
            if user is None
            else Container(code="", user=user, binds=(*_code(), *map(_written, (work, cache)))),
            seen_work=os.fspath(work),
            seen_cache=os.fspath(cache),
            home=os.fspath(work / EMPTY_HOME),
            temporary=os.fspath(work / TEMPORARY),
        )
    binds = (
        *_code(),
        Bind(source=os.fspath(work), target=WORK, writable=True),
        Bind(source=os.fspath(cache), target=CACHE, writable=True),
        Bind(source=os.fspath(work / EMPTY_HOME), target=HOME, writable=True),
    )
    return BuildPlace(
        work=work,
        cache=cache,
        user=user,
        container=Container(code="", user=user, binds=binds),
        held=None,
        seen_work=WORK,
        seen_cache=CACHE,
        home=HOME,
        temporary=TMP,
    )


def open_way(state: Path, *names: str) -> Path:
    """Let apps' users get to what is theirs in these folders of the state, and see nothing on the way.

    What else is in there lets nobody in by modes of its own. Returns the first of the folders. Raises OSError.
    """
    state.chmod(0o711)
    for name in names:
        (state / name).mkdir(mode=0o711, exist_ok=True)
        (state / name).chmod(0o711)
    return state / names[0]


def _written(folder: Path) -> Bind:
    return Bind(source=os.fspath(folder), target=os.fspath(folder), writable=True)


def _code() -> Iterator[Bind]:
    return (Bind(source=path, target=path) for path in _own_code())


def _own_code() -> Iterator[str]:
    """Where the runner and its Python are, as far as they are not where the whole machine is seen anyway."""
    shown: list[str] = [*SYSTEM]
    package = os.fspath(Path(dynod.__file__).resolve().parent.parent)
    for path in (sys.base_prefix, sys.prefix, package):
        if not any(path == other or path.startswith(f"{other}/") for other in shown):
            shown.append(path)
            yield path
