"""Limits of the kernel's for instances, and for all of them together: memory, processes, CPU, by control groups.

The core names them and says how much; here is where that is written. Version 2 where its tree has the controllers: the
groups of `cgroups` are given them. Else version 1, whose controllers have a tree each, with groups of their own.
Standard library only, as all of this folder.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from dynod.keeper.cgroups import Groups, remove_empty
from dynod.keeper.own_groups import own_groups

MEMORY: Final = "memory"  # bytes; beyond them the kernel kills
MEMORY_HIGH: Final = "memory_high"  # bytes; beyond them the kernel takes memory back first. Version 2 alone
PROCESSES: Final = "processes"  # and threads; beyond them fork(2) fails
CPU_WEIGHT: Final = "cpu_weight"  # as version 2 has it: 100 is everybody's
CPU_PERCENT: Final = "cpu_percent"  # of one processor
_PERIOD_US: Final = 100_000  # the kernel's own, for a quota
_SHARES: Final = 1024  # of version 1, where version 2 has 100


class _Limit(NamedTuple):
    controller: str
    file: str
    form: str  # with {0}: the amount in the file's units


_VERSION_2: Final[Mapping[str, _Limit]] = {
    MEMORY: _Limit("memory", "memory.max", "{0}"),
    MEMORY_HIGH: _Limit("memory", "memory.high", "{0}"),
    PROCESSES: _Limit("pids", "pids.max", "{0}"),
    CPU_WEIGHT: _Limit("cpu", "cpu.weight", "{0}"),
    CPU_PERCENT: _Limit("cpu", "cpu.max", f"{{0}} {_PERIOD_US}"),
}
_VERSION_1: Final[Mapping[str, _Limit]] = {
    MEMORY: _Limit("memory", "memory.limit_in_bytes", "{0}"),
    PROCESSES: _Limit("pids", "pids.max", "{0}"),
    CPU_WEIGHT: _Limit("cpu", "cpu.shares", "{0}"),
    CPU_PERCENT: _Limit("cpu", "cpu.cfs_quota_us", "{0}"),
}
CONTROLLERS: Final = ("memory", "pids", "cpu")


class Controllers:
    """Of one keeper. `folders`: by controller, where the groups of instances are; those that are not there are not."""

    def __init__(self, version: int, folders: Mapping[str, str]) -> None:
        self._version = version
        self.folders = dict(folders)

    def limit_all(self, limits: Mapping[str, int]) -> None:
        """What all instances may take together. What cannot be written is left as it is."""
        for controller, folder in self.folders.items():
            self._write(controller, folder, limits)

    def make(self, instance_id: str, limits: Mapping[str, int]) -> list[str]:
        """Limit an instance; returns the folders of groups that its process has to enter besides its own.

        Raises OSError.
        """
        entered = []
        for controller, folder in self.folders.items():
            path = f"{folder}/{instance_id}"
            if self._version == 1:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path)  # noqa: PTH102 (pathlib is heavy here)
                entered.append(path)
            self._write(controller, path, limits)
        return entered

    def remove(self, instance_id: str) -> None:
        """Remove what `make` made for it."""
        if self._version == 1:
            for folder in self.folders.values():
                remove_empty(f"{folder}/{instance_id}")

    def remove_all(self) -> None:
        """At the end."""
        if self._version == 1:
            for folder in self.folders.values():
                remove_empty(folder)

    def _write(self, controller: str, folder: str, limits: Mapping[str, int]) -> None:
        table = _VERSION_1 if self._version == 1 else _VERSION_2
        for name, amount in limits.items():
            limit = table.get(name)
            if limit is not None and limit.controller == controller:
                with contextlib.suppress(OSError):
                    _write(f"{folder}/{limit.file}", limit.form.format(_in_units(name, amount, self._version)))


def _in_units(name: str, amount: int, version: int) -> int:
    if name == CPU_PERCENT:
        return amount * _PERIOD_US // 100
    return amount * _SHARES // 100 if name == CPU_WEIGHT and version == 1 else amount


def find(pid: int, groups: Groups | None) -> Controllers | None:
    """What can be limited here by the keeper with this process id; None: nothing can."""
    if groups is not None and (enabled := _enable(groups.root)):
        return Controllers(2, dict.fromkeys(enabled, groups.root))
    folders = {}
    for controller, above in _trees():
        _sweep(above)
        folder = f"{above}/dynod-{pid}"
        try:
            os.mkdir(folder, 0o755)  # noqa: PTH102
        except FileExistsError:
            pass
        except OSError:
            continue
        folders[controller] = folder
    return Controllers(1, folders) if folders else None


def _enable(root: str) -> list[str]:
    """Version 2: have the groups below take controllers; which they have then.

    A group that has processes of its own cannot give any, but for the root: of a service, `cgroups` has cleared it.
    """
    above = os.path.dirname(root)  # noqa: PTH120
    there = [each for each in CONTROLLERS if each in _words(f"{above}/cgroup.controllers")]
    if not there:
        return []
    wanted = " ".join(f"+{each}" for each in there)
    for folder in (above, root):
        with contextlib.suppress(OSError):
            _write(f"{folder}/cgroup.subtree_control", wanted)
    return [each for each in there if each in _words(f"{root}/cgroup.subtree_control")]


def _trees() -> Iterator[tuple[str, str]]:
    """Version 1: each controller, and this process's own group in its tree."""
    for group in own_groups():
        for controller in CONTROLLERS:
            if controller in group.controllers:
                yield controller, group.folder


def _sweep(folder: str) -> None:
    """Groups of keepers that were killed: empty by now, as `cgroups` has ended who was left."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208
            pid = name.removeprefix("dynod-")
            if name.startswith("dynod-") and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):  # noqa: PTH110
                remove_empty(f"{folder}/{name}")


def _words(path: str) -> list[str]:
    try:
        return _read(path).split()
    except OSError:
        return []


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        return file.read()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
