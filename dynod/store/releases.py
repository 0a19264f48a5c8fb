"""Releases and their config vars. A release is never edited but for its status; a purged value is the one exception.

Values of config vars are secrets: they are in these rows, and in no message, log or audit entry.
"""

import json
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from typing import Final

from dynod.core.release import Draft, Phase, Release, ReleaseStatus, base_of, without
from dynod.store.audit import Actor, note
from dynod.store.database import Database
from dynod.store.moments import from_column, to_column
from dynod.store.owner import name_of

_COLUMNS: Final = (
    "version, id, description, user_name, status, slug_id, plan, config, phase, failure, created_at, updated_at"
)
PURGED: Final = ""  # what an old release has in place of a value that was purged

Decide = Callable[[Release | None, Sequence[Release]], Draft | None]


class Releases:
    """Queries over releases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, app_id: str) -> tuple[Release, ...]:
        """All releases of one app, newest first; none for an app that is not there."""
        return await self._database.read(lambda connection: _all(connection, app_id))

    async def add(self, app_id: str, decide: Decide, *, by: Actor) -> Release | None:
        """Record the release that `decide` makes of the one to build on and of all there are, newest first.

        It is `pending` until `settle` is called. `decide` runs within the transaction, so that of two changes the
        second builds on the first; where it returns None nothing is done. Raises what `decide` raises, UnknownAppError,
        StoreError.
        """

        def work(connection: sqlite3.Connection) -> Release | None:
            app_name = name_of(connection, app_id)
            known = _all(connection, app_id)
            draft = decide(base_of(known), known)
            return None if draft is None else _insert(self._database, connection, (app_id, app_name), draft, by)

        return await self._database.write(work)

    async def begin(self, app_id: str, drafts: Sequence[Draft], *, by: Actor) -> tuple[Release, ...]:
        """The first releases of a new app, live at once; nothing where it has some already. Oldest first.

        Raises UnknownAppError, StoreError.
        """

        def work(connection: sqlite3.Connection) -> tuple[Release, ...]:
            app = app_id, name_of(connection, app_id)
            if _all(connection, app_id):
                return ()
            for draft in drafts:
                _insert(self._database, connection, app, draft, by)
            connection.execute("UPDATE releases SET status = 'succeeded' WHERE app_id = ?", (app_id,))
            return _all(connection, app_id)[::-1]

        return await self._database.write(work)

    async def command_done(self, app_id: str, version: int) -> None:
        """The release command has exited with 0: it is not run again. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE releases SET phase = 'done', updated_at = ? "
                "WHERE app_id = ? AND version = ? AND status = 'pending'",
                (to_column(self._database.clock()), app_id, version),
            )

        await self._database.write(work)

    async def settle(self, app_id: str, version: int, *, failure: str | None = None) -> None:
        """The release is live, or has failed and says why. One that is settled already stays so. Raises StoreError.

        Those that wait and were built on one that failed are built anew on what that one was built on, so that each
        change that was acknowledged is kept, and nothing of the failed one.
        """
        status = ReleaseStatus.SUCCEEDED if failure is None else ReleaseStatus.FAILED

        def work(connection: sqlite3.Connection) -> None:
            known = _all(connection, app_id)
            failed = next((each for each in known if each.version == version), None)
            if failed is None or failed.status is not ReleaseStatus.PENDING:
                return
            now = to_column(self._database.clock())
            connection.execute(
                "UPDATE releases SET status = ?, failure = ?, updated_at = ? WHERE app_id = ? AND version = ?",
                (status.value, failure, now, app_id, version),
            )
            if failure is None:
                return
            before = base_of([each for each in known if each.version < version])
            for waiting in (each for each in reversed(known) if each.version > version):
                plan, slug_id, config = without(waiting, failed=failed, before=before)
                connection.execute(
                    "UPDATE releases SET plan = ?, slug_id = ?, config = ? WHERE app_id = ? AND version = ?",
                    (plan, slug_id, json.dumps(dict(config), sort_keys=True), app_id, waiting.version),
                )

        await self._database.write(work)

    async def counts(self) -> dict[tuple[str, str], int]:
        """How many there are, by app id and status. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> dict[tuple[str, str], int]:
            rows = connection.execute("SELECT app_id, status, COUNT(*) FROM releases GROUP BY app_id, status")
            return {(app_id, status): count for app_id, status, count in rows}

        return await self._database.read(work)

    async def purge(self, app_id: str, name: str, *, by: Actor) -> int:
        """Empty the value of a config var in every release but the newest that has not failed; returns in how many.

        Whoever asks has unset it first. SQLite overwrites what was there (`secure_delete`). Raises UnknownAppError,
        StoreError.
        """

        def work(connection: sqlite3.Connection) -> int:
            app_name = name_of(connection, app_id)
            known = _all(connection, app_id)
            base = base_of(known)
            holding = [each for each in known if each is not base and each.config.get(name, PURGED) != PURGED]
            for each in holding:
                config = json.dumps({**each.config, name: PURGED}, sort_keys=True)
                connection.execute(
                    "UPDATE releases SET config = ? WHERE app_id = ? AND version = ?", (config, app_id, each.version)
                )
            now = to_column(self._database.clock())
            detail = f"{name} in {len(holding)} releases"
            note(connection, now, "config.purge", by=by, app=(app_id, app_name), detail=detail)
            return len(holding)

        return await self._database.write(work)


def _insert(
    database: Database, connection: sqlite3.Connection, app: tuple[str, str], draft: Draft, by: Actor
) -> Release:
    app_id, _app_name = app
    (newest,) = connection.execute("SELECT max(version) FROM releases WHERE app_id = ?", (app_id,)).fetchone()
    version = (newest or 0) + 1
    now = to_column(database.clock())
    phase = Phase.WANTED if draft.runs_command else Phase.NONE
    connection.execute(
        f"INSERT INTO releases (app_id, {_COLUMNS}) "  # noqa: S608 (a constant)
        "VALUES (?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?, NULL, ?, ?)",
        (
            app_id,
            version,
            str(uuid.uuid4()),
            draft.description,
            by.name,
            draft.slug_id,
            draft.plan,
            json.dumps(dict(draft.config), sort_keys=True),
            phase.value,
            now,
            now,
        ),
    )
    note(connection, now, "release.create", by=by, app=app, detail=f"v{version} {draft.description}")
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM releases WHERE app_id = ? AND version = ?",  # noqa: S608 (a constant)
        (app_id, version),
    ).fetchone()
    return _release(row)


def _all(connection: sqlite3.Connection, app_id: str) -> tuple[Release, ...]:
    query = f"SELECT {_COLUMNS} FROM releases WHERE app_id = ? ORDER BY version DESC"  # noqa: S608 (a constant)
    return tuple(_release(row) for row in connection.execute(query, (app_id,)))


_Row = tuple[int, str, str, str, str, str | None, str | None, str, str, str | None, int, int]


def _release(row: _Row) -> Release:
    version, id_, description, user, status, slug_id, plan, config, phase, failure, created_at, updated_at = row
    return Release(
        version=version,
        id=id_,
        description=description,
        user=user,
        status=ReleaseStatus(status),
        slug_id=slug_id,
        plan=plan,
        config=json.loads(config),
        phase=Phase(phase),
        failure=failure,
        created_at=from_column(created_at),
        updated_at=from_column(updated_at),
    )
