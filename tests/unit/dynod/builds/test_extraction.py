"""Archives are unpacked as they are, and nothing gets out of the folder: a table of attacks, and any names at all."""

import gzip
import io
import os
import stat
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynod.builds.extraction import code_folder, is_archive, unpack
from dynod.core.archive_rules import ArchiveRefusedError, Limits
from support.tarballs import member, packed, tarball, tree, zeros

LIMITS = Limits(packed=1 << 20, unpacked=1 << 20, members=50)
SYM, HARD, DIR = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


def unpacked(folder: Path, archive: bytes, limits: Limits = LIMITS) -> Path:
    path = folder / "archive.tgz"
    path.write_bytes(archive)
    unpack(path, folder / "tree", limits)
    return folder / "tree"


def test_files_folders_and_links_come_out_as_they_are(tmp_path: Path) -> None:
    archive = packed(
        [
            member("./", kind=DIR, mode=0o700),
            member("./Procfile", b"web: ./run.sh\n"),
            member("run.sh", b"#!/bin/sh\n", mode=0o777),
            member("lib/a/b.txt", b"deep"),
            member("lib/link", kind=SYM, link="a/b.txt"),
            member("up", kind=SYM, link="lib/../Procfile"),
            member("dangling", kind=SYM, link="not/there"),
            member("same", kind=HARD, link="./Procfile"),
            member("empty", kind=DIR, mode=0o000),
            member("Procfile", b"web: true\n"),  # once more, as `tar -r` does
        ]
    )
    folder = unpacked(tmp_path, archive)
    assert tree(folder) == {
        "Procfile": "web: true\n",
        "dangling": "-> not/there",
        "empty": "/",
        "lib": "/",
        "lib/a": "/",
        "lib/a/b.txt": "deep",
        "lib/link": "-> a/b.txt",
        "run.sh": "#!/bin/sh\n",
        "same": "web: ./run.sh\n",
        "up": "-> lib/../Procfile",
    }
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in ("run.sh", "Procfile", "empty")}
    assert modes == {"run.sh": 0o755, "Procfile": 0o644, "empty": 0o755}
    assert (folder / "run.sh").stat().st_uid == os.geteuid()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([member("../evil", b"x")], "leads out of it"),
        ([member("a/../../evil", b"x")], "leads out of it"),
        ([member("/etc/evil", b"x")], "no path within it"),
        ([member("..", kind=DIR)], "leads out of it"),
        ([member("evil", kind=SYM, link="/etc/passwd")], "outside of it"),
        ([member("evil", kind=SYM, link="../outside")], "outside of it"),
        ([member("a/evil", kind=SYM, link="../../outside")], "outside of it"),
        ([member("evil", kind=HARD, link="../outside")], "leads out of it"),
        ([member("evil", kind=HARD, link="/etc/passwd")], "no path within it"),
        ([member("evil", kind=HARD, link="not-there")], "not in it"),
        ([member("s", kind=SYM, link="a"), member("evil", kind=HARD, link="s")], "not in it"),
        ([member("d", kind=SYM, link="."), member("d/evil", b"x")], "as a folder and as a file or link"),
        ([member("d", kind=SYM, link="e"), member("d/f/evil", b"x")], "as a folder and as a file or link"),
        ([member("f", b"x"), member("f/evil", b"x")], "as a folder and as a file or link"),
        ([member("d/f", b"x"), member("d", b"x")], "as a folder and as a file"),
        ([member("d", kind=DIR), member("d", kind=SYM, link="x")], "as a folder and as a symbolic link"),
        ([member("fifo", kind=tarfile.FIFOTYPE)], "a device, pipe"),
        ([member("null", kind=tarfile.CHRTYPE)], "a device, pipe"),
        ([member("disk", kind=tarfile.BLKTYPE)], "a device, pipe"),
        ([member("su", b"x", mode=0o4755)], "setuid"),
        ([member("sg", b"x", mode=0o2755)], "setuid"),
        ([member("x" * 256, b"x")], "too long"),
        ([member("/".join(["d"] * 201), b"x")], "too long"),
        ([member(f"f{number}", b"") for number in range(51)], "more than 50 files"),
        ([member(f"f{number}", bytes(300_000)) for number in range(4)], "more than 1,048,576 bytes"),
        # A chain of links, each of which stays inside by its letters.
        (
            [
                member("a/b/c/up", kind=SYM, link="../../.."),
                member("evil", kind=SYM, link="a/b/c/up/../.."),
            ],
            "leads out of it",
        ),
    ],
)
@pytest.mark.parametrize("with_filter", [True, False])
def test_what_an_archive_must_not_hold(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    members: list[tuple[tarfile.TarInfo, bytes]],
    message: str,
    with_filter: bool,
) -> None:
    """Without tarfile's own filter too, which the first Pythons 3.11 do not have."""
    if not with_filter:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    (tmp_path / "in").mkdir()
    with pytest.raises(ArchiveRefusedError, match=message):
        unpacked(tmp_path / "in", packed([member("Procfile", b"web: x\n"), *members]))
    assert outside.read_text() == "untouched"
    assert {path.name for path in tmp_path.rglob("*") if "evil" in path.name and not path.is_symlink()} == set()


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"no archive at all",
        gzip.compress(b"no tar"),
        gzip.compress(b"x" * 4096),
        tarball({"Procfile": "web: x\n"})[:-12],
        tarball({"Procfile": "web: x\n" * 5000})[:80],
        tarball({"Procfile": "web: x\n"})[:-8] + b"\0" * 8,  # the checksum of another content
    ],
    ids=["empty", "text", "gzip of text", "gzip of more text", "cut", "cut early", "checksum"],
)
def test_what_is_damaged_or_no_archive_is_refused(tmp_path: Path, archive: bytes) -> None:
    with pytest.raises(ArchiveRefusedError, match=r"damaged|cut short"):
        unpacked(tmp_path, archive)


