"""How much dynod and its dynos may take of the system (setrlimit(2)): descriptors, and dumps of memory at a crash.

Flow: keeper → **limits** → fork. The core inherits the keeper's own; dynos get theirs at their exec. Standard library
only. What a dyno may take of memory and CPU is not decided here. What is not named here, such as memory that is locked
and queues of messages and signals, is as whoever started dynod has it: bounded by the kernel for a user, as a service
manager leaves it.
"""

import contextlib
import resource
import sys
from typing import NamedTuple

OPEN_MAX = 10_240  # the most descriptors that macOS gives where its limit says "unlimited"

# Linux: no file is written below a page, and with exactly 1 no program of kernel.core_pattern is run either; such a
# program is not held by 0, and systemd's puts environments into the journal (core(5); fs/coredump.c, "RLIMIT_CORE is
# set to 1").
NO_DUMP = 1 if sys.platform == "linux" else 0


PROCESSES = "user_processes"  # of an instance's limits: of its user, whose processes and threads are counted together


class Limits(NamedTuple):
    """Of a dyno, each soft and hard."""

    nofile: tuple[int, int]
    core: tuple[int, int]

    def apply(self) -> None:
        """To this process. Raises OSError, ValueError."""
        resource.setrlimit(resource.RLIMIT_NOFILE, self.nofile)
        resource.setrlimit(resource.RLIMIT_CORE, self.core)


def limit_processes(most: int) -> None:
    """Of the user that this process is about to be; never more than there were, which only who may could raise.

    Raises OSError.
    """
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def of_dynos(*, may_dump: bool) -> Limits:
    """As whoever started dynod has them. `may_dump`: a crash of theirs too writes what that caller has asked for."""
    core = resource.getrlimit(resource.RLIMIT_CORE)
    if not may_dump:
        none = NO_DUMP if core[1] == resource.RLIM_INFINITY else min(NO_DUMP, core[1])
        core = (none, none)
    return Limits(nofile=resource.getrlimit(resource.RLIMIT_NOFILE), core=core)


def take_own(dynos: Limits) -> int:
    """As many descriptors for dynod as there may be, and no dump of it: it holds every app's secrets.

    Returns how many descriptors that is. To be called once `of_dynos` was.
    """
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    for none in (NO_DUMP, 0):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CORE, (none, hard))  # hard stays: dynos may be given theirs back
            break
    for wanted in (dynos.nofile[1], OPEN_MAX):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, dynos.nofile[1]))
            break
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return soft if soft != resource.RLIM_INFINITY else sys.maxsize
