"""Buildpacks of apps: an ordered list each, replaced as a whole."""

import sqlite3
from collections.abc import Sequence

from dynod.store.audit import Actor, note
from dynod.store.database import Database
from dynod.store.moments import to_column
from dynod.store.owner import name_of


class Buildpacks:
    """Queries over buildpacks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, app_id: str) -> tuple[str, ...]:
        """The buildpacks of one app, in their order; none for an app that is not there."""
        return await self._database.read(lambda connection: _all(connection, app_id))

    async def replace(self, app_id: str, urls: Sequence[str], *, by: Actor) -> tuple[str, ...]:
        """These and no others. Raises UnknownAppError, StoreError."""

        def work(connection: sqlite3.Connection) -> tuple[str, ...]:
            app_name = name_of(connection, app_id)
            if _all(connection, app_id) != tuple(urls):
                connection.execute("DELETE FROM buildpacks WHERE app_id = ?", (app_id,))
                connection.executemany(
                    "INSERT INTO buildpacks (app_id, ordinal, url) VALUES (?, ?, ?)",
                    [(app_id, ordinal, url) for ordinal, url in enumerate(urls)],
                )
                now = to_column(self._database.clock())
                note(connection, now, "buildpacks.set", by=by, app=(app_id, app_name), detail=" ".join(urls))
            return _all(connection, app_id)

        return await self._database.write(work)


def _all(connection: sqlite3.Connection, app_id: str) -> tuple[str, ...]:
    query = "SELECT url FROM buildpacks WHERE app_id = ? ORDER BY ordinal"
    return tuple(row[0] for row in connection.execute(query, (app_id,)))
