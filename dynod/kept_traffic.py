"""The traffic of the last hour as notes with the keeper, one for each app: the next core's graphs go on from them.

Flow: traffic watch → **kept traffic** → keeper → the next core's. Used by the composition roots alone. Written once a
minute for an app that is asked for something, and not at all for one that is not; a core that is killed takes the
minute with it that it was in. A note that another version has written otherwise is as none: these are only graphs.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from dynod.core.traffic_history import Cell, Past
from dynod.kept_notes import from_note, to_note

TRAFFIC: Final = "traffic:"


class KeptPast(msgspec.Struct, frozen=True):
    """Of an app. A minute: number, end, seconds, requests, failed, p50 and p95 in ms; times are the loop's clock."""

    began_at: float
    minutes: list[tuple[int, float, float, int, int, float | None, float | None]]


class KeptTraffic:
    """Of all apps, by their ids."""

    def __init__(self, stored: Mapping[str, str], put: Callable[[str, str | None], None]) -> None:
        """`stored` is what the keeper had when this core began."""
        self._stored = stored
        self._put = put

    def found(self) -> dict[str, Past]:
        """What an earlier core has left."""
        found: dict[str, Past] = {}
        for key, note in self._stored.items():
            if key.startswith(TRAFFIC):
                try:
                    kept = from_note(note, KeptPast)
                except msgspec.ValidationError:
                    continue
                minutes = tuple(Cell(*minute) for minute in kept.minutes)
                found[key.removeprefix(TRAFFIC)] = Past(began_at=kept.began_at, minutes=minutes)
        return found

    def keep(self, app: str, past: Past | None) -> None:
        """As it is now; None: there is no such app any more."""
        note = None
        if past is not None:
            minutes = [
                (
                    each.number,
                    round(each.ended_at, 1),
                    round(each.seconds, 1),
                    each.requests,
                    each.failed,
                    _rounded(each.p50_ms),
                    _rounded(each.p95_ms),
                )
                for each in past.minutes
            ]
            note = to_note(KeptPast(began_at=round(past.began_at, 1), minutes=minutes))
        self._put(TRAFFIC + app, note)


def _rounded(ms: float | None) -> float | None:
    return round(ms, 1) if ms is not None else None
