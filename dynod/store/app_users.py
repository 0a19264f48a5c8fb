"""Which of the operating system's users is an app's: a number each, kept, since files that last belong to it."""

import sqlite3

from dynod.store.database import Database
from dynod.store.owner import name_of


class AppUsers:
    """Queries over the numbers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def number(self, app_id: str) -> int:
        """The app's, from 0; made now if it has none. Raises UnknownAppError, StoreError."""

        def work(connection: sqlite3.Connection) -> int:
            name_of(connection, app_id)
            row = connection.execute("SELECT number FROM app_users WHERE app_id = ?", (app_id,)).fetchone()
            if row is not None:
                return int(row[0]) - 1
            made = connection.execute("INSERT INTO app_users (app_id) VALUES (?)", (app_id,)).lastrowid
            assert made is not None  # noqa: S101 (sqlite3 says so of an INSERT)
            return made - 1

        return await self._database.write(work)
