"""dynod's own words for people: short text on stderr (contracts 6)."""

import contextlib
import os
import select


def say(text: str, *, fresh_line: bool = False) -> None:
    """A line; `fresh_line`: a terminal may have echoed a ^C at its beginning.

    Left out rather than waited for when nobody reads: the event loop must not stand still for it.
    """
    with contextlib.suppress(OSError):
        writable = select.poll()
        writable.register(2, select.POLLOUT)
        if writable.poll(0):
            begin = "\r" if fresh_line and os.isatty(2) else ""
            os.write(2, f"{begin}dynod: {text}\n".encode())
