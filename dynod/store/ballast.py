"""Room that is set aside: a file of nothing, which makes way where the state cannot be opened on a full disk.

SQLite has to make its `-shm` file to open a database that was closed cleanly, and the folders of dynos' containers need
blocks of their own: without this a machine that is booted while its disk is full would serve nobody (contracts 8). It
makes way for a start alone: a change that somebody asks for is refused instead, and says what fills the disk.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

NAME: Final = "ballast"
MOST: Final = 16 * 1024 * 1024  # bytes: folders of some 500 dynos, and SQLite's file many times
SHARE: Final = 64  # of a small file system, at most this part
LEAST: Final = 64 * 1024  # what is less helps nobody: SQLite alone wants 32 KB
ROOMY: Final = 8  # it is set aside only where so many times its size is free


class Ballast:
    """That of one state folder. Blocks."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME

    def set_aside(self) -> None:
        """Have it there, in full, where there is plenty of room; otherwise leave it as it is."""
        with contextlib.suppress(OSError):  # the disk has filled up meanwhile
            disk = os.statvfs(self._path.parent)
            size = min(MOST, disk.f_blocks * disk.f_frsize // SHARE)
            if size < LEAST or disk.f_bavail * disk.f_frsize < ROOMY * size or _size(self._path) >= size:
                return
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                _fill(file, size)
            finally:
                os.close(file)

    def make_way_if_full(self) -> None:
        """Where less is free than half of it, give that half up: the rest is for the next time. Raises OSError."""
        size = _size(self._path)
        disk = os.statvfs(self._path.parent)
        if size == 0 or disk.f_bavail * disk.f_frsize >= size // 2:
            return
        if size >= 2 * LEAST:
            os.truncate(self._path, size // 2)
        else:
            self._path.unlink(missing_ok=True)


def _fill(file: int, size: int) -> None:
    """Real blocks: a file of holes keeps nothing free."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    piece = bytes(LEAST)
    for offset in range(0, size, len(piece)):
        os.pwrite(file, piece[: size - offset], offset)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0
