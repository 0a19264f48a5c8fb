"""API tokens: what is left of one is its hash, by which it is found when somebody shows it. Callers: `dynod.access`."""

import hmac
import sqlite3
from datetime import datetime
from typing import Final

from dynod.core.api_token import ApiToken, Scope, refuse_one_too_many
from dynod.store.audit import actor, note
from dynod.store.database import Database
from dynod.store.moments import from_column, to_column
from dynod.store.owner import name_of

_COLUMNS: Final = "id, hash, description, user_name, scope, app_id, purpose, created_at, used_at"


class Tokens:
    """Queries over tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> tuple[ApiToken, ...]:
        """Every token, oldest first."""

        def work(connection: sqlite3.Connection) -> tuple[ApiToken, ...]:
            query = f"SELECT {_COLUMNS} FROM tokens ORDER BY created_at, id"  # noqa: S608 (a constant)
            return tuple(_token(row) for row in connection.execute(query))

        return await self._database.read(work)

    async def add(self, token: ApiToken, by: str) -> None:
        """Keep a new one, in the place of the one of its purpose.

        Raises TokenRefusedError, UnknownAppError, StoreError.
        """

        def work(connection: sqlite3.Connection) -> None:
            app = None if token.app_id is None else (token.app_id, name_of(connection, token.app_id))
            if token.purpose is not None:
                connection.execute("DELETE FROM tokens WHERE purpose = ?", (token.purpose,))
            refuse_one_too_many(connection.execute("SELECT count(*) FROM tokens").fetchone()[0])
            created_at = to_column(token.created_at)
            connection.execute(
                f"INSERT INTO tokens ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",  # noqa: S608 (a constant)
                (
                    token.id,
                    token.hash,
                    token.description,
                    token.user,
                    token.scope.value,
                    token.app_id,
                    token.purpose,
                    created_at,
                ),
            )
            detail = f"{token.id} {token.scope} for {token.user}"
            note(connection, created_at, "token.create", by=actor(by), app=app, detail=detail)

        await self._database.write(work)

    async def remove(self, token: ApiToken, by: str) -> None:
        """It opens nothing any more. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            if connection.execute("DELETE FROM tokens WHERE id = ?", (token.id,)).rowcount:
                now = to_column(self._database.clock())
                note(connection, now, "token.revoke", by=actor(by), app=None, detail=f"{token.id} {token.scope}")

        await self._database.write(work)

    async def find(self, hash_: str) -> ApiToken | None:
        """The token of this hash. Raises StoreError."""
        found = await self._database.read(lambda connection: _of_hash(connection, hash_))
        return found if found is not None and hmac.compare_digest(found.hash, hash_) else None

    async def note_use(self, token: ApiToken, at: datetime) -> None:
        """It was used then. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE tokens SET used_at = ? WHERE id = ?", (to_column(at), token.id))

        await self._database.write(work)


def _of_hash(connection: sqlite3.Connection, hash_: str) -> ApiToken | None:
    # How long the index takes tells of hashes, which nobody can aim at: the comparison of the whole is `find`'s.
    query = f"SELECT {_COLUMNS} FROM tokens WHERE hash = ?"  # noqa: S608 (a constant)
    row = connection.execute(query, (hash_,)).fetchone()
    return _token(row) if row is not None else None


def _token(row: tuple[str, str, str, str, str, str | None, str | None, int, int | None]) -> ApiToken:
    token_id, hash_, description, user, scope, app_id, purpose, created_at, used_at = row
    return ApiToken(
        id=token_id,
        hash=hash_,
        description=description,
        user=user,
        scope=Scope(scope),
        app_id=app_id,
        purpose=purpose,
        created_at=from_column(created_at),
        used_at=from_column(used_at) if used_at is not None else None,
    )
