"""Passive health: which failures take a backend out of rotation, and for how long. Pure.

Active health is the supervisor's (it adds and removes backends). Here a backend is quarantined at once for a failed
connection attempt (Heroku: up to 5 s, "HTTP Routing", Dyno connection behaviour), and after several consecutive broken
answers, doubling up to a minute. A quarantine ends by itself; one success forgets the failures.
"""

from dataclasses import dataclass
from typing import Final

CONNECT_QUARANTINE_S: Final = 5.0  # Heroku's figure, flat: a dyno that listens again is found within this time
BROKEN_ANSWERS_ALLOWED: Final = 5  # consecutive; fewer, and one bad endpoint would take its dyno out
BROKEN_QUARANTINE_S: Final = 5.0
LONGEST_QUARANTINE_S: Final = 60.0


@dataclass(slots=True)
class Health:
    """What a backend's recent answers say. Mutable, owned by its pool."""

    quarantined_until: float = 0.0
    broken_in_a_row: int = 0
    quarantines_in_a_row: int = 0

    def quarantined(self, now: float) -> bool:
        """Whether the backend is to be passed over at `now` (monotonic seconds)."""
        return now < self.quarantined_until

    def connect_failed(self, now: float) -> None:
        """A connection was refused or took too long."""
        self.quarantined_until = max(self.quarantined_until, now + CONNECT_QUARANTINE_S)

    def answer_broke(self, now: float) -> None:
        """The backend took a request and gave no answer, or a broken one."""
        self.broken_in_a_row += 1
        if self.broken_in_a_row < BROKEN_ANSWERS_ALLOWED:
            return
        self.broken_in_a_row = 0
        span = min(LONGEST_QUARANTINE_S, BROKEN_QUARANTINE_S * 2**self.quarantines_in_a_row)
        self.quarantines_in_a_row = min(self.quarantines_in_a_row + 1, 8)
        self.quarantined_until = max(self.quarantined_until, now + span)

    def answered(self) -> None:
        """The backend gave a whole answer."""
        self.broken_in_a_row = 0
        self.quarantines_in_a_row = 0
        self.quarantined_until = 0.0
