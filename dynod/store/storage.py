"""Folders of apps that outlive their dynos: a name, which is the folder's, and the path at which dynos see it."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dynod.core.storage_mount import MOST_MOUNTS, StorageMount
from dynod.store.audit import Actor, note
from dynod.store.database import Database
from dynod.store.errors import StorageRefusedError
from dynod.store.moments import from_column, to_column
from dynod.store.owner import name_of

_COLUMNS: Final = "name, path, created_at, updated_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """A folder that is mounted."""

    mount: StorageMount
    created_at: datetime
    updated_at: datetime


class Storage:
    """Queries over them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, app_id: str) -> tuple[Mounted, ...]:
        """Those of one app, by name; none for an app that is not there."""
        return await self._database.read(lambda connection: _all(connection, app_id))

    async def add(self, app_id: str, mount: StorageMount, *, by: Actor) -> Mounted:
        """One more, or one at another path. Raises StorageRefusedError, UnknownAppError, StoreError."""

        def work(connection: sqlite3.Connection) -> Mounted:
            app_name = name_of(connection, app_id)
            others = [each.mount for each in _all(connection, app_id) if each.mount.name != mount.name]
            if any(each.overlaps(mount) for each in others):
                raise StorageRefusedError(f"{mount.path} lies in, or holds, the path of another folder of this app.")
            if len(others) >= MOST_MOUNTS:
                raise StorageRefusedError(f"An app can have {MOST_MOUNTS} folders, and this one has them.")
            now = to_column(self._database.clock())
            connection.execute(
                "INSERT INTO storage (app_id, name, path, created_at, updated_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (app_id, name) DO UPDATE SET path = excluded.path, updated_at = excluded.updated_at",
                (app_id, mount.name, mount.path, now, now),
            )
            note(connection, now, "storage.mounted", by=by, app=(app_id, app_name), detail=str(mount))
            return next(each for each in _all(connection, app_id) if each.mount.name == mount.name)

        return await self._database.write(work)

    async def remove(self, app_id: str, ref: str, *, by: Actor) -> Mounted | None:
        """No longer, by its name or path; the folder itself stays. None: there is none. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> Mounted | None:
            app_name = name_of(connection, app_id)
            found = next((each for each in _all(connection, app_id) if ref in {each.mount.name, each.mount.path}), None)
            if found is not None:
                connection.execute("DELETE FROM storage WHERE app_id = ? AND name = ?", (app_id, found.mount.name))
                now = to_column(self._database.clock())
                note(connection, now, "storage.unmounted", by=by, app=(app_id, app_name), detail=str(found.mount))
            return found

        return await self._database.write(work)


def _all(connection: sqlite3.Connection, app_id: str) -> tuple[Mounted, ...]:
    query = f"SELECT {_COLUMNS} FROM storage WHERE app_id = ? ORDER BY name"  # noqa: S608 (a constant)
    return tuple(
        Mounted(
            mount=StorageMount(name=name, path=path), created_at=from_column(created), updated_at=from_column(updated)
        )
        for name, path, created, updated in connection.execute(query, (app_id,))
    )
