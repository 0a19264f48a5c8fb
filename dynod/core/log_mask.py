"""Hides given values, such as those of config vars, in what dynos write. Opt-in: it costs time, and a value that is a
common word would spoil the log.

Flow: dyno's pipe → frame → **mask** → stream. Exact matches within a line; a value that is encoded, split over lines or
cut at the line limit is not found, so this is a safety net and no promise. Pure.
"""

import re
from collections.abc import Iterable
from typing import Final

HIDDEN: Final = b"[FILTERED]"
SHORTEST: Final = 6  # bytes: "true" and "5432" are no secrets, and would be everywhere


class LogMask:
    """Made anew when the values change."""

    __slots__ = ("_pattern",)

    def __init__(self, values: Iterable[str]) -> None:
        """Values, and lines of values, that are shorter than SHORTEST are left alone."""
        wanted = set()
        for value in values:
            # A line is all that is ever looked at: of a key in several lines, each one is hidden.
            wanted |= {part.encode("utf-8", "surrogateescape") for part in value.splitlines()}
        found = sorted((value for value in wanted if len(value) >= SHORTEST), key=lambda value: (-len(value), value))
        self._pattern = re.compile(b"|".join(map(re.escape, found))) if found else None  # the longest first: it wins

    def hide(self, text: bytes) -> bytes:
        """The text with HIDDEN in place of each value."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)
