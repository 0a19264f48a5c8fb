"""A tree as a slug: the same bytes for the same tree, and nothing in it that leads out."""

import os
import tarfile
from pathlib import Path

import pytest

from dynod.builds.extraction import unpack
from dynod.builds.slug_archive import TooLargeError, pack_slug
from dynod.core.archive_rules import Limits
from support.tarballs import tree

MOST = 1 << 20


def grown(folder: Path, names: list[str]) -> Path:
    """A tree whose files come into being in that order."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (folder / names[0]).chmod(0o755)
    return folder


def test_equal_trees_are_equal_bytes_whenever_they_were_made(tmp_path: Path) -> None:
    names = ["bin/run", "a", "b/c/d", "b/a"]
    one, two = grown(tmp_path / "one", names), grown(tmp_path / "two", [names[0], *reversed(names[1:])])
    os.utime(two / "a", (1, 1))
    (two / "b").chmod(0o700)
    sizes = [pack_slug(each, each.with_suffix(".tgz"), most=MOST).size for each in (one, two)]
    packed = [each.with_suffix(".tgz").read_bytes() for each in (one, two)]
    assert packed[0] == packed[1]
    assert sizes == [len(packed[0])] * 2


def test_it_is_unpacked_to_what_it_was(tmp_path: Path) -> None:
    built = grown(tmp_path / "built", ["bin/run", "lib/x"])
    (built / "lib" / "inside").symlink_to(built / "bin" / "run")
    (built / "of-app").symlink_to("/app/lib")
    (built / "lib" / "up").symlink_to("../bin")
    os.mkfifo(built / "pipe")
    pack_slug(built, tmp_path / "slug.tgz", most=MOST)
    unpack(tmp_path / "slug.tgz", tmp_path / "out", Limits())
    assert tree(tmp_path / "out" / "app") == {
        "bin": "/",
        "bin/run": "bin/run",
        "lib": "/",
        "lib/inside": "-> ../bin/run",
        "lib/up": "-> ../bin",
        "lib/x": "lib/x",
        "of-app": "-> lib",
    }
    assert (tmp_path / "out" / "app" / "bin" / "run").stat().st_mode & 0o777 == 0o755
    with tarfile.open(tmp_path / "slug.tgz") as tar:
        assert {(member.uid, member.gid, member.mtime) for member in tar} == {(0, 0, 315_532_800)}


def test_a_link_out_of_the_tree_becomes_the_file_or_is_left_out(tmp_path: Path) -> None:
    """As the loader in others' apt buildpacks, and `python` in a virtual environment."""
    built, beside = grown(tmp_path / "built", ["a"]), tmp_path / "beside"
    beside.write_text("of the system")
    beside.chmod(0o755)
    targets = {
        "file": os.fspath(beside),
        "up": "../beside",
        "folder": "/etc",
        "gone": "/no-file",
        "device": "/dev/null",
    }
    for name, target in targets.items():
        (built / name).symlink_to(target)
    packed = pack_slug(built, tmp_path / "slug.tgz", most=MOST)
    assert dict(packed.copied) == {name: targets[name] for name in ("file", "up")}
    assert dict(packed.left_out) == {name: targets[name] for name in ("folder", "gone", "device")}
    with tarfile.open(tmp_path / "slug.tgz") as tar:
        assert sorted(tar.getnames()) == ["app/a", "app/file", "app/up"]
        for place, _target in packed.copied:
            member = tar.getmember(f"app/{place}")
            assert (member.isreg(), member.mode) == (True, 0o755)
            content = tar.extractfile(member)
            assert content is not None
            assert content.read() == b"of the system"


def test_a_setuid_bit_is_not_kept(tmp_path: Path) -> None:
    built = grown(tmp_path / "built", ["a"])
    (built / "a").chmod(0o4755)
    pack_slug(built, tmp_path / "slug.tgz", most=MOST)
    with tarfile.open(tmp_path / "slug.tgz") as tar:
        assert tar.getmember("app/a").mode == 0o755


def test_what_is_too_large_ends_early(tmp_path: Path) -> None:
    built = grown(tmp_path / "built", ["a"])
    (built / "a").write_bytes(os.urandom(200_000))
    with pytest.raises(TooLargeError):
        pack_slug(built, tmp_path / "slug.tgz", most=100_000)
    assert (tmp_path / "slug.tgz").stat().st_size <= 100_000
