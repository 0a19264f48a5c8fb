"""Which processes belong to an instance, and signalling all of them.

A dyno's main process leads a session and a process group of its own; most descendants stay in them.
Those that leave (setsid, double forks) are found by parentage, and once orphaned, by the marks in their environment:
`DYNO` and `PORT` together name one living instance.
Used by the keeper, and by a core whose keeper was killed.
"""

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from dynod.keeper.features import Features


class Process(NamedTuple):
    """What the process table says of one process."""

    pid: int
    parent: int
    group: int
    session: int


class Owner(NamedTuple):
    """What is known of an instance: its main process, and what its environment is marked with."""

    pid: int
    marks: tuple[bytes, ...]
    reaped: bool = False  # the status of the main process was taken: from then on its number may be another's


def table(features: Features) -> dict[int, Process]:
    """Every living process that this user may see; zombies are left out."""
    return _from_proc() if features.proc else _from_ps()


def members(
    owners: Mapping[str, Owner], processes: Mapping[int, Process], *, adopter: int | None, features: Features
) -> dict[str, list[int]]:
    """The living processes of each instance, by instance id.

    `adopter` is the process that orphans fall to (the keeper's pid); None when it is dead and they may be anywhere.
    A process that nothing ties to an instance but its marks is looked for only among those orphans.
    """
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    by_session: dict[int, list[int]] = {}
    for process in processes.values():
        for leader in {process.session, process.group}:
            by_session.setdefault(leader, []).append(process.pid)
    mains = {owner.pid for owner in owners.values() if not owner.reaped}
    found: dict[str, set[int]] = {}
    for instance, owner in owners.items():
        own: set[int] = set()
        # A number is given to a new process only when no session or group has it any more: if somebody has the number
        # of a process that was reaped, then session and group of that number are somebody's too.
        if not (owner.reaped and owner.pid in processes):
            own.update(by_session.get(owner.pid, ()))
            if owner.pid in processes:
                own.add(owner.pid)
        found[instance] = _with_descendants(own, children)
    taken = set().union(*found.values()) if found else set()
    suspects = children.get(adopter, []) if adopter is not None else list(processes)
    for pid in suspects:
        if pid in taken or pid in mains or not features.proc:
            continue
        if environment := _environment(pid):
            for instance, owner in owners.items():
                if owner.marks and environment.issuperset(owner.marks):
                    found[instance].update(_with_descendants({pid}, children))
    return {instance: sorted(pids) for instance, pids in found.items()}


def someone_changes(adopter: int | None, features: Features) -> bool:
    """Whether an orphan cannot be told whose it is just now: while it execs or ends, a process has no environment."""
    if adopter is None or not features.proc:
        return False
    return any(process.parent == adopter and not _environment(process.pid) for process in table(features).values())


def send(pids: Iterable[int], number: int, *, leader: int) -> int:
    """Signal the group led by `leader` at once, then each process outside it; returns how many there were.

    SIGCONT follows any signal but SIGKILL: a stopped process cannot act on one (as systemd does).
    """
    everyone = list(pids)
    numbers = (number,) if number == signal.SIGKILL else (number, signal.SIGCONT)
    for each in numbers:
        grouped = set()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            grouped = {pid for pid in everyone if _group(pid) == leader}
            if grouped:
                os.killpg(leader, each)
        for pid in everyone:
            if pid not in grouped:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, each)
    return len(everyone)


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _with_descendants(pids: set[int], children: Mapping[int, list[int]]) -> set[int]:
    found, todo = set(pids), list(pids)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found


def _from_proc() -> dict[int, Process]:
    processes = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 (pathlib is heavy here)
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:  # noqa: PTH123 (pathlib is heavy here)
                stat = file.read()
        except OSError:
            continue  # it ended meanwhile
        # proc(5): pid (comm) state ppid pgrp session …; comm may hold anything, blanks and parentheses included
        fields = stat[stat.rindex(b")") + 2 :].split(None, 4)
        if fields[0] not in {b"Z", b"X"}:
            pid = int(entry)
            processes[pid] = Process(pid, int(fields[1]), int(fields[2]), int(fields[3]))
    return processes


def _from_ps() -> dict[int, Process]:
    """POSIX: `ps` knows parents and groups. Sessions are not portable; a group stands for them."""
    import subprocess  # noqa: PLC0415 (0.6 MB of the keeper's 14, and Linux never needs it)

    with subprocess.Popen(
        ["ps", "-A", "-o", "pid=,ppid=,pgid=,stat="],  # noqa: S607 (PATH is the administrator's)
        stdout=subprocess.PIPE,
    ) as ps:
        assert ps.stdout is not None  # noqa: S101 (PIPE was asked for)
        output = ps.stdout.read()
    processes = {}
    for line in output.splitlines():
        pid, parent, group, state = line.split(None, 3)
        if not state.startswith(b"Z") and int(pid) != ps.pid:
            processes[int(pid)] = Process(int(pid), int(parent), int(group), int(group))
    return processes


def _environment(pid: int) -> frozenset[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 (pathlib is heavy here)
            return frozenset(file.read().split(b"\0"))
    except OSError:
        return frozenset()  # ended, or another user's
