"""A folder of an app's storage as one archive, and such a folder made of it again.

Its files are an app's, which may write meanwhile and means no good: nothing is opened through a link, in either
direction, and what is neither a file, a folder nor a link is left out. Links keep their texts, which mean something to
the app alone. A file that grows or shrinks while it is read is there as long as it was. What dynod may not read,
where it is not root and the app wants it so, is named and left out: that is no reason to have no backup of the rest.

Flow: daemon backup → **storage archive** → backup file → restore. Blocks. May import errors alone.
"""

import contextlib
import errno
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple

from dynod.errors import DynodError

FAST: Final = 1  # of gzip
FIRST_USER: Final = 1000  # below are the machine's own, whose files no app's are
PIECE_BYTES: Final = 1024 * 1024
DEEPEST: Final = 200  # levels; the way to each file is gone step by step, so that an app could make it long work
MOST_NAMED: Final = 10  # of what may not be read
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE: Final = 0o777  # neither setuid, setgid nor sticky


class StorageArchiveError(DynodError):
    """It holds what no folder of storage holds."""

    code = "storage_archive"


class Packed(NamedTuple):
    """What was put into an archive. `size`: bytes of its files; `left_out`: sockets, devices, folders too deep.

    `unread`: files and folders that may not be read, whatever is in those; `unread_names`: the first of them.
    """

    files: int
    size: int
    left_out: int
    unread: int = 0
    unread_names: tuple[str, ...] = ()


class _Unread:
    """What may not be read, once each: a folder is both met and gone into."""

    def __init__(self) -> None:
        self.count = 0
        self.names: list[str] = []

    def add(self, parts: Sequence[str]) -> None:
        self.count += 1
        if len(self.names) < MOST_NAMED:
            self.names.append(_printable("/".join(parts) or "."))


def pack(folder: Path, into: IO[bytes]) -> Packed:
    """Everything below the folder that may be read. Raises OSError."""
    unread = _Unread()
    with tarfile.open(fileobj=into, mode="w:gz", compresslevel=FAST, format=tarfile.PAX_FORMAT) as tar:
        try:
            root = os.open(folder, _FOLDER)
        except PermissionError:
            unread.add([])
            return Packed(0, 0, 0, unread.count, tuple(unread.names))
        with _opened(root):
            return _pack_below(root, tar, unread)


def _pack_below(root: int, tar: tarfile.TarFile, unread: _Unread) -> Packed:
    files = size = left_out = 0
    for parts, found in _entries(root, unread):
        info = tarfile.TarInfo("/".join(parts))
        info.mode, info.uid, info.gid = found.st_mode & _MODE, found.st_uid, found.st_gid
        info.mtime = found.st_mtime
        try:
            if stat.S_ISDIR(found.st_mode) and len(parts) == DEEPEST:
                left_out += 1
            elif stat.S_ISDIR(found.st_mode):
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif stat.S_ISLNK(found.st_mode):
                info.type = tarfile.SYMTYPE
                with _above(root, parts) as above:
                    info.linkname = os.readlink(parts[-1], dir_fd=above)
                tar.addfile(info)
            elif stat.S_ISREG(found.st_mode) and (content := _file(root, parts)) is not None:
                with content:
                    info.size = os.fstat(content.fileno()).st_size
                    tar.addfile(info, _AsLong(content))
                files, size = files + 1, size + info.size
            else:
                left_out += 1
        except PermissionError:
            unread.add(parts)
        except (FileNotFoundError, NotADirectoryError):
            pass  # gone meanwhile
    return Packed(files, size, left_out, unread.count, tuple(unread.names))


def size_of(folder: Path) -> int:
    """Bytes that `pack` would read, more or less; holes in files are read too. Raises OSError."""
    try:
        root = os.open(folder, _FOLDER)
    except PermissionError:
        return 0
    with _opened(root):
        return sum(
            max(found.st_size, found.st_blocks * 512)
            for _, found in _entries(root, _Unread())
            if stat.S_ISREG(found.st_mode)
        )


