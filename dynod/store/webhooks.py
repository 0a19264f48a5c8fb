"""Webhooks of apps: who is told when something goes wrong."""

import sqlite3
import uuid
from typing import Final

from dynod.core.webhook import MOST_WEBHOOKS, Webhook
from dynod.store.audit import Actor, note
from dynod.store.database import Database
from dynod.store.errors import WebhookRefusedError
from dynod.store.moments import from_column, to_column
from dynod.store.owner import name_of

_COLUMNS: Final = "id, app_id, url, include, level, secret, auth_header, created_at, updated_at"


class Webhooks:
    """Queries over webhooks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> tuple[Webhook, ...]:
        """Those of every app. Raises StoreError."""
        query = f"SELECT {_COLUMNS} FROM webhooks ORDER BY created_at, id"  # noqa: S608 (a constant)
        return await self._database.read(lambda connection: tuple(map(_webhook, connection.execute(query))))

    async def of(self, app_id: str) -> tuple[Webhook, ...]:
        """Those of one app, oldest first. Raises StoreError."""
        return await self._database.read(lambda connection: _of(connection, app_id))

    async def add(
        self,
        app_id: str,
        *,
        url: str,
        include: tuple[str, ...],
        level: str,
        secret: str,
        authorization: str,
        by: Actor,
    ) -> Webhook:
        """A new one. Raises WebhookRefusedError, UnknownAppError, StoreError."""

        def work(connection: sqlite3.Connection) -> Webhook:
            app_name = name_of(connection, app_id)
            if len(_of(connection, app_id)) >= MOST_WEBHOOKS:
                raise WebhookRefusedError(f"An app can have {MOST_WEBHOOKS} webhooks, and this one has them.")
            now = to_column(self._database.clock())
            row = (str(uuid.uuid4()), app_id, url, " ".join(include), level, secret, authorization, now, now)
            connection.execute(
                f"INSERT INTO webhooks ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 (a constant)
                row,
            )
            # Not the URL, whose path or query is often the secret.
            note(connection, now, "webhook.add", by=by, app=(app_id, app_name), detail=f"{row[0]} {row[3]}")
            return _webhook(row)

        return await self._database.write(work)

    async def remove(self, webhook: Webhook, *, by: Actor) -> None:
        """Forget one. Raises UnknownAppError, StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            app_name = name_of(connection, webhook.app_id)
            if connection.execute("DELETE FROM webhooks WHERE id = ?", (webhook.id,)).rowcount:
                now = to_column(self._database.clock())
                note(connection, now, "webhook.remove", by=by, app=(webhook.app_id, app_name), detail=webhook.id)

        await self._database.write(work)


def _of(connection: sqlite3.Connection, app_id: str) -> tuple[Webhook, ...]:
    query = f"SELECT {_COLUMNS} FROM webhooks WHERE app_id = ? ORDER BY created_at, id"  # noqa: S608 (a constant)
    return tuple(_webhook(row) for row in connection.execute(query, (app_id,)))


def _webhook(row: tuple[str, str, str, str, str, str, str, int, int]) -> Webhook:
    id_, app_id, url, include, level, secret, authorization, created_at, updated_at = row
    return Webhook(
        id=id_,
        app_id=app_id,
        url=url,
        include=tuple(include.split()),
        level=level,
        secret=secret,
        authorization=authorization,
        created_at=from_column(created_at),
        updated_at=from_column(updated_at),
    )
