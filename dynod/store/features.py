"""Features of apps. A row that this dynod does not know (a newer one wrote it) is kept and left out."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from dynod.core.app_features import FEATURES
from dynod.store.audit import Actor, note
from dynod.store.database import Database
from dynod.store.moments import from_column, to_column
from dynod.store.owner import name_of


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRow:
    """A feature that somebody has switched."""

    name: str
    enabled: bool
    created_at: datetime
    updated_at: datetime


class Features:
    """Queries over features."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, app_id: str) -> dict[str, FeatureRow]:
        """The features of one app that were ever switched, by name; none for an app that is not there."""
        return await self._database.read(lambda connection: _rows(connection, app_id))

    async def on(self, app_id: str) -> frozenset[str]:
        """Those of one app that are on."""
        return frozenset(name for name, row in (await self.of(app_id)).items() if row.enabled)

    async def switch(self, app_id: str, name: str, *, on: bool, by: Actor) -> dict[str, FeatureRow]:
        """Switch one, and return all as they are then. Raises UnknownAppError, StoreError."""

        def work(connection: sqlite3.Connection) -> dict[str, FeatureRow]:
            app_name = name_of(connection, app_id)
            now = to_column(self._database.clock())
            changed = connection.execute(
                "INSERT INTO features (app_id, name, enabled, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?4) "
                "ON CONFLICT (app_id, name) DO UPDATE SET enabled = excluded.enabled, updated_at = excluded.updated_at "
                "WHERE enabled IS NOT excluded.enabled",
                (app_id, name, int(on), now),
            ).rowcount
            if changed:
                note(connection, now, f"feature.{'on' if on else 'off'}", by=by, app=(app_id, app_name), detail=name)
            return _rows(connection, app_id)

        return await self._database.write(work)


def _rows(connection: sqlite3.Connection, app_id: str) -> dict[str, FeatureRow]:
    query = "SELECT name, enabled, created_at, updated_at FROM features WHERE app_id = ? ORDER BY name"
    return {
        name: FeatureRow(
            name=name,
            enabled=bool(enabled),
            created_at=from_column(created_at),
            updated_at=from_column(updated_at),
        )
        for name, enabled, created_at, updated_at in connection.execute(query, (app_id,))
        if name in FEATURES
    }
