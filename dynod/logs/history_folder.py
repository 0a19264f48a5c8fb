"""An app's history on disk: the segments, where the newest ends, and what becomes of the old ones.

Flow: history sink's thread → **history folder** → history reader, in threads of drains and of `dynod logs`. What
`append` has returned for survives a crash of dynod, not a loss of power (contracts 3); a line that a crash cut in two
is cut off when the folder is opened again, because its dyno's pipe still holds it.
Every method blocks and may be called from any thread. What may stay how long is `core/history_plan`'s decision.
"""

import contextlib
import gzip
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from dynod.core.history_plan import (
    MOST_S,
    SEGMENT_BYTES,
    SEGMENT_S,
    START,
    Position,
    Segment,
    bytes_allowed,
    parse_segment_name,
    plan_removal,
    segment_name,
)
from dynod.core.log_reading import STAMP_BYTES, LineReader

COMPRESS_LEVEL: Final = 3  # 7 times smaller at 90 MB/s here; 6 would be 9 times at 30 MB/s
MAKING: Final = ".making"
HEAD_BYTES: Final = 256  # enough for what stands before a message


class Extent(NamedTuple):
    """Where a segment begins and ends; `is_last`: it is being written."""

    start: Position
    end: Position
    is_last: bool


class HistoryFolder:
    """Opened by making it. One writer, `append`; any number of readers."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float],
        segment_bytes: int = SEGMENT_BYTES,
        segment_s: float = SEGMENT_S,
        most_bytes: int | None = None,
        most_s: float = MOST_S,
    ) -> None:
        """`clock` gives seconds since the epoch; `most_bytes` None: as contracts 8 has it. Raises OSError."""
        self.path = path
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._segment_s = segment_s
        self._most_bytes = most_bytes
        self._most_s = most_s
        self._lock = threading.Lock()
        self._first_at: dict[Position, float] = {}
        self._fd = -1
        self._inode = (0, 0)
        self._at_line_start = True
        self._starts: list[Position]
        self._end: Position
        self._resumable: bool  # the newest file may be appended to
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._find()

    @property
    def begin(self) -> Position:
        """The oldest line that is kept."""
        with self._lock:
            return self._starts[0] if self._starts else self._end

    @property
    def end(self) -> Position:
        """Behind the newest line that is written whole."""
        return self._end

    @property
    def segment_count(self) -> int:
        """How many files there are; it grows when the newest is finished."""
        return len(self._starts)

    def extents(self) -> list[Extent]:
        """Every segment, oldest first."""
        with self._lock:
            ends = [*self._starts[1:], self._end] if self._starts else []  # nothing was written yet
            return [
                Extent(start, end, start == self._starts[-1]) for start, end in zip(self._starts, ends, strict=True)
            ]

    def before(self, time: float) -> Position:
        """A place before every line of that time (epoch seconds) or later, and not long before."""
        found = self.begin
        for extent in self.extents():
            segment = self._segment(extent.start)
            first_at = self._first_at_of(segment) if segment is not None else None
            if first_at is not None and first_at >= time:
                break
            found = extent.start
        return found

    # --- writing ----------------------------------------------------------------------------------------------------

    def append(self, data: memoryview) -> int:
        """Write some of `data`, which ends with a whole line sooner or later; returns how much. Raises OSError."""
        with self._lock:
            if self._fd < 0 or (self._at_line_start and self._is_due()):
                self._open_segment()
            count = os.write(self._fd, data)
            written = data[:count].tobytes()
            self._written += count
            self._lines += written.count(b"\n")
            self._at_line_start = written.endswith(b"\n")
            if self._at_line_start:
                self._end = Position(self._written, self._lines)
            return count

    def close(self) -> None:
        """Let go of the file that is written; `append` opens it again."""
        with self._lock:
            self._let_go()

    def _is_due(self) -> bool:
        start = self._starts[-1]
        if self._end.offset == start.offset:
            return False
        return (
            self._end.offset - start.offset >= self._segment_bytes
            or self._clock() - self._first_at.get(start, self._clock()) >= self._segment_s
        )

    def _open_segment(self) -> None:
        """The file to write to: the newest where that may grow, or a new one."""
        resumes = self._fd < 0 and bool(self._starts) and self._resumable and not self._is_due()
        start = self._starts[-1] if resumes else self._end
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_CREAT
        fd = os.open(self.path / segment_name(start), flags, 0o600)
        self._let_go()
        self._fd = fd
        info = os.fstat(fd)
        self._inode = (info.st_dev, info.st_ino)
        if not resumes:
            if not self._starts or self._starts[-1] != start:
                self._starts.append(start)
            self._first_at[start] = self._clock()
        self._resumable = True

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # --- at the beginning -------------------------------------------------------------------------------------------

    def _find(self) -> None:
        """What an earlier core has left, made whole."""
        found: dict[Position, Segment] = {}
        for entry in sorted(os.listdir(self.path)):  # noqa: PTH208 (names are all that is wanted)
            segment = parse_segment_name(entry)
            if segment is not None:
                found[segment.start] = segment  # a compressed one sorts behind, is whole, and counts
            elif entry.endswith(MAKING):
                (self.path / entry).unlink()
        self._starts = sorted(found)
        for start, segment in found.items():
            if segment.compressed:
                (self.path / segment_name(start)).unlink(missing_ok=True)
        self._end = START
        self._resumable = False
        if self._starts:
            last = found[self._starts[-1]]
            size, lines = self._measure(last)
            self._end = Position(last.start.offset + size, last.start.line + lines)
            self._resumable = not last.compressed
        self._written, self._lines = self._end

    def _measure(self, segment: Segment) -> tuple[int, int]:
        """Bytes and lines of the newest segment, and nothing behind the last whole line."""
        path = self.path / segment.name
        if segment.compressed:
            with contextlib.suppress(OSError, EOFError), gzip.open(path) as file:
                data = file.read()
                return len(data), data.count(b"\n")
            return 0, 0
        data = path.read_bytes()
        size = data.rfind(b"\n") + 1
        if size < len(data):
            os.truncate(path, size)
        first_at = _first_at(data[:HEAD_BYTES])
        self._first_at[segment.start] = self._clock() if first_at is None else first_at
        return size, data.count(b"\n")

    # --- keeping house ----------------------------------------------------------------------------------------------

    def keep_house(self) -> None:
        """Compress what is finished and remove what is too much or too old. One call at a time. Raises OSError."""
        self._look_after_newest()
        for extent in self.extents():
            if not extent.is_last:
                self._compress(extent.start)
        self._remove()

    def _look_after_newest(self) -> None:
        """A file that somebody removed can still be written to; and a silent app's last lines grow old too."""
        with self._lock:
            if not self._starts:
                return
            start = self._starts[-1]
            if self._fd >= 0 and _inode(self.path / segment_name(start)) != self._inode:
                self._let_go()
                self._resumable = False
            first_at = self._first_at.get(start)
            if first_at is not None and self._at_line_start and self._clock() - first_at > self._most_s:
                with contextlib.suppress(OSError):
                    self._let_go()
                    self._resumable = False
                    self._open_segment()

    def _compress(self, start: Position) -> None:
        source, target = self.path / segment_name(start), self.path / segment_name(start, compressed=True)
        making = target.with_name(target.name + MAKING)
        try:
            with source.open("rb") as plain:
                fd = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                with os.fdopen(fd, "wb") as packed:
                    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=COMPRESS_LEVEL) as file:
                        shutil.copyfileobj(plain, file)
                    packed.flush()
                    os.fsync(packed.fileno())
        except FileNotFoundError:
            return  # it is compressed already
        except OSError:
            making.unlink(missing_ok=True)  # no room: it stays as it is, and may be removed for it
            return
        making.rename(target)
        source.unlink()

    def _remove(self) -> None:
        segments = [
            replace(segment, first_at=self._first_at_of(segment))
            for extent in self.extents()
            if (segment := self._segment(extent.start)) is not None
        ]
        most_bytes = self._most_bytes
        if most_bytes is None:
            most_bytes = bytes_allowed(shutil.disk_usage(self.path).total)
        for segment in plan_removal(segments, now=self._clock(), most_bytes=most_bytes, most_s=self._most_s):
            with self._lock:
                if segment.start in self._starts[:-1]:
                    self._starts.remove(segment.start)
            (self.path / segment.name).unlink(missing_ok=True)
            self._first_at.pop(segment.start, None)

    def _segment(self, start: Position) -> Segment | None:
        for compressed in (False, True):
            with contextlib.suppress(FileNotFoundError):
                size = (self.path / segment_name(start, compressed=compressed)).stat().st_size
                return Segment(start=start, compressed=compressed, size=size)
        return Segment(start=start, compressed=False)

    def _first_at_of(self, segment: Segment) -> float | None:
        known = self._first_at.get(segment.start)
        if known is None:
            path = self.path / segment.name
            with contextlib.suppress(OSError, EOFError):
                with gzip.open(path) if segment.compressed else path.open("rb") as file:
                    known = _first_at(file.read(HEAD_BYTES))
                if known is not None:
                    self._first_at[segment.start] = known
        return known


def _first_at(head: bytes) -> float | None:
    """The time of the line that begins with `head`."""
    prefix = LineReader().prefix(head.partition(b"\n")[0]) if len(head) > STAMP_BYTES else None
    return prefix.time if prefix is not None else None


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_dev, info.st_ino
