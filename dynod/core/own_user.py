"""A dyno without a container, as a user of its app's: what its first process does before its command. Pure.

    DYNOS/INSTANCE/app     a copy of the code, its HOME and working folder: it may write, and the copy ends with it
    DYNOS/INSTANCE/tmp     its TMPDIR
    DYNOS/INSTANCE/begun   made before the copy is,
    DYNOS/INSTANCE/copied  touched once it is whole: what has changed since is the dyno's own
    DYNOS/INSTANCE/of      a link to the code: what is more than that is the dyno's, whatever times its files have

It is that user from its exec on, so it makes the copy with no more rights than it has: the code comes as a descriptor,
because the folders above it let nobody in.
"""

import posixpath
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from dynod.core.container import FIRST_FILE, HOME, LINKS, SYSTEM, SYSTEM_TOO, Container

CODE: Final = "app"
TEMPORARY: Final = "tmp"
BEGUN: Final = "begun"
COPIED: Final = "copied"
CODE_IS: Final = "of"
# "$1 …" are pairs of a folder that lasts and where it is to be seen, then "--" and the command.
_SHOW_ONE: Final = 'mkdir -p "${2%/*}" && rm -rf "$2" && ln -s "$1" "$2" || exit 1; shift 2'
_SHOW: Final = f'while [ "$1" != -- ]; do {_SHOW_ONE}; done; '
_COPY: Final = 'cp -a "$0/." "$HOME" || exit 1; '
_BEGIN: Final = f': >"$HOME/../{COPIED}"; cd "$HOME" || exit 1; {_SHOW}shift; unset OLDPWD; exec {FIRST_FILE}<&- "$@"'
_ENTER: Final = 'cd "$HOME" && unset OLDPWD && exec "$@"'
# Shared with every user of the machine, as long as there is no mount to make others of them.
_SHARED: Final = ("/tmp", "/var/tmp", "/dev", "/proc")  # noqa: S108 (modes and sticky bits are their own)


class Reach(NamedTuple):
    """The folders whose files a dyno may open: to read and execute, and to write too."""

    read: list[str]
    written: list[str]


def reach(container: Container, *, scratch: str, visible: Sequence[str]) -> Reach:
    """What a container would show, as far as the kernel can hold a dyno to that without one."""
    binds = container.binds
    code = [container.code] if container.code else []
    return Reach(
        read=[*LINKS, *SYSTEM, *SYSTEM_TOO, *visible, *code, *(bind.source for bind in binds if not bind.writable)],
        written=[scratch, *_SHARED, *(bind.source for bind in binds if bind.writable)],
    )


def folders(scratch: str) -> tuple[str, str]:
    """The dyno's code and its folder for temporary files, in a folder of its own."""
    return posixpath.join(scratch, CODE), posixpath.join(scratch, TEMPORARY)


def first_command(argv: Sequence[str], container: Container, *, home: str) -> list[str]:
    """Copies the code, which is descriptor 3, and becomes the command. Without code there is nothing to copy."""
    shown = [word for pair in shown_folders(container, home=home) for word in pair]
    script = f"{_COPY if container.code else ''}{_BEGIN}"
    return ["/bin/sh", "-c", script, f"/proc/self/fd/{FIRST_FILE}", *shown, "--", *argv]


def enter_command(argv: Sequence[str]) -> list[str]:
    """Runs something where the dyno runs."""
    return ["/bin/sh", "-c", _ENTER, "sh", *argv]


def shown_folders(container: Container, *, home: str) -> list[tuple[str, str]]:
    """What lasts, and where the dyno sees it: below its code alone, as it shares all other paths with the machine."""
    return [
        (bind.source, home + bind.target[len(HOME) :]) for bind in container.binds if bind.target.startswith(f"{HOME}/")
    ]


def own_paths(environment: Mapping[str, str], *, scratch: str) -> dict[str, str]:
    """The variables of a dyno in a container, with the places that it has without one."""
    home, temporary = folders(scratch)

    def moved(path: str) -> str:
        return home + path[len(HOME) :] if path == HOME or path.startswith(f"{HOME}/") else path

    own = {name: ":".join(map(moved, environment[name].split(":"))) for name in ("HOME", "PATH") if name in environment}
    return {"TMPDIR": temporary, **environment, **own}
