"""Builds of apps: what became of a source. Their output is a file, and not looked at here."""

import sqlite3
import uuid
from typing import Final

from dynod.core.build import FAILED, PENDING, SUCCEEDED, Build
from dynod.store.audit import Actor, note
from dynod.store.database import Database
from dynod.store.moments import from_column, to_column
from dynod.store.owner import name_of

_COLUMNS: Final = "id, app_id, status, source_version, slug_id, release_version, user_name, created_at, updated_at"


class Builds:
    """Queries over builds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, app_id: str) -> tuple[Build, ...]:
        """The builds of one app, newest first; none for an app that is not there."""
        return await self._database.read(lambda connection: _all(connection, "app_id = ?", app_id))

    async def add(self, app_id: str, source_version: str | None, *, by: Actor) -> Build:
        """One that begins. Raises UnknownAppError, StoreError."""

        def work(connection: sqlite3.Connection) -> Build:
            app_name = name_of(connection, app_id)
            now = to_column(self._database.clock())
            id_ = str(uuid.uuid4())
            connection.execute(
                f"INSERT INTO builds ({_COLUMNS}) VALUES (?, ?, ?, ?, NULL, NULL, ?, ?, ?)",  # noqa: S608 (a constant)
                (id_, app_id, PENDING, source_version, by.name, now, now),
            )
            note(connection, now, "build.create", by=by, app=(app_id, app_name), detail=source_version or "")
            return _all(connection, "id = ?", id_)[0]

        return await self._database.write(work)

    async def find(self, build_id: str) -> Build | None:
        """The build of this id, of whichever app, if there is one."""
        found = await self._database.read(lambda connection: _all(connection, "id = ?", build_id))
        return found[0] if found else None

    async def pending(self) -> tuple[Build, ...]:
        """Those that are not over, oldest first."""
        found = await self._database.read(lambda connection: _all(connection, "status = ?", PENDING))
        return tuple(reversed(found))

    async def made(self, build_id: str, slug_id: str) -> None:
        """It has made this slug, of which a release is to be made. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            now = to_column(self._database.clock())
            connection.execute("UPDATE builds SET slug_id = ?, updated_at = ? WHERE id = ?", (slug_id, now, build_id))

        await self._database.write(work)

    async def settle(self, build_id: str, *, slug_id: str | None = None, release_version: int | None = None) -> None:
        """It has succeeded, or, without a release, failed. Raises StoreError."""
        status = FAILED if release_version is None else SUCCEEDED

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE builds SET status = ?, slug_id = ?, release_version = ?, updated_at = ? WHERE id = ?",
                (status, slug_id, release_version, to_column(self._database.clock()), build_id),
            )

        await self._database.write(work)

    async def counts(self) -> dict[tuple[str, str], int]:
        """How many there are, by app id and status. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> dict[tuple[str, str], int]:
            rows = connection.execute("SELECT app_id, status, COUNT(*) FROM builds GROUP BY app_id, status")
            return {(app_id, status): count for app_id, status, count in rows}

        return await self._database.read(work)


def _all(connection: sqlite3.Connection, condition: str, value: str) -> tuple[Build, ...]:
    query = f"SELECT {_COLUMNS} FROM builds WHERE {condition} ORDER BY created_at DESC, id"  # noqa: S608 (constants)
    return tuple(_build(row) for row in connection.execute(query, (value,)))


def _build(row: tuple[str, str, str, str | None, str | None, int | None, str, int, int]) -> Build:
    id_, app_id, status, source_version, slug_id, release_version, user, created_at, updated_at = row
    return Build(
        id=id_,
        app_id=app_id,
        status=status,
        source_version=source_version,
        slug_id=slug_id,
        release_version=release_version,
        user=user,
        created_at=from_column(created_at),
        updated_at=from_column(updated_at),
    )
