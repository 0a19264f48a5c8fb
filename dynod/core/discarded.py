"""What a dyno writes and loses with its end: named in one line, as uploads that vanish are the classic surprise.

Heroku: "Ephemeral filesystem"; it says nothing there, and people find out. Pure.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

from dynod.core.dyno_sizes import MB

# What programs write beside their code by themselves, and again when it is gone: nobody misses it.
_OF_NO_MATTER = ("__pycache__", ".pyc", ".bash_history", ".python_history", ".node_repl_history", ".irb_history")


class Written(NamedTuple):
    """A file: its path below /app, and the bytes that it takes on disk."""

    path: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Discarded:
    """Files that went with a dyno: how many, bytes, and some of their names."""

    files: int = 0
    size: int = 0
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, written: Iterable[Written], *, names: int) -> Self:
        """Those of any matter, the first by name of them named."""
        kept = [each for each in written if not any(name in each.path for name in _OF_NO_MATTER)]
        return cls(
            files=len(kept),
            size=sum(each.size for each in kept),
            names=tuple(heapq.nsmallest(names, (each.path for each in kept))),
        )

    @property
    def line(self) -> str | None:
        """For the log; None where nothing is lost."""
        if not self.files:
            return None
        many = "1 file" if self.files == 1 else f"{self.files} files"
        more = ", …" if self.files > len(self.names) else ""
        return f"{many} ({_size(self.size)}) discarded: {', '.join(map(_printable, self.names))}{more}"


def excess_line(written: int, limit: int) -> str | None:
    """For the log, where a dyno has written more bytes than it may; the count may have ended at the limit."""
    if written <= limit:
        return None
    return f"Error (Disk limit exceeded): wrote {written // MB} MB, limit {limit // MB} MB"


def _size(amount: int) -> str:
    if amount >= MB:
        return f"{amount / MB:.0f} MB"
    return f"{max(1, round(amount / 1024))} KB"


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)[1:-1]
