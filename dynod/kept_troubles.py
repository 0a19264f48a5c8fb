"""What is wrong, and whom that has still to be told, as notes with the keeper: a core that is replaced forgets neither.

Flow: happenings, webhook sender → **kept troubles** → keeper → the next core's. One small note for each incident and
message, so that a crash of one dyno of many costs one. Used by the composition root alone.

A message is noted before its incident is, and given up after the receiver has taken it: a core that is killed between
the two tells once more. The window is two system calls.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from dynod.core.incidents import IncidentKey, OpenIncident, Trouble
from dynod.kept_notes import from_note, to_note
from dynod.webhook_sender import Sending

INCIDENT: Final = "incident:"
MESSAGE: Final = "webhook-message:"
LONGEST: Final = 1000  # characters of a detail that are kept

Put = Callable[[str, str | None], None]


class KeptIncident(msgspec.Struct, frozen=True):
    """An open one. Times are the loop's clock, which is the machine's and goes on over cores."""

    app: str
    trouble: str
    subject: str
    since: float
    last: float
    detail: str
    times: int
    well_since: float | None


class KeptMessage(msgspec.Struct, frozen=True):
    """One that its receiver has not taken yet."""

    id: str
    event_id: str
    webhook_id: str
    trouble: str
    body: str
    created_at: float
    tries: int
    next_at: float | None
    last_code: int | None
    last_error: str


class KeptIncidents:
    """Those that are open."""

    def __init__(self, stored: Mapping[str, str], put: Put) -> None:
        """`stored` is what the keeper had when this core began."""
        self._put = put
        self._found = [from_note(note, KeptIncident) for key, note in stored.items() if key.startswith(INCIDENT)]

    def found(self) -> dict[IncidentKey, OpenIncident]:
        """Those that an earlier core has left."""
        return {
            (each.app, Trouble(each.trouble), each.subject): OpenIncident(
                since=each.since, last=each.last, detail=each.detail, times=each.times, well_since=each.well_since
            )
            for each in self._found
        }

    def keep(self, changes: Mapping[IncidentKey, OpenIncident | None]) -> None:
        """As they are now; None: no more."""
        for (app, trouble, subject), known in changes.items():
            note = None
            if known is not None:
                note = to_note(
                    KeptIncident(
                        app=app,
                        trouble=trouble.value,
                        subject=subject,
                        since=known.since,
                        last=known.last,
                        detail=known.detail[:LONGEST],
                        times=known.times,
                        well_since=known.well_since,
                    )
                )
            self._put(f"{INCIDENT}{app}:{trouble.value}:{subject}", note)


class KeptMessages:
    """Those that wait, or are being tried."""

    def __init__(self, stored: Mapping[str, str], put: Put) -> None:
        """`stored` is what the keeper had when this core began."""
        self._put = put
        self._found = [from_note(note, KeptMessage) for key, note in stored.items() if key.startswith(MESSAGE)]

    def found(self) -> list[Sending]:
        """Those that an earlier core has left, in their order."""
        return [
            Sending(
                id=each.id,
                event_id=each.event_id,
                webhook_id=each.webhook_id,
                trouble=Trouble(each.trouble),
                body=each.body.encode(),
                created_at=each.created_at,
                status="retrying" if each.tries else "pending",
                tries=each.tries,
                next_at=each.next_at,
                last_code=each.last_code,
                last_error=each.last_error,
            )
            for each in sorted(self._found, key=lambda each: each.created_at)
        ]

    def keep(self, sending: Sending) -> None:
        """It waits, or will be tried again."""
        self._put(
            MESSAGE + sending.id,
            to_note(
                KeptMessage(
                    id=sending.id,
                    event_id=sending.event_id,
                    webhook_id=sending.webhook_id,
                    trouble=sending.trouble.value,
                    body=sending.body.decode(),
                    created_at=sending.created_at,
                    tries=sending.tries,
                    next_at=sending.next_at,
                    last_code=sending.last_code,
                    last_error=sending.last_error,
                )
            ),
        )

    def drop(self, sending: Sending) -> None:
        """It has been taken, or given up."""
        self._put(MESSAGE + sending.id, None)
