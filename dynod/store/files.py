"""The files of a state folder: `state.db` with SQLite's own two files, the owner's lock, copies of old schemas."""

import os
from pathlib import Path
from typing import Final

DATABASE: Final = "state.db"
LOCK: Final = "state.lock"
LOST_AND_FOUND: Final = "lost+found"  # of a disk of its own that is new: fsck(8)
COPY_MARK: Final = "-before-"


def copies_of(database: Path) -> list[Path]:
    """The copies made before changes of the schema, oldest first."""
    return sorted(database.parent.glob(f"{database.stem}{COPY_MARK}*{database.suffix}"))


def companion(database: Path, suffix: str) -> Path:
    """SQLite's file beside the database: `-wal`, `-shm`."""
    return database.with_name(database.name + suffix)


def sync(path: Path) -> None:
    """fsync(2) a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
