"""Which processes belong to an instance, and signalling all of them.

A dyno's main process leads a session and a process group of its own; most descendants stay in them.
Those that leave (setsid, double forks) are found by parentage, and once orphaned, by the marks in their environment:
`DYNO` and `PORT` together name one living instance.
Used by the keeper, and by a core whose keeper was killed.
Where there is no /proc, ps(1) is asked, which shows environments too, though no POSIX says how: on macOS those of this
user's processes, less those of programs that System Integrity Protection guards.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from dynod.keeper.features import Features, become, may_change_users


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


class Found(NamedTuple):
    """Who belongs to whom, by instance id."""

    members: dict[str, list[int]]
    of_all: bool  # False: the machine has no process to spare for ps, and only main processes and groups are known


def find(owners: Mapping[str, Owner], *, keeper: int, features: Features) -> Found:
    """Look once, as `members` does.

    Where nobody can look, a main process stands for its group: its number is negative then, as for kill(2).
    """
    try:
        return Found(members(owners, table(features), keeper=keeper, features=features), of_all=True)
    except OSError:
        return Found({id_: [-owner.pid] if _has_group(owner) else [] for id_, owner in owners.items()}, of_all=False)


def _has_group(owner: Owner) -> bool:
    """Whether there is a group that can only be this owner's."""
    if not owner.reaped:
        return owner.pid > 1
    return _group(owner.pid) is None and _is_there(-owner.pid)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def table(features: Features) -> dict[int, Process]:
    """Every living process that this user may see; zombies are left out."""
    return _from_proc() if features.proc else _from_ps()


def members(
    owners: Mapping[str, Owner], processes: Mapping[int, Process], *, keeper: int, features: Features
) -> dict[str, list[int]]:
    """The living processes of each instance, by instance id.

    `keeper` is their keeper's pid or, where that was killed, of whoever its children have fallen to. A process that
    nothing ties to an instance but its marks is looked for only among what may be an orphan of the keeper's.
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
        # Groups 0 and 1 are the system's own: whoever had one of them for its dyno would end everything.
        if owner.pid > 1 and not (owner.reaped and owner.pid in processes):
            own.update(by_session.get(owner.pid, ()))
            if owner.pid in processes:
                own.add(owner.pid)
        found[instance] = _with_descendants(own, children)
    if marks := {mark for owner in owners.values() for mark in owner.marks}:
        known = mains.union(*found.values())
        suspects = [pid for pid in _orphans(processes, children, keeper, features) if pid not in known]
        for pid, environment in _environments(suspects, marks, features, is_keeper=keeper == os.getpid()):
            for instance, owner in owners.items():
                if owner.marks and environment.issuperset(owner.marks):
                    found[instance].update(_with_descendants({pid}, children))
    return {instance: sorted(pids) for instance, pids in found.items()}


def someone_changes(keeper: int, features: Features) -> bool:
    """Whether an orphan cannot be told whose it is just now: while it execs or ends, a process has no environment.

    Only a subreaper can say so; elsewhere too many have none that may be read. Nor may another user's be, always.
    """
    if not (features.subreaper and features.proc):
        return False
    children = [process.pid for process in table(features).values() if process.parent == keeper]
    return any(not _environment(pid) and not _is_hidden(pid) for pid in children)


def freeze(leader: int) -> None:
    """Stop the group of a main process that has not been waited for; `send` has it go on."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGSTOP)


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


