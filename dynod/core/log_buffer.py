"""What waits to be written to a reader that may be slow: bounded, back-pressure first, drop-oldest after a stall.

Flow: stream → text → **buffer** → writer's thread → stdout. Contracts 3: a reader that is slow slows the dynos, as in
`prog | less`; one that has taken nothing for `stall_s` costs the oldest lines, counted and announced.
Pure: the clock is passed in (monotonic seconds), receipts are opaque, writing and waiting are the writer's.

An entry's receipt says that its lines are no longer the bringer's to keep. It is due when they have been written, when
they are dropped, and at once while the reader is stalled: a dyno has one batch under way and waits for its receipt, so
it would stand still behind a batch that is small enough to be kept. In a stall, and only then, a core that is killed
takes lines with it that are in no count.

Two kinds of entry:
    patient     a dyno's output: whoever brings it stops bringing more while there is no room, so it is dropped only
                when the reader has stalled;
    impatient   router and platform lines, whose makers cannot be made to wait: beyond a reserve of their own the oldest
                of them is dropped, stalled or not.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

BUFFER_BYTES: Final = 1024 * 1024
RESERVE_BYTES: Final = 256 * 1024
STALL_S: Final = 10.0  # contracts 3
NAMES_COUNTED: Final = 1024  # beyond so many names (one-off dynos), drops are counted under OTHERS
OTHERS: Final = "*"

Receipt = Callable[[], None]  # called by the owner of the buffer, never in here


class Entry(NamedTuple):
    """Formatted whole lines of one process."""

    data: bytes
    ps: str
    receipt: Receipt | None = None
    patient: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Lines that the reader will not see: how many since when (monotonic seconds of the first one)."""

    lines: int
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """What to write next; `gap` is what was dropped between the last portion and this one."""

    entries: tuple[Entry, ...]
    gap: Gap | None


