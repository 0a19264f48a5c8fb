"""Log drains of apps. Their URLs may hold secrets: whole in here, and as they may be shown in the audit trail."""

import sqlite3
from typing import Final

from dynod.core.drain import DrainRecord, refuse_one_too_many, refuse_taken
from dynod.core.drain_url import parse_drain_url
from dynod.core.history_plan import Position
from dynod.store.audit import Actor, note
from dynod.store.database import Database
from dynod.store.moments import from_column, to_column
from dynod.store.owner import name_of

_COLUMNS: Final = "id, token, url, begin_offset, begin_line, created_at, updated_at"


class Drains:
    """Queries over drains."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, app_id: str) -> tuple[DrainRecord, ...]:
        """The drains of one app, oldest first; none for an app that is not there."""

        def work(connection: sqlite3.Connection) -> tuple[DrainRecord, ...]:
            query = f"SELECT {_COLUMNS} FROM drains WHERE app_id = ? ORDER BY created_at, id"  # noqa: S608 (a constant)
            return tuple(_record(row) for row in connection.execute(query, (app_id,)))

        return await self._database.read(work)

    async def add(self, app_id: str, record: DrainRecord, *, by: Actor) -> None:
        """A new drain. Raises DrainRefusedError (one too many, or there already), UnknownAppError, StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            app_name = name_of(connection, app_id)
            urls = [row[0] for row in connection.execute("SELECT url FROM drains WHERE app_id = ?", (app_id,))]
            if record.url.full in urls:
                raise refuse_taken()
            refuse_one_too_many(len(urls))
            created_at = to_column(record.created_at)
            connection.execute(
                f"INSERT INTO drains (app_id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 (a constant)
                (
                    app_id,
                    record.id,
                    record.token,
                    record.url.full,
                    record.begin.offset,
                    record.begin.line,
                    created_at,
                    to_column(record.updated_at),
                ),
            )
            note(connection, created_at, "drain.add", by=by, app=(app_id, app_name), detail=record.url.shown)

        await self._database.write(work)

    async def remove(self, app_id: str, record: DrainRecord, *, by: Actor) -> None:
        """Forget a drain. Raises UnknownAppError, StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            app_name = name_of(connection, app_id)
            statement = "DELETE FROM drains WHERE app_id = ? AND id = ?"
            if connection.execute(statement, (app_id, record.id)).rowcount:
                now = to_column(self._database.clock())
                note(connection, now, "drain.remove", by=by, app=(app_id, app_name), detail=record.url.shown)

        await self._database.write(work)


def _record(row: tuple[str, str, str, int, int, int, int]) -> DrainRecord:
    drain_id, token, url, begin_offset, begin_line, created_at, updated_at = row
    return DrainRecord(
        id=drain_id,
        token=token,
        url=parse_drain_url(url),
        created_at=from_column(created_at),
        updated_at=from_column(updated_at),
        begin=Position(begin_offset, begin_line),
    )
