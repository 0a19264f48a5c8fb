"""What a reader of the live stream has not been given yet: bounded, oldest dropped and counted.

Flow: stream → **tail buffer** → tail (`dynod logs --tail`), and a drain in `up`. Heroku keeps 1,024 messages for each
(heroku-semantics 4.3). Here lines come in batches of up to 64 KiB, so that number alone would drop lines that a fast
reader was about to take; where 256 KiB are more messages than that, they are kept. Pure.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from dynod.core.log_line import LogBatch

MESSAGES: Final = 1024
BYTES: Final = 256 * 1024
MOST_BYTES: Final = 2 * 1024 * 1024  # 1,024 messages of 10,000 bytes would be five times that


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The next lines. `lost` lines stood before them; the first of them was lost at `lost_since` (epoch seconds)."""

    batches: tuple[LogBatch, ...]
    lost: int
    lost_since: float


class TailBuffer:
    """Owned by one reader. Drops whole batches, and never the newest."""

    __slots__ = ("_batches", "_bytes", "_lines", "_lost", "_lost_since", "dropped")

    def __init__(self) -> None:
        self._batches: deque[tuple[LogBatch, int]] = deque()
        self._bytes = 0
        self._lines = 0
        self._lost = 0
        self._lost_since = 0.0
        self.dropped = 0  # lines, since the beginning

    @property
    def lines(self) -> int:
        """How many lines wait."""
        return self._lines

    @property
    def size(self) -> int:
        """Bytes of text that wait."""
        return self._bytes

    @property
    def is_empty(self) -> bool:
        return not self._batches

    def offer(self, batch: LogBatch) -> None:
        """Keep the batch; the oldest go where there is no room."""
        lines = batch.line_count
        self._batches.append((batch, lines))
        self._bytes += len(batch.text)
        self._lines += lines
        while len(self._batches) > 1 and self._is_over():
            oldest, count = self._batches.popleft()
            self._bytes -= len(oldest.text)
            self._lines -= count
            if self._lost == 0:
                self._lost_since = oldest.time
            self._lost += count
            self.dropped += count

    def take(self, max_bytes: int | None = None) -> Taken:
        """Whole batches, oldest first: at least one where there is any, and about `max_bytes` (None: all)."""
        found: list[LogBatch] = []
        total = 0
        while self._batches and (not found or max_bytes is None or total < max_bytes):
            batch, lines = self._batches.popleft()
            found.append(batch)
            total += len(batch.text)
            self._bytes -= len(batch.text)
            self._lines -= lines
        taken = Taken(batches=tuple(found), lost=self._lost, lost_since=self._lost_since)
        self._lost = 0
        return taken

    def _is_over(self) -> bool:
        return self._bytes > MOST_BYTES or (self._lines > MESSAGES and self._bytes > BYTES)
