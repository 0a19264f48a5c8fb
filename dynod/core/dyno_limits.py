"""What the kernel holds dynos to: each by its size, and all together, so that a leak ends a dyno and not the machine.

A size's quota (R14) is where Heroku begins to swap; the limit is where R15 ends a dyno there. Pure.
"""

from collections.abc import Mapping
from typing import Final

from dynod.core.dyno_sizes import MB, DynoSize
from dynod.core.ports import FIRST_PORT, LAST_PORT

LEAST_LEFT: Final = 512 * MB  # of the machine's memory, to everything that is no dyno
SHARE_LEFT: Final = 0.2
# Of a limit: from there on the kernel takes memory back first, and has whoever wants more wait, ever longer. At 0.95 a
# dyno that leaked up to 1 GB hung for 15 s before it was killed, at 0.98 for 6 s (in a guest: test_cgroup_v2).
HIGH_SHARE: Final = 0.99
EVERYBODYS_WEIGHT: Final = 100  # of CPU; the most is 10000 (cgroup v2, cpu.weight)
MOST_WEIGHT: Final = 10_000
SHARED_PROCESSORS: Final = 4  # Heroku: "1x-4x" for each share of a size that is not dedicated
PROCESSES_UNSIZED: Final = 16_384  # and threads: nothing that an app does, and less than a machine can take
SHARED_BY: Final = 16  # dynos at their limit fit into their app's, where the kernel counts by user alone


def limits_of(size: DynoSize, *, counted: bool = True) -> dict[str, int]:
    """By the names of the keeper's `controllers` and `limits`. More than all may have is held by the limit of all.

    `counted`: control groups count the processes of each dyno. Else the kernel counts those of a user, which all dynos
    of an app are.
    """
    processes = size.processes or PROCESSES_UNSIZED
    limits = {
        "processes": processes,
        "cpu_weight": min(EVERYBODYS_WEIGHT * size.cpu_share, MOST_WEIGHT),
    }
    if not counted:
        limits["user_processes"] = max(processes, min(processes * SHARED_BY, PROCESSES_UNSIZED))
    if size.memory is not None:
        limits["memory"] = int(size.memory * size.kill_share)
        limits["memory_high"] = int(limits["memory"] * HIGH_SHARE)
        if not size.dedicated:
            limits["cpu_percent"] = 100 * SHARED_PROCESSORS * size.cpu_share
    return limits


def limits_of_all(memory: int, *, most_mb: int = 0) -> dict[str, int]:
    """Of all dynos together, on a machine with so many bytes of memory; `most_mb`: what was asked for, or 0."""
    least = min(LEAST_LEFT, int(memory * (1 - SHARE_LEFT)))  # in a small container dynod's own part is small, too
    return {"memory": most_mb * MB or max(least, memory - max(LEAST_LEFT, int(memory * SHARE_LEFT)))}


def port_limits(own: int | None) -> dict[str, int]:
    """Beside those of a size: of the ports that dynos are given it binds its own, if it has one."""
    return {"port": own or 0, "ports_from": FIRST_PORT, "ports_to": LAST_PORT}


def limit_lacks(controllers: Mapping[str, str], *, own_users: bool = False, apart: bool = False) -> list[str]:
    """What cannot be kept, in a sentence each; `controllers`: those that there are.

    `own_users`: apps are users. `apart`: dynos are kept apart, and so are to be their ports.
    """
    words = {"memory": "memory", "pids": "how many processes they have", "cpu": "CPU"}
    missing = [word for name, word in words.items() if name not in controllers]
    lacks = []
    if apart and "ports" not in controllers:
        lacks.append("dynos can take the ports of others that do not listen: to refuse that takes root and cgroup 2")
    if not missing:
        return lacks
    but = ", but processes of an app by its user" if own_users and "pids" not in controllers else ""
    return [f"the kernel does not limit dynos in {', '.join(missing)}: no control groups for that here{but}", *lacks]
