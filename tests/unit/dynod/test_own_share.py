"""What of the machine is dynod's, by plain folders that stand for the kernel's control groups."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from dynod.keeper.own_groups import OwnGroup
from dynod.own_share import Memory, least_memory, least_processors, memory, processors

MB = 1024 * 1024
MACHINE = Memory(8000 * MB, 6000 * MB)
UNLIMITED = str(2**63 - 4096)


def group(top: Path, files: Mapping[str, str], *, version: int, controllers: tuple[str, ...] = ()) -> OwnGroup:
    """Of these files; the own group is `above/own`."""
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(f"{text}\n")
    return OwnGroup(version, controllers, str(top / "above/own"), str(top))


def v1(limit: int | str, used: int, stat: str = "") -> dict[str, str]:
    return {"memory.limit_in_bytes": str(limit), "memory.usage_in_bytes": str(used), "memory.stat": stat}


def v2(limit: int | str, used: int, stat: str = "") -> dict[str, str]:
    return {"memory.max": str(limit), "memory.current": str(used), "memory.stat": stat}


def below(folder: str, files: Mapping[str, str]) -> dict[str, str]:
    return {f"{folder}/{name}": text for name, text in files.items()}


@pytest.mark.parametrize(
    ("version", "files", "expected"),
    [
        (1, below("above/own", v1(UNLIMITED, 0)), MACHINE),
        (1, below("above/own", v1(256 * MB, 100 * MB)), Memory(256 * MB, 156 * MB)),
        (
            1,
            below("above/own", v1(256 * MB, 100 * MB, f"cache 1\ntotal_inactive_file {40 * MB}")),
            Memory(256 * MB, 196 * MB),
        ),
        (
            1,
            below("above/own", v1(UNLIMITED, 100 * MB, f"hierarchical_memory_limit {512 * MB}")),
            Memory(512 * MB, 412 * MB),
        ),
        (1, below("above/own", v1(256 * MB, 300 * MB)), Memory(256 * MB, 0)),
        (2, below("above/own", v2("max", 5)) | below("above", v2(512 * MB, 12 * MB)), Memory(512 * MB, 500 * MB)),
        (2, below("above/own", v2(256 * MB, 6 * MB, f"inactive_file {MB}")), Memory(256 * MB, 251 * MB)),
        (2, below("above/own", v2(10**15, 6 * MB)), MACHINE),
        (2, {}, MACHINE),
    ],
)
def test_memory_is_the_least_of_the_machines_and_any_groups(
    tmp_path: Path, version: int, files: dict[str, str], expected: Memory
) -> None:
    controllers = ("memory",) if version == 1 else ()
    assert least_memory(MACHINE, [group(tmp_path, files, version=version, controllers=controllers)]) == expected


def test_a_group_of_another_controller_says_nothing_about_memory(tmp_path: Path) -> None:
    other = group(tmp_path, below("above/own", v1(MB, 0)), version=1, controllers=("cpu",))
    assert least_memory(MACHINE, [other]) == MACHINE


@pytest.mark.parametrize(
    ("version", "files", "expected"),
    [
        (1, {"above/own/cpu.cfs_quota_us": "-1", "above/own/cpu.cfs_period_us": "100000"}, 8),
        (1, {"above/own/cpu.cfs_quota_us": "50000", "above/own/cpu.cfs_period_us": "100000"}, 1),
        (1, {"above/own/cpu.cfs_quota_us": "250000", "above/own/cpu.cfs_period_us": "100000"}, 3),
        (2, {"above/own/cpu.max": "max 100000", "above/cpu.max": "400000 100000"}, 4),
        (2, {"cpu.max": "9900000 100000"}, 8),
        (2, {}, 8),
    ],
)
def test_processors_are_as_many_as_the_quota_keeps_busy(
    tmp_path: Path, version: int, files: dict[str, str], expected: int
) -> None:
    controllers = ("cpu", "cpuacct") if version == 1 else ()
    assert least_processors(8, [group(tmp_path, files, version=version, controllers=controllers)]) == expected


def test_there_is_something_to_be_had_on_this_machine() -> None:
    assert memory().total > memory().available > 0
    assert processors() >= 1
