"""Whether a disk fills by more than the files that dynos have there: what is open and has no name counts nowhere. Pure.

To look for such files means to look at every descriptor of every dyno, so that is done where room is missing alone.
Others fill the disk too; then a look is in vain, and the next one is due when as much has gone again.
"""

from typing import Final

STEP_SHARE: Final = 0.5  # of what a dyno may write: so far beyond its limit it gets unseen, in all looks together


class HiddenWrites:
    """Of the dynos of one app. Owned by one task."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes that a dyno may write."""
        self._step = int(limit * STEP_SHARE)
        self._most: int | None = None

    def may_be(self, free: int, counted: int) -> bool:
        """Given the bytes that are free and those of files with names: whether it is time to look for others."""
        room = free + counted  # as if nothing of theirs were there
        if self._most is None or room > self._most:
            self._most = room
        if room > self._most - self._step:
            return False
        self._most = room
        return True