def test_a_header_does_not_fill_the_memory(tmp_path: Path) -> None:
    """A pax header says how long it is, and tarfile reads it whole."""
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 900 << 20
    archive = gzip.compress(header.tobuf(tarfile.USTAR_FORMAT)) + zeros(8 << 20)
    with pytest.raises(ArchiveRefusedError, match="header that is too large"):
        unpacked(tmp_path, archive, Limits(unpacked=1 << 31))


def test_a_bomb_is_stopped_while_it_is_read(tmp_path: Path) -> None:
    """Nothing but an end of archive, and then zeros without end."""
    with pytest.raises(ArchiveRefusedError, match=r"more than 1,048,576 bytes"):
        unpacked(tmp_path, tarball({"a": ""}) + zeros(64 << 20))
    assert not any(path.stat().st_size > 1 << 20 for path in tmp_path.rglob("*"))


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("sparse")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "99999999999"}
    buffer = io.BytesIO()
    info.size = 1024
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(b"0\n".ljust(1024, b"\0")))
    with pytest.raises(ArchiveRefusedError):
        unpacked(tmp_path, buffer.getvalue())


@pytest.mark.parametrize(
    ("files", "below", "where"),
    [
        ({"Procfile": "web: x\n", "src/a": ""}, "", "."),
        ({"Procfile": "web: x\n"}, "./app/", "app"),
        ({"Procfile": "web: x\n"}, "shop-1.0/", "shop-1.0"),
        ({"Procfile": "web: x\n"}, "", "."),
        ({"app/a": "", "Procfile": "web: x\n"}, "", "."),
    ],
)
def test_where_the_code_is(tmp_path: Path, files: dict[str, str], below: str, where: str) -> None:
    folder = unpacked(tmp_path, tarball(files, below=below))
    assert code_folder(folder) == (folder / where if where != "." else folder)


def test_what_looks_like_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content, expected in ((tarball({"a": "b"}), True), (gzip.compress(b"x" * 600), False), (b"\x1f\x8b", False)):
        path.write_bytes(content)
        assert is_archive(path) is expected


PARTS = st.sampled_from(["a", "b", "..", ".", "", "c", "a/b", "../a", "/"])
NAMES = st.lists(PARTS, min_size=1, max_size=5).map("/".join)
KINDS = st.sampled_from([tarfile.REGTYPE, SYM, HARD, DIR])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NAMES, KINDS, NAMES), min_size=1, max_size=8))
def test_whatever_the_names_nothing_is_written_or_read_outside(entries: list[tuple[str, bytes, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name).resolve()
        (base / "secret").write_text("secret")
        for each in ("a", "b", "c"):
            (base / each).write_text("outside")
        (base / "in").mkdir()
        archive = packed(
            member(path, b"inside" if kind == tarfile.REGTYPE else b"", kind=kind, link=link)
            for path, kind, link in entries
        )
        try:
            folder = unpacked(base / "in", archive)
        except ArchiveRefusedError:
            folder = None
        assert [(base / each).read_text() for each in ("secret", "a", "b", "c")] == ["secret"] + ["outside"] * 3
        assert {path.name for path in base.iterdir()} == {"secret", "a", "b", "c", "in"}
        assert {path.name for path in (base / "in").iterdir()} <= {"archive.tgz", "tree"}
        if folder is not None:
            for path in folder.rglob("*"):
                assert Path(os.path.realpath(path)).is_relative_to(folder)