def unpack(archive: IO[bytes], folder: Path) -> None:
    """Make the folder, which is not there, with everything in it. As root files get back the users they had.

    Raises StorageArchiveError, OSError.
    """
    folder.mkdir(mode=0o700)
    modes: list[tuple[list[str], tarfile.TarInfo]] = []
    try:
        with (
            tarfile.open(fileobj=archive, mode="r|gz") as tar,
            _opened(os.open(folder, _FOLDER)) as root,
        ):
            for info in tar:
                parts = info.name.split("/")
                if not parts or any(part in {"", ".", ".."} or "\0" in part for part in parts):
                    raise StorageArchiveError(f"{info.name!r} leads out of its folder")
                try:
                    with _above(root, parts) as above:
                        _make(tar, info, parts[-1], above)
                except (FileNotFoundError, NotADirectoryError) as error:
                    raise StorageArchiveError(f"{info.name!r} lies in no folder of it") from error
                if info.isdir():
                    modes.append((parts, info))
            for parts, info in reversed(modes):  # at last, since not all of them may be written to
                with _above(root, parts) as above, _opened(os.open(parts[-1], _FOLDER, dir_fd=above)) as made:
                    _give_back(made, info)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise StorageArchiveError(f"it cannot be read ({error})") from error


def _make(tar: tarfile.TarFile, info: tarfile.TarInfo, name: str, above: int) -> None:
    try:
        if info.isdir():
            os.mkdir(name, 0o700, dir_fd=above)
        elif info.issym():
            os.symlink(info.linkname, name, dir_fd=above)
            if _is_given_back(info):
                os.chown(name, info.uid, info.gid, dir_fd=above, follow_symlinks=False)
        elif info.isreg():
            content = tar.extractfile(info)
            with _opened(os.open(name, _NEW, 0o600, dir_fd=above)) as made:
                while content is not None and (piece := content.read(PIECE_BYTES)):
                    _write(made, piece)
                _give_back(made, info)
        else:
            raise StorageArchiveError(f"{info.name!r} is neither a file, a folder nor a link")
    except FileExistsError as error:
        raise StorageArchiveError(f"{info.name!r} is in it twice") from error


def _give_back(made: int, info: tarfile.TarInfo) -> None:
    if _is_given_back(info):
        os.fchown(made, info.uid, info.gid)
    os.fchmod(made, info.mode & _MODE)
    os.utime(made, (info.mtime, info.mtime))


def _is_given_back(info: tarfile.TarInfo) -> bool:
    return os.geteuid() == 0 and min(info.uid, info.gid) >= FIRST_USER


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _entries(root: int, unread: _Unread) -> Iterator[tuple[list[str], os.stat_result]]:
    """Everything below, a folder before what is in it, as far as DEEPEST and as it may be read."""
    waiting: list[list[str]] = [[]]
    while waiting:
        above = waiting.pop()
        try:
            with _below(root, above) as folder:
                for name in sorted(os.listdir(folder)):  # noqa: PTH208 (of a descriptor)
                    try:
                        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    yield [*above, name], found
                    if stat.S_ISDIR(found.st_mode) and len(above) + 1 < DEEPEST:
                        waiting.append([*above, name])
        except PermissionError:  # also where its names may be read, and nothing else of what is in it
            unread.add(above)
        except (FileNotFoundError, NotADirectoryError):
            pass  # gone meanwhile


def _file(root: int, parts: Sequence[str]) -> IO[bytes] | None:
    """Opened for reading, if it still is a regular file. Raises OSError."""
    with _above(root, parts) as above:
        try:
            fd = os.open(parts[-1], _READ, dir_fd=above)
        except OSError as error:  # a socket, a device that is not there, a link: all of them have come meanwhile
            if error.errno not in {errno.ENXIO, errno.ENODEV, errno.ELOOP}:
                raise
            return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return open(fd, "rb", buffering=0)  # noqa: PTH123 (a descriptor)


def _above(root: int, parts: Sequence[str]) -> contextlib.AbstractContextManager[int]:
    return _below(root, parts[:-1])


@contextlib.contextmanager
def _below(root: int, parts: Sequence[str]) -> Iterator[int]:
    """A folder by its way from `root`, none of it a link."""
    fd = os.dup(root)
    try:
        for part in parts:
            next_ = os.open(part, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = next_
        yield fd
    except NotADirectoryError as error:
        raise NotADirectoryError(error.errno, "not a folder of its own", "/".join(parts)) from error
    finally:
        os.close(fd)


@contextlib.contextmanager
def _opened(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)[1:-1]


class _AsLong(io.RawIOBase):
    """A file of which as much is read as it had, with zeros where it has become shorter."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content

    def read(self, size: int = -1, /) -> bytes:
        """Exactly `size` bytes."""
        found = bytearray()
        while len(found) < size and (piece := self._content.read(size - len(found))):
            found += piece
        return bytes(found.ljust(size, b"\0"))
