"""Room that is set aside, by half and half given up; and what is said of a disk that is full."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dynod.store import ballast
from dynod.store.ballast import Ballast
from dynod.store.contents import Contents, sizes

BLOCK = 4096


class Disk:
    """What statvfs(2) says of the folder's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.blocks = 1_000_000
        self.free = 500_000
        monkeypatch.setattr(os, "statvfs", lambda _path: self)

    @property
    def f_blocks(self) -> int:
        return self.blocks

    @property
    def f_frsize(self) -> int:
        return BLOCK

    @property
    def f_bavail(self) -> int:
        return self.free


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    with monkeypatch.context() as patch:
        yield Disk(patch)


def size(folder: Path) -> int:
    path = folder / ballast.NAME
    return path.stat().st_size if path.exists() else 0


def test_it_is_real_room_where_there_is_plenty(tmp_path: Path, disk: Disk) -> None:
    Ballast(tmp_path).set_aside()
    assert size(tmp_path) == ballast.MOST
    assert (tmp_path / ballast.NAME).stat().st_blocks * 512 >= ballast.MOST, "no file of holes"
    disk.blocks, disk.free = 16_384, 16_000  # 64 MB
    other = tmp_path / "other"
    other.mkdir()
    Ballast(other).set_aside()
    assert size(other) == 1024**2


@pytest.mark.parametrize(("blocks", "free"), [(1_000_000, 30_000), (1000, 1000), (0, 0)], ids=["full", "tiny", "none"])
def test_it_takes_no_room_that_somebody_needs(tmp_path: Path, disk: Disk, blocks: int, free: int) -> None:
    disk.blocks, disk.free = blocks, free
    Ballast(tmp_path).set_aside()
    assert size(tmp_path) == 0


def test_it_makes_way_by_halves_and_is_set_aside_anew(tmp_path: Path, disk: Disk) -> None:
    Ballast(tmp_path).set_aside()
    Ballast(tmp_path).make_way_if_full()
    assert size(tmp_path) == ballast.MOST, "there is room"
    disk.free = 0
    left = []
    while size(tmp_path):
        Ballast(tmp_path).make_way_if_full()
        left.append(size(tmp_path))
    assert left == [ballast.MOST >> n for n in range(1, 9)] + [0]
    Ballast(tmp_path).make_way_if_full()
    disk.free = 500_000
    Ballast(tmp_path).set_aside()
    assert size(tmp_path) == ballast.MOST


def test_sizes_are_those_of_what_is_directly_there(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "deep" / "file").write_bytes(bytes(300_000))
    (tmp_path / "b").write_bytes(bytes(100_000))
    (tmp_path / "link").symlink_to("/")
    found = sizes(tmp_path)
    assert set(found) == {"a", "b", "link"}
    assert found["a"] > found["b"] > found["link"]


def test_a_look_ends_where_there_is_too_much(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"d{number}").mkdir()
        (tmp_path / f"d{number}" / "file").write_bytes(bytes(BLOCK))
    assert len(sizes(tmp_path, most_entries=5)) == 20, "all that is directly there, and nothing below"
    assert sum(sizes(tmp_path, most_entries=5).values()) < sum(sizes(tmp_path).values())


def test_it_is_measured_once_a_minute(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    contents = Contents(tmp_path, lambda: now)
    assert contents.largest() == ""
    file = os.open(tmp_path / "filler", os.O_CREAT | os.O_WRONLY)
    os.write(file, bytes(2_100_000))
    os.close(file)
    assert contents.largest() == ""
    now += timedelta(minutes=1)
    assert contents.largest() == "filler (2 MB)"
