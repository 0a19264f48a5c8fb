"""A folder of storage there and back, and archives that want to be more than that."""

import contextlib
import io
import os
import socket
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynod.storage_archive import DEEPEST, Packed, StorageArchiveError, pack, size_of, unpack

NOBODY = 65534
Entry = tuple[str, bytes, str]  # name, type, what a link says


def there_and_back(folder: Path, new: Path) -> Packed:
    archive = io.BytesIO()
    packed = pack(folder, archive)
    archive.seek(0)
    unpack(archive, new)
    return packed


def archive_of(*entries: Entry) -> io.BytesIO:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, kind, link in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            info.size = 1 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"x"))
    packed.seek(0)
    return packed


def seen(folder: Path) -> dict[str, tuple[str, int, int]]:
    """By name: content or link, mode, time."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else path.read_text() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (
            content,
            status.st_mode,
            0 if path.is_symlink() else int(status.st_mtime),
        )
    return found


def test_a_folder_is_what_it_was(tmp_path: Path) -> None:
    """Files, empty ones, folders, one of them read-only, links wherever they lead, and a hard link as two files."""
    folder = tmp_path / "old"
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/b/file").write_text("content")
    (folder / "a/tool").write_text("#!")
    (folder / "a/tool").chmod(0o755)
    (folder / "empty").touch()
    os.utime(folder / "empty", (1_000_000_000, 1_000_000_000))
    (folder / "out").symlink_to("/app/elsewhere")
    (folder / "up").symlink_to("../../secret")
    os.link(folder / "empty", folder / "again")
    (folder / "a/b").chmod(0o500)
    packed = there_and_back(folder, tmp_path / "new")
    assert seen(tmp_path / "new") == seen(folder)
    assert packed == Packed(files=4, size=9, left_out=0)
    assert size_of(folder) > 0


def test_what_is_no_file_is_left_out_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    os.mkfifo(folder / "fifo")
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(folder)  # its path may be too long for a socket
        made.bind("socket")
        os.chdir(here)
    (folder / "file").write_text("x")
    assert there_and_back(folder, tmp_path / "new") == Packed(files=1, size=1, left_out=2)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_nothing_is_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("secret")
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "folder").symlink_to(tmp_path / "secret")
    (folder / "file").symlink_to(tmp_path / "secret/key")
    archive = io.BytesIO()
    assert pack(folder, archive).files == 0
    with pytest.raises(OSError, match=r"[Nn]ot a directory|[Tt]oo many"):
        pack(folder / "folder", io.BytesIO())


@contextlib.contextmanager
def as_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As a user for whom modes count, who has the folder and cannot get to it but from where it is."""
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        if os.geteuid() != 0:
            yield
            return
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)


def test_what_may_not_be_read_is_named_and_everything_else_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file, a folder, and one whose names may be read and nothing else; they come back empty, and as closed."""
    folder = tmp_path / "old"
    for name in ("a", "closed", "names", "z"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_text(name)
    (folder / "secret").write_text("x")
    archive = io.BytesIO()
    with as_nobody(tmp_path, monkeypatch):
        for name, mode in (("secret", 0), ("closed", 0), ("names", 0o444)):
            Path("old", name).chmod(mode)
        assert size_of(Path("old")) > 0
        packed = pack(Path("old"), archive)
        for name in ("closed", "names"):
            Path("old", name).chmod(0o755)
    assert packed == Packed(2, 2, 0, unread=3, unread_names=("secret", "names", "closed"))
    archive.seek(0)
    unpack(archive, tmp_path / "new")
    found = {name: (content, stat.S_IMODE(mode)) for name, (content, mode, _) in seen(tmp_path / "new").items()}
    assert {name: content for name, (content, _) in found.items() if content} == {"a/file": "a", "z/file": "z"}
    assert (found["closed"][1], found["names"][1], "secret" in found) == (0, 0o444, False)


def test_a_folder_of_storage_that_may_not_be_read_at_all_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    with as_nobody(tmp_path, monkeypatch):
        Path("old").chmod(0)
        size, packed = size_of(Path("old")), pack(Path("old"), io.BytesIO())
        Path("old").chmod(0o700)
    assert (size, packed) == (0, Packed(0, 0, 0, unread=1, unread_names=(".",)))


def test_what_is_too_deep_is_left_out_and_counted(tmp_path: Path) -> None:
    """And nothing calls itself for each level: so deep that no path says it."""
    above = tmp_path / "old"
    above.mkdir()
    fd = os.open(above, os.O_RDONLY)
    for _ in range(DEEPEST + 10):
        os.mkdir("d" * 30, dir_fd=fd)
        next_ = os.open("d" * 30, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = next_
    os.close(fd)
    (above / "file").touch()
    assert there_and_back(above, tmp_path / "new") == Packed(files=1, size=0, left_out=1)


@pytest.mark.parametrize(
    "entries",
    [
        [("../x", tarfile.REGTYPE, "")],
        [("/x", tarfile.REGTYPE, "")],
        [("a", tarfile.DIRTYPE, ""), ("a/../../x", tarfile.REGTYPE, "")],
        [("a//x", tarfile.REGTYPE, "")],
        [("link", tarfile.SYMTYPE, ".."), ("link/x", tarfile.REGTYPE, "")],
        [("link", tarfile.SYMTYPE, "../x"), ("link", tarfile.REGTYPE, "")],
        [("file", tarfile.REGTYPE, ""), ("file/x", tarfile.REGTYPE, "")],
        [("none/x", tarfile.REGTYPE, "")],
        [("hard", tarfile.LNKTYPE, "../x")],
        [("device", tarfile.CHRTYPE, "")],
        [("fifo", tarfile.FIFOTYPE, "")],
    ],
    ids=lambda entries: entries[-1][0],
)
def test_what_would_lead_out_of_the_folder_is_refused(tmp_path: Path, entries: list[Entry]) -> None:
    with pytest.raises(StorageArchiveError):
        unpack(archive_of(*entries), tmp_path / "new")
    assert not (tmp_path / "x").exists()


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    whole = archive_of(("x", tarfile.REGTYPE, "")).getvalue()
    for number, content in enumerate((b"", b"nothing", whole[: len(whole) // 2])):
        with pytest.raises(StorageArchiveError):
            unpack(io.BytesIO(content), tmp_path / str(number))


def test_no_file_comes_back_with_more_rights_than_a_file_has(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "tool").touch()
    (folder / "tool").chmod(0o6755)
    there_and_back(folder, tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new/tool").stat().st_mode) == 0o755
