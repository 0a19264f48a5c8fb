"""Slugs of apps: what was uploaded or built, by the hash of its archive. Archives are files, and not looked at here."""

import json
import sqlite3
import uuid
from collections.abc import Sequence
from typing import Final

from dynod.core.slug import NewSlug, Slug
from dynod.store.audit import Actor, note
from dynod.store.database import Database
from dynod.store.moments import from_column, to_column
from dynod.store.owner import name_of

_COLUMNS: Final = (
    "id, app_id, checksum, size, process_types, commit_id, commit_description, buildpack_description, stack, "
    "created_at, updated_at"
)
_ALGORITHM: Final = "SHA256:"


class Slugs:
    """Queries over slugs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, app_id: str) -> tuple[Slug, ...]:
        """The slugs of one app, newest first; none for an app that is not there."""
        return await self._database.read(lambda connection: _all(connection, "app_id = ?", app_id))

    async def find(self, slug_id: str) -> Slug | None:
        """The slug of this id, of whichever app, if there is one."""
        found = await self._database.read(lambda connection: _all(connection, "id = ?", slug_id))
        return found[0] if found else None

    async def checksums(self) -> frozenset[str]:
        """Of every archive that is needed."""

        def work(connection: sqlite3.Connection) -> frozenset[str]:
            rows = connection.execute("SELECT DISTINCT checksum FROM slugs WHERE checksum IS NOT NULL")
            return frozenset(str(row[0]).removeprefix(_ALGORITHM) for row in rows)

        return await self._database.read(work)

    async def ids(self) -> frozenset[str]:
        """Of every slug of every app."""

        def work(connection: sqlite3.Connection) -> frozenset[str]:
            return frozenset(str(row[0]) for row in connection.execute("SELECT id FROM slugs"))

        return await self._database.read(work)

    async def add(self, app_id: str, slug: NewSlug, *, by: Actor) -> Slug:
        """A new slug. Raises UnknownAppError, StoreError."""

        def work(connection: sqlite3.Connection) -> Slug:
            app_name = name_of(connection, app_id)
            now = to_column(self._database.clock())
            id_ = str(uuid.uuid4())
            connection.execute(
                f"INSERT INTO slugs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 (a constant)
                (
                    id_,
                    app_id,
                    _ALGORITHM + slug.checksum if slug.checksum is not None else None,
                    slug.size,
                    json.dumps(dict(slug.process_types)),
                    slug.commit,
                    slug.commit_description,
                    slug.buildpack_description,
                    slug.stack,
                    now,
                    now,
                ),
            )
            note(connection, now, "slug.create", by=by, app=(app_id, app_name), detail=id_)
            return _all(connection, "id = ?", id_)[0]

        return await self._database.write(work)

    async def uploaded(self, slug_id: str, checksum: str, size: int) -> Slug | None:
        """Its archive is here, once and for all; None: it was before, or there is no such slug. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> Slug | None:
            changed = connection.execute(
                "UPDATE slugs SET checksum = ?, size = ?, updated_at = ? WHERE id = ? AND checksum IS NULL",
                (_ALGORITHM + checksum, size, to_column(self._database.clock()), slug_id),
            ).rowcount
            return _all(connection, "id = ?", slug_id)[0] if changed else None

        return await self._database.write(work)

    async def remove(self, app_id: str, slug_ids: Sequence[str]) -> None:
        """Forget slugs; the releases that they were live with are expired. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            now = to_column(self._database.clock())
            for slug_id in slug_ids:
                connection.execute(
                    "UPDATE releases SET status = 'expired', updated_at = ? "
                    "WHERE app_id = ? AND slug_id = ? AND status = 'succeeded'",
                    (now, app_id, slug_id),
                )
                connection.execute("DELETE FROM slugs WHERE app_id = ? AND id = ?", (app_id, slug_id))

        await self._database.write(work)


def _all(connection: sqlite3.Connection, condition: str, value: str) -> tuple[Slug, ...]:
    query = f"SELECT {_COLUMNS} FROM slugs WHERE {condition} ORDER BY created_at DESC, id"  # noqa: S608 (constants)
    return tuple(_slug(row) for row in connection.execute(query, (value,)))


_Row = tuple[str, str, str | None, int | None, str, str | None, str | None, str | None, str, int, int]


def _slug(row: _Row) -> Slug:
    id_, app_id, checksum, size, types, commit, commit_text, buildpack, stack, created_at, updated_at = row
    return Slug(
        id=id_,
        app_id=app_id,
        checksum=checksum.removeprefix(_ALGORITHM) if checksum is not None else None,
        size=size,
        process_types=json.loads(types),
        commit=commit,
        commit_description=commit_text,
        buildpack_description=buildpack,
        stack=stack,
        created_at=from_column(created_at),
        updated_at=from_column(updated_at),
    )
