"""The app that a row hangs on, looked up within the transaction that is about to change the row."""

import sqlite3

from dynod.core.fault import quoted
from dynod.store.errors import UnknownAppError


def name_of(connection: sqlite3.Connection, app_id: str) -> str:
    """The app's name. Raises UnknownAppError where it has been destroyed meanwhile."""
    row = connection.execute("SELECT name FROM apps WHERE id = ?", (app_id,)).fetchone()
    if row is None:
        raise no_such_app(app_id)
    return str(row[0])


def no_such_app(app_id: str) -> UnknownAppError:
    """The error, where a caller has looked itself."""
    return UnknownAppError(f"no app with the id {quoted(app_id)}: it has been destroyed")
