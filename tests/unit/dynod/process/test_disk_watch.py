"""What dynos write, counted on a real disk, and judged on virtual time."""

import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dynod.core.container import Machine
from dynod.core.dyno_sizes import MB, UNSIZED
from dynod.process.container import BLOCK, Containers, Tools
from dynod.process.disk_watch import DiskRules, DiskWatch
from dynod.process.sampler import Sampled
from support.virtual_time import run_virtually

DEEP = 1500  # folders in each other: more than Python's functions go


@pytest.fixture
def containers(tmp_path: Path) -> Containers:
    return Containers(tmp_path, Tools(bwrap="bwrap", machine=Machine(links={}, folders=[]), filter=None))


def test_what_is_counted_is_what_lies_on_disk(containers: Containers, tmp_path: Path) -> None:
    upper, own_tmp = tmp_path / "one" / "upper", tmp_path / "one" / "tmp"
    (upper / "media").mkdir(parents=True)
    own_tmp.mkdir()
    assert containers.written("nobody", MB) == 0
    assert containers.written("one", MB) == BLOCK, "a folder"
    (upper / "media" / "a").write_bytes(b"x" * 100_000)
    (upper / "empty").touch()
    (own_tmp / "sparse").touch()
    os.truncate(own_tmp / "sparse", 1 << 40)
    (own_tmp / "all").symlink_to("/")
    os.link(upper / "media" / "a", upper / "again")
    written = containers.written("one", MB)
    assert 100_000 + 4 * BLOCK <= written <= 110_000 + 5 * BLOCK
    assert 50_000 < containers.written("one", 50_000) < MB, "no further than that"


def test_folders_as_deep_as_a_dyno_likes_are_counted_and_removed(containers: Containers, tmp_path: Path) -> None:
    upper = tmp_path / "deep" / "upper"
    upper.mkdir(parents=True)
    build = f"for i in $(seq {DEEP}); do mkdir a && cd a; done; echo x >down-there"
    subprocess.run(["sh", "-c", build], cwd=upper, check=True, env={"PATH": os.environ["PATH"]})
    assert containers.written("deep", 1 << 30) >= DEEP * BLOCK
    assert containers.discard("deep").files == 1
    assert list(tmp_path.iterdir()) == []


@dataclass
class FakeDisk:
    """How much each instance has written, by the time that it is looked at; also their journal."""

    sizes: Mapping[str, int]
    lines: list[tuple[str, str]] = field(default_factory=list)
    accused: list[tuple[str, str]] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)

    def written(self, instance_id: str, most: int) -> int:
        assert most == 10 * MB
        self.counted.append(instance_id)
        return self.sizes[instance_id]

    def platform(self, ps: str, message: str) -> None:
        self.lines.append((ps, message))

    def full(self, instance_id: str, why: str) -> None:
        self.accused.append((instance_id, why))


def test_who_wrote_too_much_is_told_once_and_must_go() -> None:
    disk = FakeDisk({"a": 10 * MB, "b": 11 * MB})
    dynos = [Sampled(id_, f"{id_}.1", UNSIZED) for id_ in disk.sizes]

    async def main() -> None:
        watch = DiskWatch(DiskRules(10 * MB, disk.written), journal=disk, full=disk.full)
        with ThreadPoolExecutor(max_workers=1) as thread:
            for at in (5.0, 6.0, 10.0, 15.0):  # it is too early at 6
                await watch.look(thread, at, dynos)

    run_virtually(main())
    line = "Error (Disk limit exceeded): wrote 11 MB, limit 10 MB"
    assert disk.lines == [("b.1", line)]
    assert disk.accused == [("b", line)]
    assert disk.counted == ["a", "b", "a", "a"]
