"""What can be asked of one app's log: its newest lines, what comes from now on, and its drains.

Flow: stream, history → **app logs** → log sessions (`dynod logs`), drains. Introduces `logs` to whoever keeps the
drains: the store in `serve`, the keeper in `up`. In `serve` the history on disk answers; where that cannot be, and in
`up`, the lines in memory do.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from dynod.core.drain import DrainRecord, refuse_one_too_many, refuse_taken
from dynod.core.drain_policy import Outcome
from dynod.core.drain_url import DrainKind, DrainRefusedError, parse_drain_url
from dynod.core.history_plan import Position
from dynod.core.log_filter import LogFilter, newest
from dynod.core.log_line import LogBatch
from dynod.core.log_mask import LogMask
from dynod.core.log_reading import LineReader
from dynod.logs.drain import DrainHealth
from dynod.logs.drain_set import DrainSet
from dynod.logs.history_reader import HistoryReader
from dynod.logs.history_sink import HistorySink
from dynod.logs.stream import LogStream
from dynod.logs.tail import with_gap

SETTLE_S: Final = 2.0  # for the history to have what was said a moment ago
PIECE_BYTES: Final = 256 * 1024
DISORDER_S: Final = 60.0  # lines of the router come up to so much behind later ones

Keep = Callable[[DrainRecord, str], Awaitable[None]]  # the record, and on whose behalf


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainKeeper:
    """Where the list of drains lasts. Both raise DynodError, with nothing changed."""

    add: Keep
    remove: Keep


class DrainState(NamedTuple):
    """A drain and how it does."""

    record: DrainRecord
    health: DrainHealth | None


class LogVolume(NamedTuple):
    """How much an app has logged since this core began, and how many lines of that nobody took in time.

    `missed`: by whoever follows it, who was told how many.
    """

    lines: int
    bytes: int
    dropped: int
    missed: int = 0


class Tested(NamedTuple):
    """What became of a test message."""

    delivered: bool
    error: str
    took_s: float


class AppLogs:
    """Owned by the app's run; every method is called in the loop's thread."""

    def __init__(
        self,
        stream: LogStream,
        drains: DrainSet,
        *,
        history: HistorySink | None,
        keeper: DrainKeeper,
        dropped: Callable[[], int] = lambda: 0,
    ) -> None:
        """`dropped` tells how many lines the stream's sink has had to let go."""
        self._stream = stream
        self._drains = drains
        self._history = history
        self._keeper = keeper
        self._dropped = dropped
        self._records: list[DrainRecord] = []
        self._missed = 0

    def rename(self, app: str) -> None:
        """The app is called so from now on."""
        self._drains.rename(app)

    @property
    def volume(self) -> LogVolume:
        """So far."""
        return LogVolume(self._stream.lines, self._stream.bytes, self._dropped(), self._missed)

    # --- lines ------------------------------------------------------------------------------------------------------

    async def lines(self, wanted: LogFilter, *, count: int | None, follow: bool) -> AsyncIterator[tuple[LogBatch, ...]]:
        """The newest `count` lines that are wanted (None: all since `wanted.since`), then, with `follow`, what comes.

        Nothing is missing between the two, and nothing twice.
        """
        tail = self._stream.follow(wanted) if follow else None
        try:
            async for batches in self._past(wanted, count):
                yield batches
            while tail is not None:
                taken = await tail.take(PIECE_BYTES)
                if not taken.batches and not taken.lost:
                    return
                self._missed += taken.lost
                yield with_gap(taken)
        finally:
            if tail is not None:
                self._stream.leave(tail)

    async def _past(self, wanted: LogFilter, count: int | None) -> AsyncIterator[tuple[LogBatch, ...]]:
        # What is in memory now is exactly what the tail, made in the same moment, will not bring.
        in_memory = self._stream.newest()
        if self._history is None or self._history.is_stalled:
            picked = wanted.pick_all(in_memory)
            yield tuple(picked if count is None else newest(picked, count))
            return
        end = await self._settled(self._history)
        reader = HistoryReader(self._history.folder, self._history.folder.begin)
        lines = LineReader()
        try:
            if count is not None:
                yield await asyncio.to_thread(_newest_on_disk, reader, lines, wanted, count, end)
                return
            if wanted.since is not None:
                reader.go_to(await asyncio.to_thread(self._history.folder.before, wanted.since - DISORDER_S))
            while reader.position.offset < end:
                piece = await asyncio.to_thread(reader.read, PIECE_BYTES, until=end)
                if not piece.data:
                    break
                batches, _unreadable = lines.batches(piece.data)
                yield tuple(wanted.pick_all(batches))
        finally:
            reader.close()

    @staticmethod
    async def _settled(history: HistorySink) -> int:
        try:
            async with asyncio.timeout(SETTLE_S):
                return await history.settled()
        except TimeoutError:
            return history.end.offset

    def set_mask(self, config_vars: Mapping[str, str] | None) -> tuple[str, ...]:
        """From now on, hide the values of these config vars in everything the log says; None: hide nothing.

        What is in the history already stays as it is. Returns the names of those that are too short to be hidden.
        """
        mask = LogMask(config_vars) if config_vars is not None else None
        self._stream.mask(mask)
        return mask.too_short if mask is not None else ()

    # --- drains -----------------------------------------------------------------------------------------------------

    def start(self, records: Sequence[DrainRecord]) -> None:
        """The drains that the app has already."""
        for record in records:
            self._records.append(record)
            self._drains.start(record)

    def drains(self) -> list[DrainState]:
        """Every drain, oldest first."""
        return [DrainState(record, self._drains.health(record)) for record in self._records]

    def drain(self, ref: str) -> DrainState | None:
        """The drain of this id, token or URL."""
        return next((state for state in self.drains() if state.record.is_meant(ref)), None)

    async def add_drain(self, url: str, *, by: str, may_write_files: bool) -> DrainState:
        """A new drain, from the next line on. Raises DrainRefusedError, StoreError."""
        parsed = parse_drain_url(url)
        if parsed.kind is DrainKind.FILE and not may_write_files:
            raise DrainRefusedError("only dynod's own user, and root, may let dynod write files: ask one of them")
        if parsed.kind is DrainKind.STDOUT and self._history is None:
            raise DrainRefusedError("stdout is where dynod up writes the app's log already")
        if any(record.url.full == parsed.full for record in self._records):
            raise refuse_taken()
        refuse_one_too_many(len(self._records))
        now = datetime.now(UTC)
        record = DrainRecord(
            id=str(uuid.uuid4()),
            token=f"d.{uuid.uuid4()}",
            url=parsed,
            created_at=now,
            updated_at=now,
            begin=self._history.end if self._history is not None else Position(0, 0),
        )
        self._records.append(record)  # before anything is waited for: two requests at once are not one too many
        try:
            await self._keeper.add(record, by)
        except BaseException:
            self._records.remove(record)
            raise
        self._drains.start(record)
        self._stream.api(f"Add log drain {parsed.shown} by user {by}")
        return DrainState(record, self._drains.health(record))

    async def remove_drain(self, ref: str, *, by: str) -> DrainState | None:
        """End a drain; what it was, or None where there is none. Raises StoreError."""
        state = self.drain(ref)
        if state is None:
            return None
        await self._keeper.remove(state.record, by)
        if state.record in self._records:
            self._records.remove(state.record)
        await self._drains.remove(state.record)
        self._stream.api(f"Remove log drain {state.record.url.shown} by user {by}")
        return state

    async def test_drain(self, record: DrainRecord, *, by: str) -> Tested:
        """Send one message to the drain alone, now."""
        start = time.perf_counter()
        delivery = await self._drains.test(record, f"Test of log drain by user {by}")
        took_s = time.perf_counter() - start
        return Tested(delivery.outcome is Outcome.DELIVERED, delivery.error, took_s)

    async def close(self, timeout_s: float) -> None:
        """The app stops: tails end, and drains get so long for what they have not sent."""
        self._stream.end_tails()
        await self._drains.close(timeout_s)


def _newest_on_disk(
    reader: HistoryReader, lines: LineReader, wanted: LogFilter, count: int, end: int
) -> tuple[LogBatch, ...]:
    """Backwards, until there are enough."""
    found: list[list[LogBatch]] = []
    for data in reader.backwards(Position(end, 0)):
        batches, _unreadable = lines.batches(data)
        picked = newest(wanted.pick_all(batches), count)
        found.append(picked)
        count -= sum(batch.line_count for batch in picked)
        if count <= 0 or (wanted.since is not None and batches and batches[0].time < wanted.since - DISORDER_S):
            break
    return tuple(batch for picked in reversed(found) for batch in picked)