class LogBuffer:
    """Owned by one task; every method is synchronous. Memory: limit + reserve + one entry.

    `add`, `relieve`, `written` and `clear` return the receipts that are due, for the caller to give.
    """

    __slots__ = (
        "_counts",
        "_entries",
        "_gap_lines",
        "_gap_since",
        "_impatient",
        "_impatient_bytes",
        "_limit",
        "_next",
        "_out",
        "_patient_bytes",
        "_progress_at",
        "_receipts",
        "_reserve",
        "_stall_s",
    )

    def __init__(
        self, *, limit: int = BUFFER_BYTES, reserve: int = RESERVE_BYTES, stall_s: float = STALL_S, now: float
    ) -> None:
        """`stall_s` 0: patient entries are never dropped, dynos wait for as long as the reader does."""
        self._limit = limit
        self._reserve = reserve
        self._stall_s = stall_s
        # Ordered by number, so that one in the middle (the oldest impatient one) can go in constant time.
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._impatient: deque[int] = deque()
        self._next = 0
        self._patient_bytes = 0
        self._impatient_bytes = 0
        self._receipts: dict[int, Receipt] = {}  # of what waits, not yet given
        self._out: deque[dict[int, Receipt]] = deque()  # the same of each portion taken and not yet reported written
        self._progress_at = now
        self._gap_lines = 0
        self._gap_since = now
        self._counts: Counter[str] = Counter()

    @property
    def is_empty(self) -> bool:
        """Nothing waits and nothing is being written."""
        return not self._entries and not self._out

    @property
    def size(self) -> int:
        """Bytes that wait, without those being written."""
        return self._patient_bytes + self._impatient_bytes

    @property
    def dropped(self) -> Mapping[str, int]:
        """Lines dropped so far, by process name."""
        return self._counts

    def has_room(self, now: float) -> bool:
        """May more patient entries be brought? Always while stalled: then the oldest make room."""
        return self._patient_bytes < self._limit or self.is_stalled(now)

    def stall_deadline(self) -> float | None:
        """When a reader that takes nothing more until then counts as stalled."""
        if not self._out or self._stall_s == 0:
            return None
        return self._progress_at + self._stall_s

    def is_stalled(self, now: float) -> bool:
        deadline = self.stall_deadline()
        return deadline is not None and now >= deadline

    def add(self, entry: Entry, now: float) -> list[Receipt]:
        """Queue `entry`."""
        number = self._next
        self._next += 1
        self._entries[number] = entry
        if entry.receipt is not None:
            self._receipts[number] = entry.receipt
        if entry.patient:
            self._patient_bytes += len(entry.data)
        else:
            self._impatient.append(number)
            self._impatient_bytes += len(entry.data)
        due: list[Receipt] = []
        while self._impatient_bytes > self._reserve and len(self._impatient) > 1:
            oldest = self._impatient[0]
            due += self._count(*self._remove(oldest), now)
        return due + self.relieve(now)

    def give_up(self, now: float) -> None:
        """The writer knows that nothing will be taken for now: stalled at once, until something is."""
        if self._out and self._stall_s:
            self._progress_at = now - self._stall_s

    def relieve(self, now: float) -> list[Receipt]:
        """While stalled: drop the oldest until what waits is within the limit, and let nobody wait for the rest."""
        due: list[Receipt] = []
        if not self.is_stalled(now):
            return due
        while self._patient_bytes > self._limit and len(self._entries) > 1:
            due += self._count(*self._remove(), now)
        for receipts in (*self._out, self._receipts):
            due += receipts.values()
            receipts.clear()
        return due

    def take(self, max_bytes: int, now: float) -> Portion | None:
        """The oldest entries, at least one and about `max_bytes` of them, to be written now."""
        if not self._entries:
            return None
        if not self._out:
            self._progress_at = now  # a reader is not slow while nobody writes
        receipts: dict[int, Receipt] = {}
        entries: list[Entry] = []
        total = 0
        while self._entries and (not entries or total < max_bytes):
            entry, receipt = self._remove()
            entries.append(entry)
            total += len(entry.data)
            if receipt is not None:
                receipts[len(entries)] = receipt
        self._out.append(receipts)
        gap = Gap(lines=self._gap_lines, since=self._gap_since) if self._gap_lines else None
        self._gap_lines = 0
        return Portion(entries=tuple(entries), gap=gap)

    def progressed(self, at: float) -> None:
        """The reader took some bytes at `at`."""
        self._progress_at = max(self._progress_at, at)

    def written(self, at: float) -> list[Receipt]:
        """The portion that was taken first has been written whole."""
        self.progressed(at)
        return list(self._out.popleft().values())

    def clear(self) -> list[Receipt]:
        """There is no reader any more: forget what waits. Not counted as dropped."""
        due = list(self._receipts.values())
        self._entries.clear()
        self._receipts.clear()
        self._impatient.clear()
        self._patient_bytes = self._impatient_bytes = 0
        return due

    def _remove(self, number: int | None = None) -> tuple[Entry, Receipt | None]:
        """The oldest entry, or the oldest impatient one by its number, and its receipt unless that has been given."""
        if number is None:
            number, entry = self._entries.popitem(last=False)
        else:
            entry = self._entries.pop(number)
        if entry.patient:
            self._patient_bytes -= len(entry.data)
        else:
            self._impatient.popleft()  # the oldest of all is the oldest of its kind
            self._impatient_bytes -= len(entry.data)
        return entry, self._receipts.pop(number, None)

    def _count(self, entry: Entry, receipt: Receipt | None, now: float) -> list[Receipt]:
        """Book `entry` as dropped."""
        lines = entry.data.count(b"\n")
        if self._gap_lines == 0:
            self._gap_since = now
        self._gap_lines += lines
        known = entry.ps in self._counts or len(self._counts) < NAMES_COUNTED
        self._counts[entry.ps if known else OTHERS] += lines
        return [] if receipt is None else [receipt]
