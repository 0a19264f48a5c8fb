"""The causal history of `serve`: the audit trail, with what happened by itself among what was done.

Flow: happenings → **stored events** → store; `platform_api/events` reads it back.
"""

from collections.abc import Sequence

from dynod.core.event import Event
from dynod.store.audit import AuditEntry, actor
from dynod.store.store import Store


class StoredEvents:
    """Over the store of a daemon."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep(self, action: str, app: tuple[str, str] | None, detail: str, by: str) -> None:
        """One more. Raises StoreError."""
        await self._store.audit.add(action, by=actor(by), app=app, detail=detail)

    async def since(self, after: int | None, *, limit: int, app_id: str | None) -> Sequence[Event]:
        """Those after this id, oldest first; None: the newest. Raises StoreError."""
        return [_event(entry) for entry in await self._store.audit.since(after, limit=limit, app_id=app_id)]


def _event(entry: AuditEntry) -> Event:
    return Event(
        id=entry.id,
        at=entry.at,
        actor=entry.actor.name,
        origin=entry.actor.origin,
        action=entry.action,
        app_id=entry.app_id,
        app_name=entry.app_name,
        detail=entry.detail,
    )
