"""Per-app settings: `[TYPE.]KEY` = text. Which keys there are and what they mean is `core/settings_table`'s."""

import sqlite3
from collections.abc import Mapping

from dynod.store.audit import Actor, note
from dynod.store.database import Database
from dynod.store.moments import to_column
from dynod.store.owner import name_of


class AppSettings:
    """Queries over settings. A row that this dynod does not know (a newer one wrote it) is kept and given back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, app_id: str) -> dict[str, str]:
        """The settings of one app, by key; none for an app that is not there."""
        return await self._database.read(lambda connection: _rows(connection, app_id))

    async def all(self) -> dict[str, dict[str, str]]:
        """The settings of every app that has any, by app id."""

        def work(connection: sqlite3.Connection) -> dict[str, dict[str, str]]:
            found: dict[str, dict[str, str]] = {}
            for app_id, key, value in connection.execute(
                "SELECT app_id, key, value FROM app_settings ORDER BY app_id, key"
            ):
                found.setdefault(app_id, {})[key] = value
            return found

        return await self._database.read(work)

    async def change(self, app_id: str, changes: Mapping[str, str | None], *, by: Actor) -> dict[str, str]:
        """Set keys, and unset those whose value is None, all or none; returns all settings of the app then.

        Raises UnknownAppError, StoreError.
        """

        def work(connection: sqlite3.Connection) -> dict[str, str]:
            app_name = name_of(connection, app_id)
            changed = [item for item in sorted(changes.items()) if _put(connection, app_id, *item)]
            if changed:
                detail = " ".join(f"-{key}" if value is None else f"{key}={value}" for key, value in changed)
                now = to_column(self._database.clock())
                note(connection, now, "settings.change", by=by, app=(app_id, app_name), detail=detail)
            return _rows(connection, app_id)

        return await self._database.write(work)


def _put(connection: sqlite3.Connection, app_id: str, key: str, value: str | None) -> bool:
    """True: it was not so already."""
    if value is None:
        cursor = connection.execute("DELETE FROM app_settings WHERE app_id = ? AND key = ?", (app_id, key))
    else:
        cursor = connection.execute(
            "INSERT INTO app_settings (app_id, key, value) VALUES (?, ?, ?) "
            "ON CONFLICT (app_id, key) DO UPDATE SET value = excluded.value WHERE value IS NOT excluded.value",
            (app_id, key, value),
        )
    return cursor.rowcount > 0


def _rows(connection: sqlite3.Connection, app_id: str) -> dict[str, str]:
    query = "SELECT key, value FROM app_settings WHERE app_id = ? ORDER BY key"
    return dict(connection.execute(query, (app_id,)))
