"""A log drain as it is kept and shown: its identity, where it leads, and where in the app's history it began. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dynod.core.drain_url import DrainRefusedError, DrainUrl
from dynod.core.history_plan import START, Position

MOST_DRAINS: Final = 5  # of an app; Heroku, "Limits"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainRecord:
    """A drain. `token` is `d.` and a UUID: the host name that its syslog receiver sees."""

    id: str
    token: str
    url: DrainUrl
    created_at: datetime
    updated_at: datetime
    begin: Position = START

    def is_meant(self, ref: str) -> bool:
        """Whether somebody who says `ref` means this drain: its id, its token, its URL, whole or as it is shown."""
        return ref in {self.id, self.token, self.url.full, self.url.shown}


def refuse_one_too_many(count: int) -> None:
    """Raises DrainRefusedError for an app that has as many as may be."""
    if count >= MOST_DRAINS:
        raise DrainRefusedError("You have already added the maximum number of drains allowed")


def refuse_taken() -> DrainRefusedError:
    """For a URL that the app has a drain to already."""
    return DrainRefusedError("Url has already been taken")
