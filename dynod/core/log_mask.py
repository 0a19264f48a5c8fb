"""Hides given values, such as those of config vars, in what dynos write. Opt-in: it costs time, and a value that is a
common word would spoil the log.

Flow: pump, routing, supervisor → **mask** → stream. Exact matches within a line; a value that is encoded, split over
lines or cut at the line limit is not found, so this is a safety net and no promise. Pure.
"""

import re
from collections.abc import Mapping
from typing import Final

HIDDEN: Final = b"[FILTERED]"
SHORTEST: Final = 6  # bytes: "true" and "5432" are no secrets, and would be everywhere


class LogMask:
    """Made anew when the values change."""

    __slots__ = ("_pattern", "too_short")

    def __init__(self, config_vars: Mapping[str, str]) -> None:
        """Values, and lines of values, that are shorter than SHORTEST are left alone."""
        wanted = set()
        too_short = []
        for name, value in config_vars.items():
            # A line is all that is ever looked at: of a key in several lines, each one is hidden.
            parts = value.replace("\r\n", "\n").split("\n")
            lines = {part.encode("utf-8", "surrogateescape") for part in parts if part}
            long_enough = {line for line in lines if len(line) >= SHORTEST}
            wanted |= long_enough
            if lines and not long_enough:
                too_short.append(name)
        self.too_short: tuple[str, ...] = tuple(too_short)  # the names of those of which nothing is hidden
        found = sorted(wanted, key=lambda value: (-len(value), value))  # the longest first: it wins
        self._pattern = re.compile(b"|".join(map(re.escape, found))) if found else None

    def hide(self, text: bytes) -> bytes:
        """The text with HIDDEN in place of each value."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)
