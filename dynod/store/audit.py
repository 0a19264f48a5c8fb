"""The audit trail: who did what, when, and from where. Written in the transaction of the change it tells of.

Values of config vars never get in here: whoever adds a change says it in names.
"""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dynod.core.asker import origin_of
from dynod.store.database import Database
from dynod.store.moments import from_column, to_column

ENTRIES_KEPT: Final = 100_000  # the newest; some 15 MB
LONGEST_TEXT: Final = 2000  # characters of a detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks for a change (`me@example.com`, a login name) and from where (`unix uid 1000`, `tcp 192.0.2.7`)."""

    name: str
    origin: str


def actor(by: str) -> Actor:
    """Whoever is known by this name to the operations."""
    return Actor(name=str(by), origin=origin_of(by))


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change. `action` is `app.create`, `formation.set` …; `app_name` is the name that the app had then."""

    id: int
    at: datetime
    actor: Actor
    action: str
    app_id: str | None
    app_name: str | None
    detail: str


class Audit:
    """Queries over the trail."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self, *, limit: int = 100, app_id: str | None = None) -> tuple[AuditEntry, ...]:
        """The newest entries, newest first; of one app, where `app_id` says so."""
        return await self._database.read(lambda connection: _newest(connection, limit, app_id))

    async def since(self, after: int | None, *, limit: int = 100, app_id: str | None = None) -> tuple[AuditEntry, ...]:
        """The entries after this id, oldest first, at most `limit`; None: the newest ones."""
        if after is None:
            return tuple(reversed(await self.newest(limit=limit, app_id=app_id)))
        return await self._database.read(lambda connection: _after(connection, after, limit, app_id))

    async def add(self, action: str, *, by: Actor, app: tuple[str, str] | None = None, detail: str = "") -> None:
        """Note what changed nothing in the store, such as a restart. `app`: id and name."""

        def work(connection: sqlite3.Connection) -> None:
            note(connection, to_column(self._database.clock()), action, by=by, app=app, detail=detail)

        await self._database.write(work)


def note(
    connection: sqlite3.Connection, at: int, action: str, *, by: Actor, app: tuple[str, str] | None, detail: str = ""
) -> None:
    """Add an entry within the caller's transaction. `app`: id and name."""
    app_id, app_name = app if app is not None else (None, None)
    row = connection.execute(
        "INSERT INTO audit (at, actor, origin, action, app_id, app_name, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (at, _text(by.name), _text(by.origin), action, app_id, app_name, _text(detail)),
    ).lastrowid
    connection.execute("DELETE FROM audit WHERE id <= ?", ((row or 0) - ENTRIES_KEPT,))


_COLUMNS: Final = "id, at, actor, origin, action, app_id, app_name, detail"


def _newest(connection: sqlite3.Connection, limit: int, app_id: str | None) -> tuple[AuditEntry, ...]:
    of_app = "" if app_id is None else "WHERE app_id = ?"
    arguments = (limit,) if app_id is None else (app_id, limit)
    query = f"SELECT {_COLUMNS} FROM audit {of_app} ORDER BY id DESC LIMIT ?"  # noqa: S608 (no text from outside)
    return _entries(connection, query, arguments)


def _after(connection: sqlite3.Connection, after: int, limit: int, app_id: str | None) -> tuple[AuditEntry, ...]:
    of_app = "" if app_id is None else "AND app_id = ?"
    arguments = (after, limit) if app_id is None else (after, app_id, limit)
    query = f"SELECT {_COLUMNS} FROM audit WHERE id > ? {of_app} ORDER BY id LIMIT ?"  # noqa: S608 (no text from outside)
    return _entries(connection, query, arguments)


def _entries(connection: sqlite3.Connection, query: str, arguments: tuple[int | str, ...]) -> tuple[AuditEntry, ...]:
    return tuple(
        AuditEntry(
            id=row[0],
            at=from_column(row[1]),
            actor=Actor(name=row[2], origin=row[3]),
            action=row[4],
            app_id=row[5],
            app_name=row[6],
            detail=row[7],
        )
        for row in connection.execute(query, arguments)
    )


def _text(text: str) -> str:
    """As SQLite can hold it (a client's name may carry stray surrogates), and not without end."""
    held = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\0")
    return held if len(held) <= LONGEST_TEXT else held[: LONGEST_TEXT - 1] + "…"
