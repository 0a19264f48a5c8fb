"""Domains of apps. A host name leads to one app alone; names are in ASCII, lower case, `*.` in front for a wildcard."""

import sqlite3
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dynod.core.domain_name import MOST_DOMAINS
from dynod.store.audit import Actor, note
from dynod.store.database import Database
from dynod.store.errors import DomainRefusedError
from dynod.store.moments import from_column, to_column
from dynod.store.owner import name_of

_COLUMNS: Final = "id, hostname, created_at, updated_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A host name by which an app is reached."""

    id: str
    hostname: str
    created_at: datetime
    updated_at: datetime


class Domains:
    """Queries over domains."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, app_id: str) -> tuple[Domain, ...]:
        """The domains of one app, by name; none for an app that is not there."""
        return await self._database.read(lambda connection: _all(connection, app_id))

    async def add(self, app_id: str, hostname: str, *, by: Actor) -> Domain:
        """A new domain. Raises DomainRefusedError (in use, one too many), UnknownAppError, StoreError."""

        def work(connection: sqlite3.Connection) -> Domain:
            app_name = name_of(connection, app_id)
            owner = connection.execute("SELECT app_id FROM domains WHERE hostname = ?", (hostname,)).fetchone()
            if owner is not None:
                whose = "this app" if owner[0] == app_id else "another app"
                raise DomainRefusedError(f"{hostname} is in use by {whose} already.")
            if len(_all(connection, app_id)) >= MOST_DOMAINS:
                raise DomainRefusedError(f"An app can have {MOST_DOMAINS} domains, and this one has them.")
            now = to_column(self._database.clock())
            row = (str(uuid.uuid4()), hostname, now, now)
            connection.execute(
                f"INSERT INTO domains (app_id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608 (a constant)
                (app_id, *row),
            )
            note(connection, now, "domain.add", by=by, app=(app_id, app_name), detail=hostname)
            return _domain(row)

        return await self._database.write(work)

    async def remove(self, app_id: str, domain: Domain, *, by: Actor) -> None:
        """Forget a domain. Raises UnknownAppError, StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            app_name = name_of(connection, app_id)
            statement = "DELETE FROM domains WHERE app_id = ? AND id = ?"
            if connection.execute(statement, (app_id, domain.id)).rowcount:
                now = to_column(self._database.clock())
                note(connection, now, "domain.remove", by=by, app=(app_id, app_name), detail=domain.hostname)

        await self._database.write(work)


def _all(connection: sqlite3.Connection, app_id: str) -> tuple[Domain, ...]:
    query = f"SELECT {_COLUMNS} FROM domains WHERE app_id = ? ORDER BY hostname"  # noqa: S608 (a constant)
    return tuple(_domain(row) for row in connection.execute(query, (app_id,)))


def _domain(row: tuple[str, str, int, int]) -> Domain:
    id_, hostname, created_at, updated_at = row
    return Domain(id=id_, hostname=hostname, created_at=from_column(created_at), updated_at=from_column(updated_at))
