"""Output that is kept as it came, whole commands' worth of it: that of release commands, a few files each.

Flow: stream → release output's thread → **kept output** → whoever reads it, while it grows too. Written as raw lines
into segments; of one command the newest two are kept, so that the oldest goes in large steps, as on Heroku. A disk that
takes nothing costs lines, which are counted and announced in the output itself.
Every method blocks and may be called from any thread; one command at a time is written.
"""

import contextlib
import os
import re
from pathlib import Path
from typing import Final

SEGMENT_BYTES: Final = 150_000_000  # Heroku: cut from the beginning in steps of 150 MB
SEGMENTS: Final = 2  # Heroku: 300 MB
MOST_BYTES: Final = 512_000_000  # of all commands of an app: as much as of its log (contracts 8)
_NAME: Final = re.compile(r"([0-9]+)\.([0-9]+)")


class KeptOutput:
    """A folder of outputs, each known by a number."""

    def __init__(self, path: Path, *, segment_bytes: int = SEGMENT_BYTES, most_bytes: int = MOST_BYTES) -> None:
        self._path = path
        self._segment_bytes = segment_bytes
        self._most_bytes = most_bytes
        self._lost = 0  # lines that found no room and have not been announced
        self._why = ""

    def append(self, number: int, lines: bytes) -> None:
        """Add whole lines to the output of that number."""
        try:
            notice = b""
            if self._lost:
                notice = f"[dynod: {self._lost} lines of output could not be kept: {self._why}]\n".encode()
            self._write(number, notice + lines)
            self._lost = 0
        except OSError as error:
            self._lost += lines.count(b"\n")
            self._why = error.strerror or str(error)

    def segments(self, number: int) -> list[int]:
        """What there is of it, oldest first."""
        return sorted(segment for output, segment in self._all() if output == number)

    def open(self, number: int, segment: int) -> int | None:
        """A descriptor to read a segment by, the caller's to close; None if there is none such (any more)."""
        try:
            return os.open(self._file(number, segment), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    def _write(self, number: int, data: bytes) -> None:
        segments = self.segments(number)
        newest = segments[-1] if segments else -1
        if newest < 0 or self._file(number, newest).stat().st_size >= self._segment_bytes:
            newest += 1
            self._make_room(number, newest)
        descriptor = os.open(self._file(number, newest), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)

    def _make_room(self, number: int, segment: int) -> None:
        """Before a new segment: the older ones of this output, then the outputs of the oldest numbers."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in self.segments(number):
            if old <= segment - SEGMENTS:
                self._file(number, old).unlink(missing_ok=True)
        sizes = {each: self._size(*each) for each in self._all()}
        for each in sorted(sizes):
            if each[0] == number or sum(sizes.values()) <= self._most_bytes:
                break
            self._file(*each).unlink(missing_ok=True)
            del sizes[each]

    def _all(self) -> list[tuple[int, int]]:
        with contextlib.suppress(FileNotFoundError):
            matches = [_NAME.fullmatch(entry.name) for entry in self._path.iterdir()]
            return [(int(match[1]), int(match[2])) for match in matches if match is not None]
        return []

    def _size(self, number: int, segment: int) -> int:
        with contextlib.suppress(FileNotFoundError):
            return self._file(number, segment).stat().st_size
        return 0

    def _file(self, number: int, segment: int) -> Path:
        return self._path / f"{number}.{segment}"
