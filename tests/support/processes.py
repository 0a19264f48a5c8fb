"""Every process that a test caused, however far it has run: found by a mark in its environment, through /proc.

Sessions, process groups and parents can all be left behind by a daemon; the environment it was started with cannot,
short of an exec with another one.
"""

import contextlib
import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

MARK = "UP_TEST_MARK"  # no DYNOD_* name: those are kept from dynos


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process as /proc showed it. `dyno` is its DYNO variable, empty where it has none."""

    pid: int
    parent: int
    state: str
    command: tuple[str, ...]
    dyno: str

    def __str__(self) -> str:
        return f"{self.pid} (parent {self.parent}, {self.state}) {self.dyno or '-'}: {' '.join(self.command)}"


def marked(mark: str) -> list[Process]:
    """All living processes whose environment holds the mark, by pid. Zombies have no environment left to hold it."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            environment = (entry / "environ").read_bytes().split(b"\0")
            if wanted in environment:
                found.append(_describe(entry, environment))
    return sorted(found, key=lambda process: process.pid)


def zombies_of(pid: int) -> list[int]:
    """Children of `pid` that have ended and were not waited for."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                state, parent = _state_and_parent(entry)
                if parent == pid and state == "Z":
                    found.append(int(entry.name))
    return found


def wait_until_gone(mark: str, *, timeout_s: float) -> list[Process]:
    """Waits for the end of every marked process, those started meanwhile included; returns what is left by then."""
    deadline = time.monotonic() + timeout_s
    while left := marked(mark):
        if time.monotonic() >= deadline:
            return left
        _wait_for_end_of(left[0].pid, deadline)
    return []


def kill_all(mark: str) -> None:
    """The last resort of a failed test: SIGKILL to every marked process until none is left."""
    while processes := marked(mark):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        _wait_for_end_of(processes[0].pid, time.monotonic() + 5)


def _wait_for_end_of(pid: int, deadline: float) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        poller.poll(max(0, (deadline - time.monotonic()) * 1000))
    finally:
        os.close(descriptor)


def _describe(entry: Path, environment: list[bytes]) -> Process:
    state, parent = _state_and_parent(entry)
    command = (entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    dyno = next((value[5:] for value in environment if value.startswith(b"DYNO=")), b"")
    return Process(
        pid=int(entry.name),
        parent=parent,
        state=state,
        command=tuple(word.decode(errors="replace") for word in command),
        dyno=dyno.decode(errors="replace"),
    )


def _state_and_parent(entry: Path) -> tuple[str, int]:
    # The name in parentheses may hold anything, a parenthesis included: what follows its last one is fixed.
    state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
    return state, int(parent)
