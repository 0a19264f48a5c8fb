"""The keeper's own words for people, on stderr. Standard library only."""

import contextlib
import os
import select


def say(text: str) -> None:
    """A line, if whoever reads it keeps up: nothing that reads may stop the keeper."""
    with contextlib.suppress(OSError):
        room = select.poll()
        room.register(2, select.POLLOUT)
        if room.poll(0):
            os.write(2, f"dynod: {text}\n".encode())