def send_past(watcher: int, pids: Iterable[int], number: int) -> int:
    """Signal every process but those of the session that `watcher` leads: it and a container's first process.

    A container that is still being made has no others. Nobody in it could hear anything: it ends. Returns how many
    processes there were.
    """
    everyone = list(pids)
    inside = {group for pid in everyone if (group := _group(pid)) not in {None, watcher}}
    if not inside:
        for pid in everyone:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number if pid == watcher else signal.SIGKILL)
    for each in (number,) if number == signal.SIGKILL else (number, signal.SIGCONT):
        for group in inside:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, each)
    return len(everyone)


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _orphans(
    processes: Mapping[int, Process], children: Mapping[int, Sequence[int]], keeper: int, features: Features
) -> list[int]:
    """Everything that may have lost its parents below the keeper.

    It has fallen to the keeper, if that is the subreaper, else to one that it descends from, at last to the first
    process; never to the keeper of other dynos beside it, whose own have these very marks where they run the same app.
    """
    if features.subreaper:
        return list(children.get(keeper, ()))
    adopters = [1]
    pid = keeper
    while pid in processes and pid not in adopters:
        adopters.append(pid)
        pid = processes[pid].parent
    return [pid for adopter in adopters for pid in children.get(adopter, ()) if pid not in {*adopters, os.getpid()}]


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
    """POSIX: `ps` knows parents and groups. Sessions are not portable; a group stands for them.

    On Linux, where tests switch /proc off, ps reads it all the same: it stands for the ps of other systems.
    """
    own, lines = _ps("-A", "-o", "pid=,ppid=,pgid=,stat=")
    processes = {}
    for line in lines:
        pid, parent, group, state = line.split(None, 3)
        if not state.startswith(b"Z") and int(pid) != own:
            processes[int(pid)] = Process(int(pid), int(parent), int(group), int(group))
    return processes


def _environments(
    pids: Sequence[int], marks: AbstractSet[bytes], features: Features, *, is_keeper: bool
) -> Iterable[tuple[int, frozenset[bytes]]]:
    """Of those of the processes that may have some of these marks. The keeper can ask as another user too: it forks."""
    if features.proc:
        return [(pid, _read_as_its_user(pid) if is_keeper and _is_hidden(pid) else _environment(pid)) for pid in pids]
    # The environment follows the arguments, all in one line: a mark has no blanks. "e" is BSD's, and procps's; macOS
    # took that letter for POSIX's "everyone".
    shown = _words("-E" if sys.platform == "darwin" else "e", pids)
    marked = {pid: words for pid, words in shown.items() if not marks.isdisjoint(words)}
    arguments = _words("-ww", list(marked))  # a mark among these is none
    return [(pid, words - arguments[pid]) for pid, words in marked.items() if pid in arguments]


def _words(option: str, pids: Sequence[int]) -> dict[int, frozenset[bytes]]:
    if not pids:
        return {}
    _, lines = _ps(option, "-ww", "-o", "pid=,args=", "-p", ",".join(map(str, pids)))
    split = (line.split() for line in lines)
    return {int(first): frozenset(rest) for first, *rest in filter(None, split) if first.isdigit()}


def _ps(*arguments: str) -> tuple[int, list[bytes]]:
    """Its own pid, and the lines that it has written."""
    import subprocess  # noqa: PLC0415 (0.6 MB of the keeper's 14, and Linux never needs it)

    command = ["ps", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as ps:  # noqa: S603 (PATH is the administrator's)
        assert ps.stdout is not None  # noqa: S101 (PIPE was asked for)
        return ps.pid, ps.stdout.read().splitlines()


def _is_hidden(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb"):  # noqa: PTH123 (pathlib is heavy here)
            return False
    except PermissionError:
        return True
    except OSError:
        return False


def _read_as_its_user(pid: int) -> frozenset[bytes]:
    """The environment of a process that not even root may look into without CAP_SYS_PTRACE, by one that is its user.

    For the keeper, which has one thread and nobody else that waits for children. Nothing where that cannot be.
    """
    fds: list[int] = []
    try:
        if not may_change_users():
            return frozenset()
        owner = os.stat(f"/proc/{pid}")  # noqa: PTH116 (pathlib is heavy here)
        fds += os.pipe()
        child = os.fork()
    except OSError:  # it ended meanwhile, or there is no room for another: there is a next look
        for fd in fds:
            os.close(fd)
        return frozenset()
    reading, writing = fds
    if child == 0:
        with contextlib.suppress(BaseException):
            signal.set_wakeup_fd(-1)
            become(owner.st_uid, owner.st_gid)
            with open(f"/proc/{pid}/environ", "rb") as file, open(writing, "wb") as answer:  # noqa: PTH123 (as above)
                answer.write(file.read())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:  # noqa: PTH123 (of a descriptor)
        found = answer.read()
    os.waitpid(child, 0)
    return frozenset(found.split(b"\0")) if found else frozenset()


def _environment(pid: int) -> frozenset[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 (pathlib is heavy here)
            return frozenset(file.read().split(b"\0"))
    except OSError:
        return frozenset()  # ended, or another user's


def signal_one(pid: int, number: int) -> bool:
    """False when this user may not signal it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return True
