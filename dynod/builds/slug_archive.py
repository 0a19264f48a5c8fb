"""Packs a built tree into a slug: the same tree is the same bytes, so that its hash names what it holds.

Names are sorted; owners, times and odd modes are left out, as `extraction` does not take them over either. Links that
lead to the tree by where it was built, or by /app where it will be, become relative. Those that lead to a file of the
system (a virtual environment's `python`, the loader of an unpacked libc6) become that file, as the build's own user may
read it, and the others are left out: a slug holds no link out of itself, and others' buildpacks make them. What
`archive_rules` refuses else is refused here already, while somebody reads the build's output. Blocks.
"""

import gzip
import io
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from dynod.core.archive_rules import ArchiveRefusedError, Kind, check_member, leads_out

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A slug: its size in bytes, and the links out of it by their place and target."""

    size: int
    copied: Sequence[tuple[str, str]]
    left_out: Sequence[tuple[str, str]]


def pack_slug(tree: Path, archive: Path, *, most: int) -> Packed:
    """Write the archive. Raises ArchiveRefusedError, TooLargeError, OSError."""
    copied: list[tuple[str, str]] = []
    left_out: list[tuple[str, str]] = []
    with archive.open("wb") as file:
        counted = _Counted(file, most)
        with (
            gzip.GzipFile(
                filename="", fileobj=cast("BinaryIO", counted), mode="wb", compresslevel=COMPRESSION, mtime=0
            ) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            for place, path in _members(tree, ""):
                if path.is_symlink() and leads_out(place, target := _within(tree, place, os.fspath(path.readlink()))):
                    readable = os.path.isfile(path) and os.access(path, os.R_OK)  # noqa: PTH113 (which raises no refusal)
                    (copied if readable else left_out).append((place, target))
                    if readable:
                        _add_file(tar, place, path)
                else:
                    _add(tar, tree, place, path)
        return Packed(size=counted.size, copied=copied, left_out=left_out)


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
    info = _info(place)
    if stat.S_ISLNK(status.st_mode):
        target = _within(tree, place, os.fspath(path.readlink()))
        check_member(place, Kind.SYMLINK, mode=0o777, target=target)
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
        tar.addfile(info)
    elif stat.S_ISDIR(status.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
    elif stat.S_ISREG(status.st_mode):
        _add_file(tar, place, path)
    # Sockets, pipes and devices are what a build has left running about; they are no part of an app.


def _add_file(tar: tarfile.TarFile, place: str, path: Path) -> None:
    """A file, or the file that a link leads to. A setuid bit is not kept: no dyno could make use of it."""
    info = _info(place)
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        info.size, info.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
        check_member(place, Kind.FILE, mode=info.mode)
        tar.addfile(info, file)


def _info(place: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(f"{APP}/{place}")
    info.mtime = EPOCH
    return info


def _within(tree: Path, place: str, target: str) -> str:
    """A link's target, relative where it leads to the tree."""
    for root in (os.fspath(tree), APP_FOLDER):
        if target == root or target.startswith(f"{root}/"):
            inside = posixpath.relpath(target, root)
            return posixpath.relpath(inside, posixpath.dirname(place) or ".")
    return target
