"""Reads an app's history from a place on: for drains, which go on where they were, and for `dynod logs`.

Flow: history folder → **history reader** → drain, log session. Whole lines only, in order, and a count of those that
are gone: removed before they were read, or lost with a disk's power. Every method blocks; one reader is for one thread
at a time. Knows no lines but by their ends.
"""

import gzip
import os
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from dynod.core.history_plan import Position, segment_name
from dynod.logs.history_folder import Extent, HistoryFolder

LONGEST_LINE: Final = 16 * 1024  # more than log_frame.LINE_LIMIT and what stands before it
BACKWARD_BYTES: Final = 256 * 1024


class Piece(NamedTuple):
    """Whole lines. `lost` lines stood before them and are gone; `end` is behind them."""

    data: bytes
    lost: int
    end: Position


class HistoryReader:
    """`read` until it gives nothing; `close` at the end."""

    def __init__(self, folder: HistoryFolder, position: Position) -> None:
        self._folder = folder
        self.position = position
        self._fd = -1
        self._packed: gzip.GzipFile | None = None
        self._open_start: Position | None = None
        self._kept = b""  # the newest that was unpacked
        self._lost = 0  # lines found to be gone, and in no piece yet

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._packed is not None:
            self._packed.close()
            self._packed = None
            self._kept = b""
        self._open_start = None

    def go_to(self, position: Position) -> None:
        """Read on from there."""
        self.position = position

    def read(self, max_bytes: int, *, until: int | None = None) -> Piece:
        """The next whole lines, at most about `max_bytes`, or up to the offset `until`, where a line ends; none at the
        end. Raises OSError.
        """
        max_bytes = max(max_bytes, LONGEST_LINE)
        while True:
            at = self.position
            if at.offset > self._folder.end.offset:  # somebody emptied the folder, and the history began anew
                at = self.position = self._folder.begin
            extent = self._extent(at)
            if extent is None:
                return self._piece(b"", at)
            if at.offset < extent.start.offset:  # removed before it was read
                self._lost += max(extent.start.line - at.line, 0)
                self.position = extent.start
                continue
            want = min(max_bytes, extent.end.offset - at.offset)
            if until is not None and until > at.offset:
                want = min(want, until - at.offset)
            data = self._look(extent.start, at.offset - extent.start.offset, want) if want > 0 else b""
            data = data[: data.rfind(b"\n") + 1]
            if data:
                self.position = Position(at.offset + len(data), at.line + data.count(b"\n"))
                return self._piece(data, self.position)
            if extent.is_last and want <= 0:
                return self._piece(b"", at)
            # The end of a segment, or its rest is damaged.
            self._lost += max(extent.end.line - at.line, 0)
            self.position = extent.end

    def _piece(self, data: bytes, end: Position) -> Piece:
        lost, self._lost = self._lost, 0
        return Piece(data, lost, end)

    def line_at(self, offset: int) -> Position:
        """The first place at `offset` or behind it where a line begins. Raises OSError."""
        before = None
        for extent in self._folder.extents():
            if offset <= extent.start.offset:
                return extent.start
            if offset < extent.end.offset:
                before = extent
        if before is None:
            return self._folder.end
        self.position = before.start
        while self.position.offset < offset:
            piece = self.read(min(BACKWARD_BYTES, offset - self.position.offset))
            if not piece.data:
                break
        return self.position

    def backwards(self, end: Position) -> Iterator[bytes]:
        """All whole lines before `end`, a piece at a time, the newest piece first. Raises OSError."""
        for extent in reversed(self._folder.extents()):
            size = min(extent.end.offset, end.offset) - extent.start.offset
            if size <= 0:
                continue
            data = self._look(extent.start, 0, size)
            high = data.rfind(b"\n") + 1
            while high > 0:
                low = data.rfind(b"\n", 0, high - BACKWARD_BYTES) + 1 if high > BACKWARD_BYTES else 0
                yield data[low:high]
                high = low

    def _extent(self, at: Position) -> Extent | None:
        """The segment that `at` is in, or the next one there is."""
        last = None
        for extent in self._folder.extents():
            last = extent
            if at.offset < extent.end.offset:
                return extent
        return last

    def _look(self, start: Position, offset: int, count: int) -> bytes:
        """Bytes of a segment; fewer where it is damaged, none where it has just been removed."""
        for _attempt in (1, 2):  # it may be compressed, or removed, between two steps of ours
            if self._open_start != start:
                self._open(start)
            try:
                if self._fd >= 0:
                    return os.pread(self._fd, count, offset)
                if self._packed is not None:
                    return self._unpack(self._packed, offset, count)
            except (EOFError, zlib.error, gzip.BadGzipFile):
                self.close()
                return b""
        return b""

    def _unpack(self, packed: gzip.GzipFile, offset: int, count: int) -> bytes:
        """As pread, but that going back means to unpack all from the beginning. What is read on mostly begins a little
        before the end of what was read last, where its last whole line ended: that much is kept.
        """
        before, self._kept = self._kept, b""
        begin = packed.tell() - len(before)
        if begin <= offset <= packed.tell():
            data = before[offset - begin :]
        else:
            packed.seek(offset)
            data = b""
        if len(data) < count:
            data += packed.read(count - len(data))
        self._kept = data
        return data[:count]

    def _open(self, start: Position) -> None:
        self.close()
        try:
            self._fd = os.open(self._folder.path / segment_name(start), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            try:
                self._packed = gzip.open(self._folder.path / segment_name(start, compressed=True))  # noqa: SIM115
            except FileNotFoundError:
                return
        self._open_start = start
