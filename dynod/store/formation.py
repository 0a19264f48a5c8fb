"""The formation: how many dynos of each process type an app wants, and of which size."""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from dynod.store.audit import Actor, note
from dynod.store.database import Database
from dynod.store.moments import from_column, to_column
from dynod.store.owner import name_of

Wanted = tuple[int, str]  # quantity, size


@dataclass(frozen=True, slots=True, kw_only=True)
class FormationRow:
    """One process type of an app. `size` is a name of `core/dyno_sizes`."""

    process_type: str
    quantity: int
    size: str
    created_at: datetime
    updated_at: datetime


class Formation:
    """Queries over formations. Changes return all rows of the app as they are then, by process type."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, app_id: str) -> dict[str, FormationRow]:
        """The rows of one app; none for an app that is not there."""
        return await self._database.read(lambda connection: _rows(connection, app_id))

    async def all(self) -> dict[str, dict[str, FormationRow]]:
        """The rows of every app that has any, by app id."""

        def work(connection: sqlite3.Connection) -> dict[str, dict[str, FormationRow]]:
            found: dict[str, dict[str, FormationRow]] = {}
            for app_id, *row in connection.execute(
                "SELECT app_id, process_type, quantity, size, created_at, updated_at FROM formation "
                "ORDER BY app_id, process_type"
            ):
                found.setdefault(app_id, {})[row[0]] = _row(*row)
            return found

        return await self._database.read(work)

    async def set(self, app_id: str, wanted: Mapping[str, Wanted], *, by: Actor) -> dict[str, FormationRow]:
        """Set quantity and size of the named types, all or none; others stay. Raises UnknownAppError, StoreError."""

        def work(connection: sqlite3.Connection) -> dict[str, FormationRow]:
            app_name = name_of(connection, app_id)
            now = to_column(self._database.clock())
            changed = put(connection, app_id, wanted, now)
            if changed:
                detail = " ".join(f"{name}={wanted[name][0]}:{wanted[name][1]}" for name in changed)
                note(connection, now, "formation.set", by=by, app=(app_id, app_name), detail=detail)
            return _rows(connection, app_id)

        return await self._database.write(work)

    async def remove(self, app_id: str, types: Iterable[str], *, by: Actor) -> dict[str, FormationRow]:
        """Forget the named types, which a release no longer declares. Raises UnknownAppError, StoreError."""
        named = sorted(set(types))

        def work(connection: sqlite3.Connection) -> dict[str, FormationRow]:
            app_name = name_of(connection, app_id)
            gone = [
                name
                for name in named
                if connection.execute(
                    "DELETE FROM formation WHERE app_id = ? AND process_type = ?", (app_id, name)
                ).rowcount
            ]
            if gone:
                now = to_column(self._database.clock())
                note(connection, now, "formation.remove", by=by, app=(app_id, app_name), detail=" ".join(gone))
            return _rows(connection, app_id)

        return await self._database.write(work)


def put(connection: sqlite3.Connection, app_id: str, wanted: Mapping[str, Wanted], now: int) -> list[str]:
    """Set the named types, within the caller's transaction; returns those that were not so already."""
    changed = []
    for process_type, (quantity, size) in sorted(wanted.items()):
        count = connection.execute(
            "INSERT INTO formation (app_id, process_type, quantity, size, created_at, updated_at) "
            "VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT (app_id, process_type) "
            "DO UPDATE SET quantity = excluded.quantity, size = excluded.size, updated_at = excluded.updated_at "
            "WHERE quantity IS NOT excluded.quantity OR size IS NOT excluded.size",
            (app_id, process_type, quantity, size, now),
        ).rowcount
        if count:
            changed.append(process_type)
    return changed


def _rows(connection: sqlite3.Connection, app_id: str) -> dict[str, FormationRow]:
    query = (
        "SELECT process_type, quantity, size, created_at, updated_at FROM formation "
        "WHERE app_id = ? ORDER BY process_type"
    )
    return {row[0]: _row(*row) for row in connection.execute(query, (app_id,))}


def _row(process_type: str, quantity: int, size: str, created_at: int, updated_at: int) -> FormationRow:
    return FormationRow(
        process_type=process_type,
        quantity=quantity,
        size=size,
        created_at=from_column(created_at),
        updated_at=from_column(updated_at),
    )
