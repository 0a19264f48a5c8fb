"""dynod's own words for people: short text on stderr (contracts 6)."""

import contextlib
import os
import select


def say(text: str) -> None:
    """A line, left out rather than waited for when nobody reads: the event loop must not stand still for it."""
    with contextlib.suppress(OSError):
        writable = select.poll()
        writable.register(2, select.POLLOUT)
        if writable.poll(0):
            os.write(2, f"dynod: {text}\n".encode())
