"""Packs a built tree into a slug: the same tree is the same bytes, so that its hash names what it holds.

Names are sorted; owners, times and odd modes are left out, as `extraction` does not take them over either. Links that
lead to the tree by where it was built, or by /app where it will be, become relative. What `archive_rules` refuses is
refused here already, while somebody reads the build's output. Blocks.
"""

import gzip
import io
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from dynod.core.archive_rules import ArchiveRefusedError, Kind, check_member

APP: Final = "app"  # Heroku's slugs have the code below it
APP_FOLDER: Final = "/app"
EPOCH: Final = 315_532_800  # 1980-01-01, the first day that zip files know: some tools refuse what is older
COMPRESSION: Final = 4  # a third of the time of 6, for a few per cent of size (a virtualenv of 60 MB)


class TooLargeError(ArchiveRefusedError):
    """The slug is larger than it may be."""

    def __init__(self, size: int) -> None:
        super().__init__(f"The slug is larger than {size:,} bytes.")
        self.size = size


class _Counted(io.RawIOBase):
    """The file, as far as it may grow."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self._most = most
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]  # as gzip calls it
        self.size += len(data)
        if self.size > self._most:
            raise TooLargeError(self.size)
        return self._file.write(data)


def pack_slug(tree: Path, archive: Path, *, most: int) -> int:
    """Write the archive; returns its size in bytes. Raises ArchiveRefusedError, TooLargeError, OSError."""
    with archive.open("wb") as file:
        counted = _Counted(file, most)
        with (
            gzip.GzipFile(
                filename="", fileobj=cast("BinaryIO", counted), mode="wb", compresslevel=COMPRESSION, mtime=0
            ) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            for place, path in _members(tree, ""):
                _add(tar, tree, place, path)
        return counted.size


def _members(folder: Path, place: str) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        path, below = folder / name, posixpath.join(place, name)
        yield below, path
        if path.is_dir() and not path.is_symlink():
            yield from _members(path, below)


def _add(tar: tarfile.TarFile, tree: Path, place: str, path: Path) -> None:
    status = path.lstat()
    info = tarfile.TarInfo(f"{APP}/{place}")
    info.mtime = EPOCH
    if stat.S_ISLNK(status.st_mode):
        target = _within(tree, place, os.fspath(path.readlink()))
        check_member(place, Kind.SYMLINK, mode=0o777, target=target)
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
        tar.addfile(info)
    elif stat.S_ISDIR(status.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
    elif stat.S_ISREG(status.st_mode):
        check_member(place, Kind.FILE, mode=status.st_mode)
        info.size, info.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
        with path.open("rb") as file:
            tar.addfile(info, file)
    # Sockets, pipes and devices are what a build has left running about; they are no part of an app.


def _within(tree: Path, place: str, target: str) -> str:
    """A link's target, relative where it leads to the tree."""
    for root in (os.fspath(tree), APP_FOLDER):
        if target == root or target.startswith(f"{root}/"):
            inside = posixpath.relpath(target, root)
            return posixpath.relpath(inside, posixpath.dirname(place) or ".")
    return target
