"""What can go wrong with the state, in words that a user can act on: which file, what, what to do.

A foreign error is translated at the connection (`translated`), by SQLite's own codes. What is no trouble of the disk or
of another program (a statement with a typing error, a broken constraint) is a bug in dynod, and stays what it is.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from dynod.errors import DynodError
from dynod.store.files import copies_of

PRIMARY_CODE: Final = 0xFF  # SQLite's extended result codes carry the primary one in the low byte


class StoreError(DynodError):
    """The state cannot be read or written. Where it was a change, nothing was changed."""

    code = "state"


class NameRefusedError(DynodError):
    """An app name outside the rule for names."""

    code = "name_refused"


class NameTakenError(DynodError):
    """An app of that name exists."""

    code = "name_taken"


class FolderRefusedError(DynodError):
    """A folder that a row cannot hold."""

    code = "folder_refused"


class StorageRefusedError(DynodError):
    """Another folder is in its place, or there is one too many."""

    code = "invalid_params"


class DomainRefusedError(DynodError):
    """A domain that is in use, or one too many."""

    code = "invalid_params"


class WebhookRefusedError(DynodError):
    """A webhook that cannot be added."""

    code = "invalid_params"


class UnknownAppError(DynodError):
    """No app of that id: destroyed meanwhile."""

    code = "unknown_app"


_TROUBLE: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_FULL: "the disk is full, and nothing was changed: free some space; dynod goes on by itself then",
    sqlite3.SQLITE_IOERR: "reading or writing failed ({error}), and nothing was changed: look at the disk, quotas and "
    "limits; dynod goes on by itself when they allow it",
    sqlite3.SQLITE_READONLY: "it cannot be written to: make the file and its folder writable for dynod's user",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened ({error}): look at its owner, its mode and its file system",
    sqlite3.SQLITE_PERM: "access is denied: look at its owner and its mode",
    sqlite3.SQLITE_AUTH: "access is denied: look at its owner and its mode",
    sqlite3.SQLITE_BUSY: "another program has locked it, and nothing was changed: end it (`fuser` names it)",
    sqlite3.SQLITE_LOCKED: "another program has locked it, and nothing was changed: end it (`fuser` names it)",
    sqlite3.SQLITE_CORRUPT: "it is damaged ({error}): {repair}",
    sqlite3.SQLITE_NOTADB: "it is damaged, or no file of dynod's at all ({error}): {repair}",
    sqlite3.SQLITE_PROTOCOL: "its locks do not work on this file system: keep the state on a local one",
    sqlite3.SQLITE_NOLFS: "it has grown beyond what its file system can hold: keep the state on another one",
}


@contextlib.contextmanager
def translated(path: Path, largest: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Raise what SQLite and the operating system say about the file at `path` as StoreError.

    `largest` says what fills the state folder, once its disk is full.
    """
    try:
        yield
    except sqlite3.Error as error:
        # Python's own checks (a closed connection, a wrong thread) carry no code: bugs.
        text = _TROUBLE.get(getattr(error, "sqlite_errorcode", 0) & PRIMARY_CODE)
        if text is None:
            raise
        told = f"state {path}: {text.format(error=error, repair=repair(path))}"
        if error.sqlite_errorcode & PRIMARY_CODE == sqlite3.SQLITE_FULL and (found := largest()):
            told = f"{told}. Largest in {path.parent}: {found}"
        raise StoreError(told) from error
    except OSError as error:
        where = error.filename or path
        raise StoreError(f"state {path}: {where}: {error.strerror or error}") from error


def damaged(path: Path, findings: str) -> StoreError:
    """For damage that SQLite's check has listed."""
    return StoreError(f"state {path}: it is damaged ({findings}): {repair(path)}")


def repair(path: Path) -> str:
    """What can be done about a damaged state, as far as there are copies of it."""
    copies = copies_of(path)
    begin_anew = f"move {path} away to begin with no apps"
    return f"put a copy in its place (the newest here is {copies[-1]}), or {begin_anew}" if copies else begin_anew
