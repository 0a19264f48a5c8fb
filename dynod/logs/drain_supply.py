"""Where a drain gets its lines: the history on disk, from a saved place on, or the live stream.

Flow: history folder (`serve`), stream (`up`) → **supply** → drain. Both are bounded: what is beyond the bound is given
up, oldest first, and counted. `take` gives the next lines, `settle` says that they were sent or dropped; only then are
they behind the saved place, so that a crash repeats lines and skips none.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from dynod.core.drain_ledger import RECORD_BYTES, Ledger, decode, encode
from dynod.core.history_plan import Position
from dynod.core.log_line import LogBatch
from dynod.core.log_reading import LineReader
from dynod.logs.history_folder import HistoryFolder
from dynod.logs.history_reader import HistoryReader
from dynod.logs.tail import Tail

MOST_LAG_BYTES: Final = 256 * 1024 * 1024  # of history text that a drain may be behind


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """The next lines of a drain, `start` to `end`. `lost` lines stood before them and cannot be sent any more."""

    batches: tuple[LogBatch, ...]
    lines: int
    lost: int
    lost_since: float
    start: Position
    end: Position


class History(Protocol):
    """What of the history sink a supply needs."""

    @property
    def folder(self) -> HistoryFolder: ...

    @property
    def end(self) -> Position: ...

    async def grown(self, beyond: Position) -> None: ...


class Supply(Protocol):
    """What a drain needs. `ledger` is the drain's account, which the supply keeps safe where it can."""

    ledger: Ledger

    async def take(self, max_bytes: int) -> Portion | None:
        """Wait for lines; None when there will not be any more."""
        ...

    async def settle(self, ledger: Ledger, *, at_once: bool = False) -> None:
        """The lines of the last portion were sent, or dropped. `at_once`: returns when a crash cannot forget it."""
        ...

    def is_behind(self) -> bool:
        """More lines wait than may: the portion under way is to be given up, as the oldest."""
        ...

    def lag(self) -> tuple[int, int]:
        """How many lines, and bytes of text, have been neither sent nor dropped."""
        ...

    def close(self) -> None: ...


class HistorySupply:
    """From the history on disk, with the ledger in a file beside it."""

    def __init__(
        self,
        history: History,
        record: Path,
        *,
        begin: Position,
        clock: Callable[[], float],
        most_lag_bytes: int = MOST_LAG_BYTES,
    ) -> None:
        """`begin` is where a drain without a record begins: where the history ended when the drain was made."""
        self._history = history
        self._path = record
        self._clock = clock
        self._most_lag_bytes = most_lag_bytes
        self._lines = LineReader()
        self._fd = -1
        self._is_unsaved = False
        self.ledger = self._load() or Ledger(position=begin, frame_end=begin.offset)
        if self.ledger.position.offset > history.end.offset:
            # A loss of power took the newest lines of the history, which are sent already, and not this record; or
            # somebody emptied the folder. What comes now would otherwise count as sent up to the old place.
            self.ledger = replace(self.ledger, position=history.end, frame_end=history.end.offset)
        self._reader = HistoryReader(history.folder, self.ledger.position)

    async def take(self, max_bytes: int) -> Portion | None:
        while True:
            if self._is_unsaved and self._history.end.offset <= self._reader.position.offset:
                await asyncio.to_thread(self._save)  # else it is saved with the beginning of the next portion
            await self._history.grown(self._reader.position)
            portion = await asyncio.to_thread(self._read, max_bytes)
            if portion is not None:
                return portion

    async def settle(self, ledger: Ledger, *, at_once: bool = False) -> None:
        self.ledger = ledger
        self._is_unsaved = True  # a crash until then sends one frame again, as the same one
        if at_once:
            await asyncio.to_thread(self._save)

    def is_behind(self) -> bool:
        return self._history.end.offset - self.ledger.position.offset > self._most_lag_bytes

    def lag(self) -> tuple[int, int]:
        end, at = self._history.end, self.ledger.position
        return max(end.line - at.line, 0), max(end.offset - at.offset, 0)

    def close(self) -> None:
        """Let go of both files."""
        if self._is_unsaved:
            self._save()
        self._reader.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def forget(self) -> None:
        """The drain is removed."""
        self.close()
        self._path.unlink(missing_ok=True)

    # --- in a thread ------------------------------------------------------------------------------------------------

    def _read(self, max_bytes: int) -> Portion | None:
        """The next lines, noted as being under way; None where there are none after all."""
        lost, since = 0, self._clock()
        behind = self._history.end.offset - self._reader.position.offset - self._most_lag_bytes
        if behind > 0:
            before = self._reader.position
            after = self._reader.line_at(before.offset + behind)
            lost += after.line - before.line
            self._reader.go_to(after)
        under_way = self.ledger.frame_end if self._reader.position == self.ledger.position else None
        piece = self._reader.read(max_bytes, until=under_way)
        batches, unreadable = self._lines.batches(piece.data)
        lost += piece.lost + unreadable
        if not batches and not lost:
            return None
        self.ledger = self.ledger.began(piece.end.offset)
        self._save()
        lines = sum(batch.line_count for batch in batches)
        return Portion(
            batches=tuple(batches),
            lines=lines,
            lost=lost,
            lost_since=since,
            start=Position(piece.end.offset - len(piece.data), piece.end.line - lines),
            end=piece.end,
        )

    def _load(self) -> Ledger | None:
        try:
            record = self._path.read_bytes()
        except FileNotFoundError:
            return None
        return decode(record)

    def _save(self) -> None:
        self._is_unsaved = False
        record = encode(self.ledger)
        assert len(record) == RECORD_BYTES  # noqa: S101 (or the end of an older one would be read)
        # A disk that takes no record stops no drain: what that can cost is that lines are sent again after a crash.
        with contextlib.suppress(OSError):
            if self._fd < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._fd = os.open(self._path, flags, 0o600)
            os.pwrite(self._fd, record, 0)


class StreamSupply:
    """From the live stream, in memory: what a crash of the core takes with it, it has taken."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._under_way = 0
        self.ledger = Ledger()

    async def take(self, max_bytes: int) -> Portion | None:
        taken = await self._tail.take(max_bytes)
        if not taken.batches:
            return None
        lines = sum(batch.line_count for batch in taken.batches)
        self._under_way = lines
        at = self.ledger.position
        size = sum(len(batch.text) for batch in taken.batches)
        return Portion(
            batches=taken.batches,
            lines=lines,
            lost=taken.lost,
            lost_since=taken.lost_since,
            start=Position(at.offset, at.line + taken.lost),
            end=Position(at.offset + size, at.line + taken.lost + lines),
        )

    async def settle(self, ledger: Ledger, *, at_once: bool = False) -> None:
        del at_once  # a crash forgets the lines too
        self.ledger = ledger
        self._under_way = 0

    def is_behind(self) -> bool:
        return False  # the tail drops by itself what is behind the lines under way

    def lag(self) -> tuple[int, int]:
        return self._tail.waiting + self._under_way, self._tail.waiting_bytes

    def close(self) -> None:
        """Nothing to let go of: the tail is the stream's."""
