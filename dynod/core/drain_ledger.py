"""A drain's account of every line: sent, dropped, and dropped without the receiver having been told yet.

Flow: history → drain, which keeps the **ledger** → receiver. What a drain has been given is what it has sent plus what
it has dropped, to the line, also over a crash: the ledger is written down with the place in the history that it is
about, in one record. Pure.
"""

import zlib
from dataclasses import dataclass, replace
from typing import Final

from dynod.core.history_plan import START, Position

RECORD_BYTES: Final = 256
_VERSION: Final = "1"
_FIELDS: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """`position`: all before it is sent or dropped. `frame_end`: where a frame under way ends, else where that is."""

    position: Position = START
    frame_end: int = 0
    sent: int = 0  # lines
    dropped: int = 0
    unsaid: int = 0  # of the dropped: not announced to the receiver yet
    unsaid_since: float = 0.0  # epoch seconds of the first of them

    def began(self, frame_end: int) -> "Ledger":
        """A frame up to there is under way: after a crash it is sent again as the same frame."""
        return replace(self, frame_end=frame_end)

    def was_sent(self, lines: int, *, end: Position, announced: bool) -> "Ledger":
        """The frame was taken; `announced`: it told of what had been dropped."""
        return replace(
            self,
            position=end,
            frame_end=end.offset,
            sent=self.sent + lines,
            unsaid=0 if announced else self.unsaid,
            unsaid_since=0.0 if announced else self.unsaid_since,
        )

    def was_dropped(self, lines: int, *, end: Position, now: float) -> "Ledger":
        """The lines up to there will not be sent."""
        return replace(
            self,
            position=end,
            frame_end=end.offset,
            dropped=self.dropped + lines,
            unsaid=self.unsaid + lines,
            unsaid_since=self.unsaid_since if self.unsaid else now if lines else 0.0,
        )


def encode(ledger: Ledger) -> bytes:
    """A record of one size, which is overwritten in place."""
    numbers = (
        *ledger.position,
        ledger.frame_end,
        ledger.sent,
        ledger.dropped,
        ledger.unsaid,
        round(ledger.unsaid_since * 1_000_000),
    )
    text = f"{_VERSION} {' '.join(map(str, numbers))}"
    return f"{text} {zlib.crc32(text.encode()):08x}".encode().ljust(RECORD_BYTES - 1) + b"\n"


def decode(record: bytes) -> Ledger | None:
    """The ledger in a record; None where a loss of power has spoilt it."""
    text, _, check = record.strip().rpartition(b" ")
    fields = text.split(b" ")
    if len(fields) != _FIELDS - 1 or check != b"%08x" % zlib.crc32(text) or fields[0] != _VERSION.encode():
        return None
    offset, line, frame_end, sent, dropped, unsaid, since = (int(field) for field in fields[1:])
    return Ledger(
        position=Position(offset, line),
        frame_end=frame_end,
        sent=sent,
        dropped=dropped,
        unsaid=unsaid,
        unsaid_since=since / 1_000_000,
    )
