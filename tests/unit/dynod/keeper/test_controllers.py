"""What is written into which file of a control group, by plain folders that stand for the kernel's."""

from pathlib import Path

import pytest

from dynod.keeper.controllers import Controllers

LIMITS = {"memory": 1000, "memory_high": 900, "processes": 7, "cpu_weight": 200, "cpu_percent": 50, "newer": 1}
VERSION_1 = {
    "memory/i/memory.limit_in_bytes": "1000",
    "pids/i/pids.max": "7",
    "cpu/i/cpu.shares": "2048",
    "cpu/i/cpu.cfs_quota_us": "50000",
}
VERSION_2 = {
    "all/i/memory.max": "1000",
    "all/i/memory.high": "900",
    "all/i/pids.max": "7",
    "all/i/cpu.weight": "200",
    "all/i/cpu.max": "50000 100000",
}


@pytest.mark.parametrize(("version", "expected"), [(1, VERSION_1), (2, VERSION_2)])
def test_each_limit_has_its_file(tmp_path: Path, version: int, expected: dict[str, str]) -> None:
    folders = {name: str(tmp_path / (name if version == 1 else "all")) for name in ("memory", "pids", "cpu")}
    for folder in set(folders.values()):
        Path(folder).mkdir()
        if version == 2:
            Path(folder, "i").mkdir()  # made by whoever makes the group itself
    entered = Controllers(version, folders).make("i", LIMITS)
    assert entered == ([f"{folder}/i" for folder in folders.values()] if version == 1 else [])
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == expected


def test_without_a_controller_its_limits_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    Controllers(1, {"pids": str(tmp_path / "pids")}).make("i", LIMITS)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["pids.max"]


def test_what_all_may_take_is_written_above_them(tmp_path: Path) -> None:
    Controllers(1, {"memory": str(tmp_path)}).limit_all({"memory": 5})
    assert (tmp_path / "memory.limit_in_bytes").read_text() == "5"
