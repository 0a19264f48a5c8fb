"""Where this process is in the trees of control groups that are mounted here: version 2's, and each of version 1's.

In a container without a namespace of groups, as Docker's are on machines of version 1, a tree is mounted from the
container's group on, while the process's own path is the machine's: cgroups(7), proc_pid_mountinfo(5).
For `cgroups` and `controllers`, and for the core, which asks how much memory there is. Standard library only.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

_MOUNTS: Final = "/proc/self/mountinfo"
_OWN: Final = "/proc/self/cgroup"


class OwnGroup(NamedTuple):
    """A group that this process is in. `controllers`: of version 1. `top`: where its tree is mounted."""

    version: int
    controllers: tuple[str, ...]
    folder: str
    top: str


def own_groups() -> list[OwnGroup]:
    """In every tree in which it can be seen, version 2's first; none where there are no control groups."""
    try:
        return sorted(read(_read(_MOUNTS), _read(_OWN)), key=lambda each: -each.version)
    except OSError:
        return []


def read(mounts: str, own: str) -> Iterator[OwnGroup]:
    """By the texts of the two files."""
    paths = dict(_paths(own))
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        root, top = (field.replace("\\040", " ") for field in before.split()[3:5])
        kind, _source, options = after.split(None, 2)
        controllers = tuple(each for each in options.split(",") if each in paths) if kind == "cgroup" else ()
        path = paths.get("") if kind == "cgroup2" else paths.get(next(iter(controllers), "none of them"))
        below = None if path is None else _below(path, root)
        if below is not None:
            yield OwnGroup(2 if kind == "cgroup2" else 1, controllers, f"{top}{below}", top)


def _paths(own: str) -> Iterator[tuple[str, str]]:
    """By controller; version 2's by "". proc(5): `ID:CONTROLLERS:PATH`."""
    for line in own.splitlines():
        _id, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def _below(path: str, root: str) -> str | None:
    """The way from what is mounted; None: it is outside of that."""
    inside, above = path.rstrip("/"), root.rstrip("/")
    if inside == above or inside.startswith(f"{above}/"):
        return inside.removeprefix(above)
    return None


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123 (pathlib is heavy here)
        return file.read()
