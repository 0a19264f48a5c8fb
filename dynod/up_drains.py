"""The drains of `dynod up`: kept with the keeper, so that they last as long as it does and survive a core.

There is no store in `up`, and no history on disk: such a drain follows the live stream, and what it has not sent when
a core is killed is not sent any more.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from dynod.app_logs import DrainKeeper
from dynod.core.drain import DrainRecord
from dynod.core.drain_url import parse_drain_url

NOTE: Final = "drains"  # the key under which the keeper has them


class _KeptDrain(msgspec.Struct, frozen=True, kw_only=True):
    """One drain, in a note."""

    id: str
    token: str
    url: str
    created_at: float  # seconds since the epoch


class KeptDrains:
    """Made by each core from what the keeper has; `put` leaves a note with the keeper."""

    def __init__(self, note: str | None, put: Callable[[str, str], None]) -> None:
        kept = msgspec.json.decode(note, type=list[_KeptDrain]) if note is not None else []
        self._put = put
        self.records = [
            DrainRecord(
                id=drain.id,
                token=drain.token,
                url=parse_drain_url(drain.url),
                created_at=datetime.fromtimestamp(drain.created_at, UTC),
                updated_at=datetime.fromtimestamp(drain.created_at, UTC),
            )
            for drain in kept
        ]

    @property
    def keeper(self) -> DrainKeeper:
        """For the app's logs."""
        return DrainKeeper(add=self._add, remove=self._remove)

    async def _add(self, record: DrainRecord, by: str) -> None:
        del by  # there is no audit trail
        self.records.append(record)
        self._leave_note()

    async def _remove(self, record: DrainRecord, by: str) -> None:
        del by
        self.records = [each for each in self.records if each.id != record.id]
        self._leave_note()

    def _leave_note(self) -> None:
        kept = [
            _KeptDrain(id=each.id, token=each.token, url=each.url.full, created_at=each.created_at.timestamp())
            for each in self.records
        ]
        self._put(NOTE, msgspec.json.encode(kept).decode("ascii"))
