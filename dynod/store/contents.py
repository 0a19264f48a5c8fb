"""How large the entries of the state folder are, measured once somebody has to hear of it: its disk is full.

Flow: a refused write → **contents** → `core/disk_contents` (words) → StoreError. In the store's thread: it blocks.
"""

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from dynod.core.disk_contents import largest

MOST_ENTRIES: Final = 20_000  # of all that is looked at: a tenth of a second; the largest is seldom many small files
BLOCK: Final = 512  # bytes, of st_blocks
FRESH: Final = timedelta(minutes=1)  # a full disk refuses many a write, and looks the same each time


class Contents:
    """Of one folder."""

    def __init__(self, folder: Path, clock: Callable[[], datetime]) -> None:
        self._folder = folder
        self._clock = clock
        self._told = ""
        self._measured_at: datetime | None = None

    def largest(self) -> str:
        """In words, from a look that is a minute old at most. Blocks."""
        now = self._clock()
        if self._measured_at is None or not self._measured_at <= now < self._measured_at + FRESH:
            self._told = largest(sizes(self._folder))
            self._measured_at = now
        return self._told


def sizes(folder: Path, *, most_entries: int = MOST_ENTRIES) -> dict[str, int]:
    """Bytes on disk by name of everything directly in a folder; beyond `most_entries` they are too small."""
    found: dict[str, int] = {}
    waiting = [("", os.fspath(folder))]
    seen = 0
    while waiting and seen < most_entries:
        top, path = waiting.pop(0)
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    seen += 1
                    name = top or entry.name
                    info = entry.stat(follow_symlinks=False)
                    found[name] = found.get(name, 0) + info.st_blocks * BLOCK
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((name, entry.path))
        except OSError:
            continue  # removed meanwhile, or another user's: what can be seen is said
    return found
