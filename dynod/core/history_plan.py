"""What the history of an app on disk consists of, and what of it goes when it grows too large or too old.

Flow: stream → **history** → drains, `dynod logs`. The history is one endless text, cut into segments; a position in it
is a count of bytes and one of lines since the app's first line, so that what was removed unread can be counted.
Limits: contracts 8. Pure; files and clocks are the shell's.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

SEGMENT_BYTES: Final = 4 * 1024 * 1024  # uncompressed; small, as removal and slow drains go by whole ones
SEGMENT_S: Final = 86_400.0  # a quiet app's segments are cut too, or a week's limit could not be kept
MOST_BYTES: Final = 512 * 1024 * 1024  # of an app's files
MOST_SHARE: Final = 0.10  # of the file system
MOST_S: Final = 7 * 86_400.0

_NAME: Final = re.compile(r"(\d{15})-(\d{13})\.log(\.gz)?")


class Position(NamedTuple):
    """A place between two lines: what stands before it since the app's first line."""

    offset: int  # bytes
    line: int


START: Final = Position(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One file."""

    start: Position
    compressed: bool
    size: int = 0  # bytes on disk
    first_at: float | None = None  # epoch seconds of its first line

    @property
    def name(self) -> str:
        return segment_name(self.start, compressed=self.compressed)


def segment_name(start: Position, *, compressed: bool = False) -> str:
    """`000000004194304-0000000040329.log`, so that names sort as lines do."""
    return f"{start.offset:015d}-{start.line:013d}.log{'.gz' if compressed else ''}"


def parse_segment_name(name: str) -> Segment | None:
    """The segment of that name, without its size; None for another file."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    return Segment(start=Position(int(found[1]), int(found[2])), compressed=found[3] is not None)


def bytes_allowed(file_system_bytes: int) -> int:
    """How much an app's history may take."""
    return min(MOST_BYTES, int(file_system_bytes * MOST_SHARE))


def plan_removal(segments: Sequence[Segment], *, now: float, most_bytes: int, most_s: float = MOST_S) -> list[Segment]:
    """The segments that have to go, oldest first. The newest is being written, and stays."""
    total = sum(segment.size for segment in segments)
    going: list[Segment] = []
    for segment in segments[:-1]:
        too_old = segment.first_at is not None and now - segment.first_at > most_s
        if not too_old and total <= most_bytes:
            break
        going.append(segment)
        total -= segment.size
    return going
