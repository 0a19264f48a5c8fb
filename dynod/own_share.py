"""What of the machine is dynod's: memory and processors, less where its own control group, a container's, has less.

`/proc/meminfo` and the count of processors are the machine's inside of a container, too. A limit of any group above the
own one holds as well, as far as it can be seen. For the composition roots. May import keeper.own_groups, psutil.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dynod.keeper.own_groups import OwnGroup, own_groups


class Memory(NamedTuple):
    """Bytes. `available`: without swapping; page cache that nobody uses counts, as with psutil."""

    total: int
    available: int


def memory() -> Memory:
    """As it is now. Blocks for some reads of files that are in memory."""
    import psutil  # noqa: PLC0415 (8 ms, which most starts go without)

    machine = psutil.virtual_memory()
    return least_memory(Memory(machine.total, machine.available), own_groups())


def processors() -> int:
    """How many could be busy at once, one at least; what is left of one that is shared counts as one."""
    allowed = os.cpu_count() or 1
    if sys.platform == "linux":
        allowed = len(os.sched_getaffinity(0))
    return least_processors(allowed, own_groups())


def least_memory(machine: Memory, groups: Sequence[OwnGroup]) -> Memory:
    """Of these groups and those above them."""
    total, available = machine
    for group in groups:
        if group.version == 1 and "memory" not in group.controllers:
            continue
        for folder in _upwards(group):
            found = _limited(folder, group.version)
            if found is not None:
                total, available = min(total, found.total), min(available, found.available)
    return Memory(total, max(0, available))


def least_processors(machine: int, groups: Sequence[OwnGroup]) -> int:
    """By quotas of CPU time of these groups and those above them."""
    least = float(machine)
    for group in groups:
        for folder in _upwards(group) if group.version == 2 or "cpu" in group.controllers else ():  # noqa: PLR2004
            if group.version == 1:
                words = [_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")]
            else:
                words = _read(folder / "cpu.max").split()
            if len(words) == 2 and all(word.isdigit() for word in words):  # noqa: PLR2004 - quota and period
                least = min(least, int(words[0]) / max(1, int(words[1])))
    return max(1, -int(-least // 1))


def _limited(folder: Path, version: int) -> Memory | None:
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if version == 1 else ("memory.max", "memory.current")
    limit, used = (_read(folder / name) for name in names)
    if not limit.isdigit() or not used.isdigit():  # "max", the root, or a group without this controller
        return None
    stat = dict(line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines() if " " in line)
    cache = stat.get("total_inactive_file" if version == 1 else "inactive_file", "0")
    total = min(int(limit), int(stat.get("hierarchical_memory_limit", limit)))
    return Memory(total, total - int(used) + int(cache))


def _upwards(group: OwnGroup) -> Iterator[Path]:
    """The group's folder and those above it, as far as they are mounted."""
    folder, top = Path(group.folder), Path(group.top)
    yield folder
    while folder != top and top in folder.parents:
        folder = folder.parent
        yield folder


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
