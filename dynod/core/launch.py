"""Whose fault it is that a dyno could not be launched, and how long that is tried: Heroku's R99.

A program that is not there is the app's fault, and a crash. A process table that is full, a folder whose file system
hangs or a port range that is used up are the platform's: such a launch is tried again until Heroku's ten seconds are
over, because most of what is short is short for a moment. Pure.
"""

import errno
import math
from typing import Final

LAUNCH_TIMEOUT_S: Final = 10.0  # heroku-semantics 3.5, observed in 2013
FIRST_PAUSE_S: Final = 0.5  # before the second try; each later one is twice as long
R99: Final = f"Error R99 (Platform error) -> Failed to launch the dyno within {LAUNCH_TIMEOUT_S:.0f} seconds"

COMMAND_NOT_FOUND: Final = 127  # as a shell says it
COMMAND_NOT_EXECUTABLE: Final = 126

# Steps that are about the app's own words, its program and its folder; every other step is the platform's own.
_OF_THE_APP: Final = frozenset({"exec", "chdir"})
# And what those steps say where it is not the words that are wrong.
_SHORTAGES: Final = frozenset(
    {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV}
)


def is_platform_fault(number: int, during: str) -> bool:
    """Of the step that the operating system refused with this errno."""
    return during not in _OF_THE_APP or number in _SHORTAGES


def next_try_s(number: int, during: str, *, tries: int, elapsed_s: float) -> float | None:
    """After how long to try again, `tries` having failed in so many seconds; None: that was the last one.

    The very last is made when the time is up.
    """
    if elapsed_s >= LAUNCH_TIMEOUT_S or not is_platform_fault(number, during):
        return None
    return min(math.ldexp(FIRST_PAUSE_S, tries - 1), LAUNCH_TIMEOUT_S - elapsed_s)


def refused_status(number: int) -> int:
    """The exit status that a shell would give."""
    return COMMAND_NOT_FOUND if number in {errno.ENOENT, errno.ENOTDIR} else COMMAND_NOT_EXECUTABLE
