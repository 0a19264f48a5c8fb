"""What is wrong now, told once when it begins and once when it is over, however often it occurs in between. Pure.

Flow: crashes, memory, releases, drains, disk → **incidents** → notices → webhooks. A worker that crashes for an hour is
one incident. What is over is what has been well for a while: a dyno for as long as the restart ladder wants before it
begins anew, so that one which stays up a minute between two crashes has not recovered.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MOST_OPEN: Final = 1000  # beyond that the one is forgotten that has been silent for longest


class Trouble(StrEnum):
    """The kinds of incidents; the words of events and webhooks."""

    CRASHED = "dyno.crashed"
    MEMORY = "dyno.memory_exceeded"
    RELEASE = "release.failed"
    DRAIN = "drain.failing"
    DISK = "disk.low"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calm:
    """When an incident is over: `after_s` of it, counted from the word that all is well, or from the last failure."""

    after_s: float
    by_word: bool


CALM: Final[Mapping[Trouble, Calm]] = {
    Trouble.CRASHED: Calm(after_s=600.0, by_word=True),  # contracts 8: the ladder begins anew after 10 min up
    Trouble.MEMORY: Calm(after_s=600.0, by_word=False),  # R14 is said every 20 s, as long as it holds
    Trouble.RELEASE: Calm(after_s=0.0, by_word=True),  # the next one that is live
    Trouble.DRAIN: Calm(after_s=60.0, by_word=True),
    Trouble.DISK: Calm(after_s=60.0, by_word=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """To be told. `subject`: the dyno, release, drain or folder; `times`: how often it occurred until it was over."""

    app: str  # its id; "" for the daemon
    trouble: Trouble
    subject: str
    recovered: bool
    detail: str
    since: float
    times: int


IncidentKey = tuple[str, Trouble, str]  # app, trouble, subject


@dataclass(slots=True)
class OpenIncident:
    """One that goes on."""

    since: float
    last: float
    detail: str
    times: int = 1
    well_since: float | None = None


class Incidents:
    """Those that are open. Times are the caller's clock, in seconds."""

    def __init__(self, found: Mapping[IncidentKey, OpenIncident] | None = None) -> None:
        """`found`: those that were open before."""
        self.dropped = 0
        self._open: dict[IncidentKey, OpenIncident] = dict(found or {})
        self._changed: set[IncidentKey] = set()

    def changes(self) -> dict[IncidentKey, OpenIncident | None]:
        """What is to be kept anew since this was asked last; None: it is open no more."""
        changed, self._changed = self._changed, set()
        return {key: self._open.get(key) for key in changed}

    def failed(self, app: str, trouble: Trouble, subject: str, detail: str, now: float) -> Notice | None:
        """It has happened; a notice where that is new."""
        key = (app, trouble, subject)
        self._changed.add(key)
        known = self._open.get(key)
        if known is not None:
            known.last, known.detail, known.well_since = now, detail, None
            known.times += 1
            return None
        if len(self._open) >= MOST_OPEN:
            oldest = min(self._open, key=lambda each: self._open[each].last)
            self._changed.add(oldest)
            del self._open[oldest]
            self.dropped += 1
        self._open[key] = OpenIncident(since=now, last=now, detail=detail)
        return _notice(key, self._open[key], recovered=False)

    def well(self, app: str, trouble: Trouble, subject: str, now: float) -> None:
        """It is in order at this moment, as far as anybody can see."""
        key = (app, trouble, subject)
        known = self._open.get(key)
        if known is not None and known.well_since is None:
            known.well_since = now
            self._changed.add(key)

    def gone(self, app: str, subject: str | None = None) -> None:
        """There is no such dyno or drain any more, or no such app: nothing of it recovers."""
        for key in [key for key in self._open if key[0] == app and subject in {None, key[2]}]:
            del self._open[key]
            self._changed.add(key)

    def subjects(self, app: str, trouble: Trouble) -> list[str]:
        """What has that trouble."""
        return [key[2] for key in self._open if key[:2] == (app, trouble)]

    def due(self, now: float) -> list[Notice]:
        """What is over by now."""
        over = [key for key, known in self._open.items() if (at := _over_at(key, known)) is not None and at <= now]
        self._changed.update(over)
        return [_notice(key, self._open.pop(key), recovered=True) for key in over]

    def next_due(self) -> float | None:
        """When to look again; None: not before something else happens."""
        times: Iterable[float | None] = (_over_at(key, known) for key, known in self._open.items())
        return min((at for at in times if at is not None), default=None)


def _over_at(key: IncidentKey, known: OpenIncident) -> float | None:
    calm = CALM[key[1]]
    begin = known.well_since if calm.by_word else known.last
    return begin + calm.after_s if begin is not None else None


def _notice(key: IncidentKey, known: OpenIncident, *, recovered: bool) -> Notice:
    app, trouble, subject = key
    return Notice(
        app=app,
        trouble=trouble,
        subject=subject,
        recovered=recovered,
        detail=known.detail,
        since=known.since,
        times=known.times,
    )
