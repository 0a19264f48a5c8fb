"""What dynos write, counted on a real disk, and judged on virtual time."""

import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dynod.core.container import Machine
from dynod.core.dyno_sizes import MB, UNSIZED
from dynod.process.container import BLOCK, Containers, Tools
from dynod.process.disk_watch import DiskRules, DiskWatch
from dynod.process.nameless_files import below, nameless_bytes, on_mounts
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
    nameless: Mapping[str, int] = field(default_factory=dict)
    free: Sequence[int] = (100 * MB,)  # at each look, the last one from then on
    looks: int = 0
    opened: list[str] = field(default_factory=list)

    def rules(self) -> DiskRules:
        return DiskRules(10 * MB, self.written, self.open_files, self.room, lambda ids: {id_: [1] for id_ in ids})

    def room(self) -> int:
        self.looks += 1
        return self.free[min(self.looks, len(self.free)) - 1]

    def open_files(self, instance_id: str, pids: Collection[int]) -> int:
        assert pids == [1]
        self.opened.append(instance_id)
        return self.nameless.get(instance_id, 0)

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
        watch = DiskWatch(disk.rules(), journal=disk, full=disk.full)
        with ThreadPoolExecutor(max_workers=1) as thread:
            for at in (5.0, 6.0, 10.0, 15.0):  # it is too early at 6
                await watch.look(thread, at, dynos)

    run_virtually(main())
    line = "Error (Disk limit exceeded): wrote 11 MB, limit 10 MB"
    assert disk.lines == [("b.1", line)]
    assert disk.accused == [("b", line)]
    assert disk.counted == ["a", "b", "a", "a"]


def test_files_without_a_name_are_looked_for_where_room_is_missing() -> None:
    """b's are too much with what it has by name; a's are not, and what is asked for costs a look at each."""
    disk = FakeDisk(
        {"a": 1 * MB, "b": 3 * MB},
        nameless={"a": 8 * MB, "b": 8 * MB},
        free=[100 * MB, 96 * MB, 84 * MB, 84 * MB],
    )
    dynos = [Sampled(id_, f"{id_}.1", UNSIZED) for id_ in disk.sizes]

    async def main() -> None:
        watch = DiskWatch(disk.rules(), journal=disk, full=disk.full)
        with ThreadPoolExecutor(max_workers=1) as thread:
            for at, looked in ((5.0, []), (10.0, []), (15.0, ["a", "b"]), (20.0, ["a", "b"])):
                await watch.look(thread, at, dynos)
                assert disk.opened == looked

    run_virtually(main())
    assert disk.lines == [("b.1", "Error (Disk limit exceeded): wrote 11 MB, limit 10 MB")]


def test_a_file_that_is_removed_and_held_open_has_its_bytes(tmp_path: Path) -> None:
    """Once, however many descriptors it has; one with a name has none here, nor has one of elsewhere, nor memory."""
    inside = tmp_path / "one"
    inside.mkdir()
    held = []
    for folder in (inside, inside, tmp_path):
        held.append((folder / "file").open("wb"))
        held[-1].write(b"x" * 100_000)
        held[-1].flush()
        (folder / "file").unlink()
    memory = os.memfd_create("memory")
    os.write(memory, b"x" * 100_000)
    again = os.dup(held[0].fileno())
    with (inside / "named").open("wb"):
        found = nameless_bytes([os.getpid(), 2**22 + 1], below(str(inside)))
        mounts = nameless_bytes([os.getpid()], on_mounts("/nowhere"))
    for each in held:
        each.close()
    os.close(memory)
    os.close(again)
    assert 2 * 100_000 <= found <= 2 * 110_000
    assert mounts == 0
