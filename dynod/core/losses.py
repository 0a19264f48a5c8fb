"""What bounded queues had no room for, counted for each, and when that is worth a line. Pure.

Flow: whoever has a queue → **losses** → metrics, dynod's own log. What belongs to an app's log is not here: it has its
own numbers, and says in itself what is missing (L10, L11, L12).
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final


class Loss(StrEnum):
    """By what was lost; the words of the metric."""

    EVENTS = "events"
    INCIDENTS = "incidents"
    WEBHOOK_MESSAGES = "webhook_messages"
    DASHBOARD_PAGES = "dashboard_pages"
    JOURNAL_ENTRIES = "journal_entries"
    ROUTER_LINES = "router_lines"


SENTENCES: Final[Mapping[Loss, str]] = {
    Loss.EVENTS: "are missing from `dynod events`: more came at once than the state could be told of",
    Loss.INCIDENTS: "were forgotten, more being open at once than are kept: of these no recovery is told",
    Loss.WEBHOOK_MESSAGES: "were given up, their receivers having taken none for long: `dynod webhooks:deliveries`",
    Loss.DASHBOARD_PAGES: "were closed, having taken nothing of what they asked for",
    Loss.JOURNAL_ENTRIES: "were not taken by systemd's journal",
    Loss.ROUTER_LINES: "were lost in a change of cores",
}

Lose = Callable[[Loss, int], None]  # what, and how many


class Losses:
    """Of one daemon. Each kind is said the first time, and when its number has another digit: seldom, by no clock."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._counts = dict.fromkeys(Loss, 0)

    @property
    def counts(self) -> Mapping[Loss, int]:
        """So far."""
        return self._counts

    def lose(self, what: Loss, count: int) -> None:
        """So many more."""
        before = self._counts[what]
        now = self._counts[what] = before + count
        if before == 0 or len(str(now)) > len(str(before)):
            self._say(f"{now} {what.value.replace('_', ' ')} {SENTENCES[what]}")


def unheeded(_what: Loss, _count: int) -> None:
    """For whoever has nobody to tell."""
