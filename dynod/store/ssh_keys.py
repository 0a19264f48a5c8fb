"""Public keys by which people push and use the API over ssh. Callers: `dynod.account_keys`."""

import sqlite3
import uuid
from typing import Final

from dynod.core.api_token import Scope
from dynod.core.ssh_key import KeyRefusedError, PublicKey, SshKey
from dynod.store.audit import Actor, note
from dynod.store.database import Database
from dynod.store.moments import from_column, to_column
from dynod.store.owner import name_of

MOST_KEYS: Final = 1000
_COLUMNS: Final = "id, type, blob, comment, user_name, scope, app_id, created_at"


class SshKeys:
    """Queries over keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> tuple[SshKey, ...]:
        """Every key, oldest first."""
        return await self._database.read(_all)

    async def find(self, key_id: str) -> SshKey | None:
        """The key of this id."""

        def work(connection: sqlite3.Connection) -> SshKey | None:
            query = f"SELECT {_COLUMNS} FROM ssh_keys WHERE id = ?"  # noqa: S608 (a constant)
            row = connection.execute(query, (key_id,)).fetchone()
            return _key(row) if row is not None else None

        return await self._database.read(work)

    async def add(self, key: PublicKey, *, user: str, scope: Scope, app_id: str | None, by: Actor) -> SshKey:
        """A new one; a key is added once. Raises KeyRefusedError, UnknownAppError, StoreError."""

        def work(connection: sqlite3.Connection) -> SshKey:
            app = None if app_id is None else (app_id, name_of(connection, app_id))
            known = [each for each in _all(connection) if each.key.fingerprint == key.fingerprint]
            if known:
                raise KeyRefusedError(f"The fingerprint has already been taken: it is a key of {known[0].user}.")
            if connection.execute("SELECT count(*) FROM ssh_keys").fetchone()[0] >= MOST_KEYS:
                raise KeyRefusedError(f"There are {MOST_KEYS} keys: remove some first.")
            now, id_ = to_column(self._database.clock()), str(uuid.uuid4())
            connection.execute(
                f"INSERT INTO ssh_keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 (a constant)
                (id_, key.type, key.blob, key.comment, user, scope.value, app_id, now),
            )
            note(connection, now, "key.create", by=by, app=app, detail=f"{key.fingerprint} {scope} for {user}")
            return SshKey(id=id_, key=key, user=user, scope=scope, app_id=app_id, created_at=from_column(now))

        return await self._database.write(work)

    async def remove(self, key: SshKey, *, by: Actor) -> None:
        """It opens nothing any more. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            if connection.execute("DELETE FROM ssh_keys WHERE id = ?", (key.id,)).rowcount:
                now = to_column(self._database.clock())
                note(connection, now, "key.remove", by=by, app=None, detail=f"{key.key.fingerprint} of {key.user}")

        await self._database.write(work)


def _all(connection: sqlite3.Connection) -> tuple[SshKey, ...]:
    query = f"SELECT {_COLUMNS} FROM ssh_keys ORDER BY created_at, id"  # noqa: S608 (a constant)
    return tuple(_key(row) for row in connection.execute(query))


def _key(row: tuple[str, str, str, str, str, str, str | None, int]) -> SshKey:
    id_, type_, blob, comment, user, scope, app_id, created_at = row
    return SshKey(
        id=id_,
        key=PublicKey(type=type_, blob=blob, comment=comment),
        user=user,
        scope=Scope(scope),
        app_id=app_id,
        created_at=from_column(created_at),
    )
