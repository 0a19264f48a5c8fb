"""A control group for each instance, where this user may make one: who is in it is known whatever it forks or detaches.

Version 2 wherever its tree is mounted and writable for this user (root, or a delegated subtree): membership and
`cgroup.kill` need no controller. Version 1's freezer elsewhere: stop all, signal each, thaw.
Groups lie below the keeper's own: `dynod-PID/INSTANCE`, PID being the keeper's. As a service whose subtree systemd has
delegated, or alone in a Docker container whose groups can be written to, keeper and core move to `daemon/` of it and
dynos are in `dynos/INSTANCE`: a group that is to hand controllers on may have no process itself.
"""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator
from typing import Final

from dynod.keeper.own_groups import own_groups

_PREFIX: Final = "dynod-"
_DELEGATED: Final = "user.delegate"  # systemd marks so what it leaves to a service (systemd.resource-control(5), 251)
DAEMON: Final = "daemon"  # below a delegated group: keeper and core
DYNOS: Final = "dynos"
REMOVE_TRIES: Final = 50  # a group is busy until its last zombie has been reaped
REMOVE_PAUSE_S: Final = 0.002


class Groups:
    """The groups of one keeper. `root` is its folder; made when the first instance is started."""

    def __init__(self, root: str) -> None:
        self.root = root

    def path(self, instance_id: str) -> str:
        """Where an instance's group is."""
        return f"{self.root}/{instance_id}"

    def make(self, instance_id: str) -> str:
        """Make it. Raises OSError."""
        path = self.path(instance_id)
        try:
            os.mkdir(path)  # noqa: PTH102 (pathlib is heavy here)
        except OSError:
            os.makedirs(path, exist_ok=True)  # noqa: PTH103 (as above)
        return path

    def members(self, instance_id: str) -> list[int] | None:
        """Its living processes, those in groups below it included; None if it has no group."""
        pids: list[int] = []
        found = False
        for folder in self._below(self.path(instance_id)):
            found = True
            with contextlib.suppress(OSError):
                pids += [int(line) for line in _read(f"{folder}/cgroup.procs").split()]
        return pids if found else None

    def is_surely_empty(self, instance_id: str) -> bool:
        """Whether the kernel says that nothing lives in it or below it, and so never will; version 1 does not say."""
        try:
            return "populated 0" in _read(f"{self.path(instance_id)}/cgroup.events")
        except OSError:
            return False

    def kill(self, instance_id: str) -> None:
        """SIGKILL to every process of the group at once: nothing that is forked meanwhile escapes."""
        path = self.path(instance_id)
        if os.path.exists(f"{path}/cgroup.kill"):  # noqa: PTH110 (version 2, since Linux 5.14)
            with contextlib.suppress(OSError):
                _write(f"{path}/cgroup.kill", "1")
                return
        freezer = f"{path}/freezer.state"
        frozen = os.path.exists(freezer)  # noqa: PTH110
        if frozen:
            with contextlib.suppress(OSError):
                _write(freezer, "FROZEN")
        for pid in self.members(instance_id) or []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if frozen:
            with contextlib.suppress(OSError):
                _write(freezer, "THAWED")

    def remove(self, instance_id: str) -> None:
        """Remove an empty group, and those that the dyno made below it."""
        _remove(list(self._below(self.path(instance_id))))

    def remove_all(self) -> None:
        """At the end: every group and the root."""
        _remove(list(self._below(self.root)))

    @staticmethod
    def _below(path: str) -> Iterator[str]:
        for folder, _names, _files in os.walk(path):
            yield folder


def enter(path: str) -> None:
    """Move this process into a group: between fork and exec. Raises OSError."""
    _write(f"{path}/cgroup.procs", "0")


def find(pid: int, *, as_service: bool = False) -> Groups | None:
    """Where groups can be made for the keeper with this process id; None where they cannot.

    `as_service`: systemd has started it, and may have delegated its group. Ends what is left in groups of keepers that
    were killed together with their core: nobody else will.
    """
    for version, controllers, folder, top in own_groups():
        if version == 1 and "freezer" not in controllers:
            continue
        unit = folder.removesuffix(f"/{DAEMON}")  # where a keeper that has replaced itself is already
        ours = (as_service and _is_delegated(unit)) or (version != 1 and unit == top and _is_alone_in(unit))
        if ours and (settled := _settle_in(unit)) is not None:
            return settled
        _sweep(folder)
        root = f"{folder}/{_PREFIX}{pid}"
        try:
            os.mkdir(root, 0o755)  # noqa: PTH102
        except FileExistsError:
            pass  # of a process that had this id before: its groups are empty, or it would still have the id
        except OSError:
            continue
        groups = Groups(root)
        if _works(groups):
            return groups
        groups.remove_all()
    return None


def _is_delegated(unit: str) -> bool:
    """Whether systemd has left a group to the service that runs in it."""
    try:
        return os.getxattr(unit, _DELEGATED) == b"1"
    except (OSError, AttributeError):  # no such mark; not Linux
        return False


def _is_alone_in(root: str) -> bool:
    """Whether this process is the only one of a container, whose root is a group of the machine's that is no root."""
    try:
        if not os.path.exists(f"{root}/cgroup.type"):  # noqa: PTH110 (pathlib is heavy here)
            return False  # the machine's own root, which may have processes and give controllers too
        return set(_read(f"{root}/cgroup.procs").split()) <= {str(os.getpid())}
    except OSError:
        return False


def _settle_in(unit: str) -> Groups | None:
    """Move out of the way, in a group that is the keeper's to divide."""
    try:
        for name in (DAEMON, DYNOS):
            os.makedirs(f"{unit}/{name}", exist_ok=True)  # noqa: PTH103
        enter(f"{unit}/{DAEMON}")
    except OSError:  # not allowed
        return None
    groups = Groups(f"{unit}/{DYNOS}")
    return groups if _works(groups) else None


def _sweep(folder: str) -> None:
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except OSError:
        return
    for name in names:
        pid = name.removeprefix(_PREFIX)
        if name.startswith(_PREFIX) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):  # noqa: PTH110
            groups = Groups(f"{folder}/{name}")
            with contextlib.suppress(OSError):
                for instance_id in os.listdir(groups.root):  # noqa: PTH208
                    if os.path.isdir(f"{groups.root}/{instance_id}"):  # noqa: PTH112
                        groups.kill(instance_id)
            groups.remove_all()


def _works(groups: Groups) -> bool:
    """Whether processes can be moved in: try it with a child, since a parent's group may forbid it."""
    path = groups.make("probe")
    child = os.fork()
    if child == 0:
        try:
            enter(path)
        except OSError:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    groups.remove("probe")
    return status == 0


def remove_empty(folder: str) -> None:
    """Remove a group and those below it, as far as nothing lives there."""
    _remove([path for path, _names, _files in os.walk(folder)])


def _remove(folders: list[str]) -> None:
    for folder in sorted(folders, key=len, reverse=True):
        for _ in range(REMOVE_TRIES):
            try:
                os.rmdir(folder)  # noqa: PTH106
            except OSError as error:
                if error.errno != errno.EBUSY:
                    break
                time.sleep(REMOVE_PAUSE_S)
            else:
                break


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        return file.read()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
