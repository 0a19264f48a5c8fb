"""The newest lines of an app's stream, in memory, for whoever asks later (`dynod logs`).

Flow: dyno's pipe → frame → log line → stream → **history**. Bounded in lines as Heroku's history is, and in bytes,
because 1,500 lines of 10,000 bytes would be 15 MB an app. Pure; what is dropped here was handed on long before.
"""

from collections import deque
from typing import Final

from dynod.core.log_line import LogBatch

HISTORY_LINES: Final = 1500  # heroku-semantics 6.4
HISTORY_BYTES: Final = 2 * 1024 * 1024


class LogHistory:
    """Batches, oldest dropped first. Holds them as they came: trimming a batch to the line is left to reading."""

    __slots__ = ("_batches", "_bytes", "_lines", "_max_bytes", "_max_lines")

    def __init__(self, *, max_lines: int = HISTORY_LINES, max_bytes: int | None = None) -> None:
        """`max_bytes` None: as much more or less than HISTORY_BYTES as `max_lines` is than HISTORY_LINES."""
        self._max_lines = max_lines
        self._max_bytes = HISTORY_BYTES * max_lines // HISTORY_LINES if max_bytes is None else max_bytes
        self._batches: deque[tuple[LogBatch, int]] = deque()
        self._lines = 0
        self._bytes = 0

    def add(self, batch: LogBatch) -> None:
        lines = batch.line_count
        self._batches.append((batch, lines))
        self._lines += lines
        self._bytes += len(batch.text)
        while len(self._batches) > 1:
            oldest, oldest_lines = self._batches[0]
            if self._lines - oldest_lines < self._max_lines and self._bytes <= self._max_bytes:
                break
            self._batches.popleft()
            self._lines -= oldest_lines
            self._bytes -= len(oldest.text)

    def newest(self, count: int | None = None) -> tuple[LogBatch, ...]:
        """The newest `count` lines (all that are kept: None), oldest first."""
        wanted = self._max_lines if count is None else min(count, self._max_lines)
        found: list[LogBatch] = []
        for batch, lines in reversed(self._batches):
            if wanted <= 0:
                break
            found.append(batch if lines <= wanted else batch.last_lines(wanted))
            wanted -= lines
        return tuple(reversed(found))
