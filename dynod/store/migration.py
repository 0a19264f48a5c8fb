"""From the schema that a file has to the one that this dynod works with: all steps in one transaction, or none.

Before a schema changes, the file is copied beside itself, and the newest copies are kept. A file that a newer dynod has
left is opened only where that one said that this one may (`Migration.readable_from`), and is otherwise not touched.
"""

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from dynod.store.errors import StoreError, damaged
from dynod.store.files import COPY_MARK, copies_of, sync
from dynod.store.schema import APPLICATION_ID, Migration

COPIES_KEPT: Final = 5
FINDINGS_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a file says of itself. `version` 0: nothing is in it yet."""

    version: int
    readable_from: int


def inspect(connection: sqlite3.Connection, path: Path) -> Found:
    """Read which schema the file has. Raises StoreError for a file of another program's."""
    application_id = _number(connection, "PRAGMA application_id")
    version = _number(connection, "PRAGMA user_version")
    if application_id == 0 and version == 0 and _number(connection, "SELECT count(*) FROM sqlite_master") == 0:
        return Found(version=0, readable_from=0)
    if application_id != APPLICATION_ID or version < 1:
        raise StoreError(f"state {path}: this is a SQLite file of another program: choose another folder for the state")
    return Found(
        version=version, readable_from=_number(connection, "SELECT value FROM meta WHERE key = 'readable_from'")
    )


def refuse_newer(found: Found, path: Path, migrations: Sequence[Migration]) -> None:
    """Raise StoreError for a file that only a newer dynod can work with."""
    newest = migrations[-1].version
    if found.version > newest and found.readable_from > newest:
        copies = copies_of(path)
        older = f", or put a copy from before in its place (the newest is {copies[-1]})" if copies else ""
        raise StoreError(
            f"state {path}: it was written by a newer dynod (schema {found.version}, this one knows up to {newest}), "
            f"and was not touched: run that one again{older}"
        )


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    migrations: Sequence[Migration],
    *,
    copied_at: datetime | None,
) -> None:
    """Bring the file up to date, after a copy unless `copied_at` is None. Raises sqlite3.Error, nothing changed."""
    found = inspect(connection, path)
    steps = [step for step in migrations if step.version > found.version]
    if not steps:
        return
    if found.version and copied_at is not None:
        _copy(connection, path, found.version, copied_at)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        for step in steps:
            for statement in step.statements:
                connection.execute(statement)
        newest = steps[-1]
        connection.execute(
            "INSERT INTO meta VALUES ('readable_from', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (str(max(step.readable_from for step in migrations if step.version <= newest.version)),),
        )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {newest.version}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Read the whole file. Raises StoreError if anything in it is not as it must be."""
    findings = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({FINDINGS_SHOWN})")]
    if findings != ["ok"]:
        raise damaged(path, "; ".join(findings))
    orphans = connection.execute("PRAGMA foreign_key_check").fetchmany(FINDINGS_SHOWN)
    if orphans:
        raise damaged(path, "; ".join(f"a row of {table} hangs on no {parent}" for table, _, parent, _ in orphans))


def _copy(connection: sqlite3.Connection, path: Path, version: int, at: datetime) -> None:
    """By SQLite's online backup; whole or not there at all, also after a loss of power."""
    stamp = at.strftime("%Y%m%dT%H%M%S.%fZ")
    target = path.with_name(f"{path.stem}{COPY_MARK}{stamp}-v{version}{path.suffix}")
    partial = path.with_name(f"{path.stem}-copying{path.suffix}")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    copy = sqlite3.connect(partial, isolation_level=None)
    try:
        connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file that can be moved about
    finally:
        copy.close()
    sync(partial)
    partial.rename(target)
    sync(path.parent)
    for old in copies_of(path)[:-COPIES_KEPT]:
        old.unlink()


def _number(connection: sqlite3.Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row is not None else 0
