"""Descriptors that systemd hands to the keeper at its start (sd_listen_fds(3)): a socket unit's, and kept ones.

Kept are those that an earlier keeper gave away by `Notifier.keep`; both come the same way, told apart by their names.
"""

import os
from collections.abc import MutableMapping
from typing import Final

FIRST_FD: Final = 3  # SD_LISTEN_FDS_START
UNNAMED: Final = "unknown"  # what systemd calls those of a unit without FileDescriptorName=


def take_over(environ: MutableMapping[str, str]) -> dict[str, list[int]]:
    """By name, in their order; nothing where they are meant for another process. The variables leave `environ`."""
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "")
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    named = names.split(":") if names else []
    given: dict[str, list[int]] = {}
    for index in range(int(count)):
        fd = FIRST_FD + index
        os.set_inheritable(fd, False)
        given.setdefault(named[index] if index < len(named) else UNNAMED, []).append(fd)
    return given
