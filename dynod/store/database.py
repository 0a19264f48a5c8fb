"""The one connection to the state: opened, brought up to date, and used from one thread of its own.

Flow: operation → aggregate (`apps`, `formation` …) → **database** → disk. A write is one transaction, and its call
returns when it is on the disk (WAL, synchronous=FULL), so that what was acknowledged survives a loss of power; the
event loop never waits for that disk. SQL is the aggregates' business.
"""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Final, Self, TypeVar

from dynod.store.ballast import Ballast
from dynod.store.contents import Contents
from dynod.store.errors import StoreError, translated
from dynod.store.files import DATABASE, LOCK, LOST_AND_FOUND, companion, sync
from dynod.store.migration import check, inspect, migrate, refuse_newer
from dynod.store.schema import Migration

BUSY_TIMEOUT_S: Final = 5.0  # somebody looks with sqlite3(1), and holds a lock meanwhile
WAL_KEPT_BYTES: Final = 4 * 1024 * 1024  # the journal is cut back to this after a checkpoint; SQLite makes one at 4 MB
MOST_WAITING: Final = 1000  # calls; what a client of the API sees beyond it is an error, not a growing queue

_Result = TypeVar("_Result")
Work = Callable[[sqlite3.Connection], _Result]


class Database:
    """Made by `open`. `read` and `write` are for the event loop, `open` and `close` block."""

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        self.path = path
        self.clock = clock
        self.refused = 0  # calls refused because too many waited
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._guard = threading.Lock()  # of `_closed`: `close` may come from another thread than the loop's
        self._closed = False
        self._lock = -1
        self._inode = (0, 0)
        self._contents = Contents(path.parent, clock)
        self._connection: sqlite3.Connection

    @classmethod
    def open(cls, folder: Path, *, migrations: Sequence[Migration], clock: Callable[[], datetime]) -> Self:
        """Open, or make, the state in a folder. Raises StoreError, and leaves nothing open then."""
        path = folder.absolute() / DATABASE
        database = cls(path, clock)
        try:
            with translated(path):
                _prepare(path.parent)
                database._lock = _own(path)
                Ballast(path.parent).make_way_if_full()
                database._thread.submit(database._open, migrations).result()
        except BaseException:
            database._let_go()
            raise
        return database

    async def read(self, work: Work[_Result]) -> _Result:
        """What `work` finds, as of one moment. Raises StoreError."""
        return await self._run(work, "BEGIN")

    async def write(self, work: Work[_Result]) -> _Result:
        """Let `work` change things, all or nothing; returns when that is on the disk. Raises StoreError.

        A call that is cancelled while it waits changes nothing; one under way is carried through.
        """
        return await self._run(work, "BEGIN IMMEDIATE")

    def close(self) -> None:
        """Finish what was asked for, put everything into the one file, and let go of it."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
        with translated(self.path):
            try:
                self._thread.submit(self._connection.close).result()
            finally:
                self._let_go()

    async def _run(self, work: Work[_Result], begin: str) -> _Result:
        with self._guard:
            if self._closed:
                raise StoreError(f"state {self.path}: it is closed; try again in a moment")
            if self._waiting >= MOST_WAITING:
                self.refused += 1
                raise StoreError(
                    f"state {self.path}: {MOST_WAITING} changes wait for the disk already; try again later"
                )
            future = self._thread.submit(self._transact, work, begin)
        self._waiting += 1
        try:
            return await asyncio.wrap_future(future)
        finally:
            self._waiting -= 1

    # --- in the store's thread --------------------------------------------------------------------------------------

    def _open(self, migrations: Sequence[Migration]) -> None:
        path = self.path
        ended_uncleanly = _size(companion(path, "-wal")) > 0  # SQLite removes it when it closes the file
        if _size(path) == 0:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            sync(path.parent)
        else:
            # Looked at through a connection that cannot write: what is refused is left as it was.
            with contextlib.closing(_read_only(path)) as connection:
                refuse_newer(inspect(connection, path), path, migrations)
        for each in (path, companion(path, "-wal"), companion(path, "-shm")):
            if _size(each) and stat.S_IMODE(each.stat().st_mode) & 0o077:
                each.chmod(0o600)  # put there by hand, from a copy; SQLite gives new ones the mode of the database
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            self._set_up(connection)
            if ended_uncleanly:
                check(connection, path)
            migrate(connection, path, migrations, copied_at=self.clock())
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._inode = _inode(path)

    def _set_up(self, connection: sqlite3.Connection) -> None:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreError(f"state {self.path}: its file system cannot share memory: keep the state on a local one")
        for pragma in (
            "synchronous = FULL",
            "fullfsync = ON",  # macOS, whose fsync leaves it in the drive's cache
            "checkpoint_fullfsync = ON",
            "foreign_keys = ON",
            f"journal_size_limit = {WAL_KEPT_BYTES}",
            "trusted_schema = OFF",
            "secure_delete = ON",  # what is removed (config vars, later) is not to be found in the file
        ):
            connection.execute(f"PRAGMA {pragma}")

    def _transact(self, work: Work[_Result], begin: str) -> _Result:
        connection = self._connection
        with translated(self.path, self._contents.largest):
            self._still_there()
            connection.execute(begin)
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite itself may have rolled back, as it does on a full disk
                    connection.execute("ROLLBACK")
                raise
        return result

    def _still_there(self) -> None:
        """A file that was removed or replaced can still be written to, and everything written would be lost."""
        with contextlib.suppress(FileNotFoundError):
            if _inode(self.path) == self._inode:
                return
        raise StoreError(
            f"state {self.path}: it was removed or replaced while dynod runs: put it back, or restart dynod"
        )

    def _let_go(self) -> None:
        self._closed = True
        self._thread.shutdown()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def rehearse_migration(folder: Path, *, migrations: Sequence[Migration]) -> None:
    """Try the migration on a copy in memory, also while another dynod owns the state. Raises StoreError.

    Contracts 1: a new core tries it before the old one lets go.
    """
    path = folder.absolute() / DATABASE
    with translated(path):
        if _size(path) == 0:
            return
        with contextlib.closing(_read_only(path)) as source:
            refuse_newer(inspect(source, path), path, migrations)
            with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
                source.backup(copy)
                migrate(copy, path, migrations, copied_at=None)
                check(copy, path)


def copy_database(path: Path, target: Path) -> None:
    """SQLite's online backup, through a connection of its own, so that writers wait for nothing. Raises StoreError."""
    with translated(path):
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with (
            contextlib.closing(_read_only(path)) as source,
            contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file
            check(copy, path)


def _prepare(folder: Path) -> None:
    """The folder there, and nobody else's: 0700, or 0711 where apps' users get through it to what is theirs."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = folder.stat()
    if not info.st_mode & 0o077 and info.st_uid == os.geteuid():
        return
    if not info.st_mode & 0o066 and info.st_uid == os.geteuid() and (folder / DATABASE).exists():
        return  # dynod has opened it so: an earlier core, whose dynos run on
    # Tightened only where it is plainly dynod's own: not a /tmp that somebody named by mistake.
    held = {path.name for path in folder.iterdir()} - {LOST_AND_FOUND}
    if info.st_uid != os.geteuid() or (held and DATABASE not in held):
        raise StoreError(
            f"state folder {folder}: expected an empty folder, or one of yours that nobody else can enter (0700)"
        )
    folder.chmod(0o700)


def _own(path: Path) -> int:
    """The lock that says who has the state: it ends with the process, so a killed one is in nobody's way."""
    lock = os.open(path.with_name(LOCK), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(lock, 20).decode(errors="replace").strip()
        os.close(lock)
        raise StoreError(
            f"state {path}: another dynod (pid {owner or 'unknown'}) has it: stop that one, or choose another folder"
        ) from None
    with contextlib.suppress(OSError):  # a courtesy to whoever reads the message above; the disk may be full
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _inode(path: Path) -> tuple[int, int]:
    info = path.stat()
    return info.st_dev, info.st_ino
