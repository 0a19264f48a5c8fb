"""Apps: the aggregate that everything else hangs on."""

import os
import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dynod.core.app_name import app_name_fault
from dynod.core.fault import quoted
from dynod.store.audit import Actor, note
from dynod.store.database import Database
from dynod.store.errors import FolderRefusedError, NameRefusedError, NameTakenError
from dynod.store.formation import Wanted, put
from dynod.store.moments import from_column, to_column
from dynod.store.owner import no_such_app

_COLUMNS = "id, name, folder, maintenance, created_at, updated_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """An app. `folder`: where it runs from, if it was registered from a folder."""

    id: str
    name: str
    folder: Path | None
    maintenance: bool
    created_at: datetime
    updated_at: datetime


class Apps:
    """Queries over apps. Changes return the app as it is then, and name who asked for them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> tuple[App, ...]:
        """Every app, by name."""
        return await self._database.read(
            lambda connection: tuple(
                _app(row)
                for row in connection.execute(f"SELECT {_COLUMNS} FROM apps ORDER BY name")  # noqa: S608 (a constant)
            )
        )

    async def find(self, ref: str) -> App | None:
        """The app of this name or id, if there is one."""
        # A name has at most 30 characters and a UUID 36: no name is another app's id.
        return await self._database.read(lambda connection: _one(connection, "name = ?1 OR id = ?1", ref))

    async def create(
        self, name: str, *, by: Actor, folder: Path | None = None, formation: Mapping[str, Wanted] | None = None
    ) -> App:
        """A new app, with its formation. Raises NameRefusedError, NameTakenError, FolderRefusedError, StoreError."""
        _refuse_bad(name)
        held_folder = _held(folder)

        def work(connection: sqlite3.Connection) -> App:
            _refuse_taken(connection, name)
            app_id = str(uuid.uuid4())
            now = to_column(self._database.clock())
            connection.execute(
                "INSERT INTO apps (id, name, folder, created_at, updated_at) VALUES (?, ?, ?, ?, ?)",
                (app_id, name, held_folder, now, now),
            )
            put(connection, app_id, formation or {}, now)
            note(connection, now, "app.create", by=by, app=(app_id, name))
            return _known(connection, app_id)

        return await self._database.write(work)

    async def rename(self, app_id: str, name: str, *, by: Actor) -> App:
        """Give the app another name. Raises NameRefusedError, NameTakenError, UnknownAppError, StoreError."""
        _refuse_bad(name)

        def work(connection: sqlite3.Connection) -> App:
            app = _known(connection, app_id)
            if app.name == name:
                return app
            _refuse_taken(connection, name)
            now = to_column(self._database.clock())
            note(connection, now, "app.rename", by=by, app=(app_id, name), detail=f"was {app.name}")
            return _set(connection, app_id, "name", name, now)

        return await self._database.write(work)

    async def set_maintenance(self, app_id: str, *, on: bool, by: Actor) -> App:
        """Switch Heroku's maintenance mode. Raises UnknownAppError, StoreError."""

        def work(connection: sqlite3.Connection) -> App:
            app = _known(connection, app_id)
            if app.maintenance == on:
                return app
            now = to_column(self._database.clock())
            note(connection, now, f"maintenance.{'on' if on else 'off'}", by=by, app=(app_id, app.name))
            return _set(connection, app_id, "maintenance", int(on), now)

        return await self._database.write(work)

    async def destroy(self, app_id: str, *, by: Actor) -> App:
        """Remove the app and all that hangs on it; returns what it was. Raises UnknownAppError, StoreError."""

        def work(connection: sqlite3.Connection) -> App:
            app = _known(connection, app_id)
            connection.execute("DELETE FROM apps WHERE id = ?", (app_id,))
            note(connection, to_column(self._database.clock()), "app.destroy", by=by, app=(app_id, app.name))
            return app

        return await self._database.write(work)


def _set(connection: sqlite3.Connection, app_id: str, column: str, value: str | int, now: int) -> App:
    connection.execute(
        f"UPDATE apps SET {column} = ?, updated_at = ? WHERE id = ?",  # noqa: S608 (columns are named in this file)
        (value, now, app_id),
    )
    return _known(connection, app_id)


def _known(connection: sqlite3.Connection, app_id: str) -> App:
    app = _one(connection, "id = ?1", app_id)
    if app is None:
        raise no_such_app(app_id)
    return app


def _one(connection: sqlite3.Connection, condition: str, value: str) -> App | None:
    query = f"SELECT {_COLUMNS} FROM apps WHERE {condition}"  # noqa: S608 (conditions are named in this file)
    row = connection.execute(query, (value,)).fetchone()
    return _app(row) if row is not None else None


def _app(row: tuple[str, str, str | None, int, int, int]) -> App:
    app_id, name, folder, maintenance, created_at, updated_at = row
    return App(
        id=app_id,
        name=name,
        folder=Path(folder) if folder is not None else None,
        maintenance=bool(maintenance),
        created_at=from_column(created_at),
        updated_at=from_column(updated_at),
    )


def _refuse_bad(name: str) -> None:
    fault = app_name_fault(name)
    if fault is not None:
        raise NameRefusedError(f"app name {quoted(name)}: {fault}")


def _refuse_taken(connection: sqlite3.Connection, name: str) -> None:
    if connection.execute("SELECT 1 FROM apps WHERE name = ?", (name,)).fetchone() is not None:
        raise NameTakenError(f"app name {quoted(name)}: there is such an app already; choose another name")


def _held(folder: Path | None) -> str | None:
    if folder is None:
        return None
    path = os.fspath(folder)
    if not folder.is_absolute() or "\0" in path or not _is_utf8(path):
        raise FolderRefusedError(f"folder {quoted(path)}: expected an absolute path in UTF-8")
    return path


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
