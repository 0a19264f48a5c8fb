"""What a keeper holds, written down for the one that it becomes: by execve(2), in the same process.

A core that speaks another version of the protocol needs another version of the keeper. Process id, children and
descriptors stay over an exec, and everything else is JSON in a file in memory. Fields may come in a later version and
are read with what they were before there were any; none ever goes. Standard library only.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dynod.keeper.limits import Limits
from dynod.keeper.protocol import Spawn

ENTRY = ("-P", "-m", "dynod.keeper.again")  # of the other version; the descriptor and the arguments follow
PIECE_BYTES = 1 << 20


class Former(NamedTuple):
    """A core that was there before. Its descriptor is the keeper's end."""

    pid: int
    fd: int
    program: tuple[str, ...]
    silent_at: float  # monotonic seconds
    received: bytes  # the beginning of a message, of which the rest is still to come


class Estate(NamedTuple):
    """All of it."""

    arguments: list[str]
    notify: tuple[str, float | None]  # systemd's socket, and how often its watchdog is fed
    limits: Limits  # of dynos, before the keeper took more for itself
    most_fds: int
    stdin: int
    stdin_end: int | None
    signals: list[int]
    store: dict[str, str]
    held: dict[str, list[int]]
    instances: list[dict[str, Any]]  # as `instances` has them
    generation: int
    now: tuple[str, ...]  # the program of the next core
    before: tuple[str, ...] | None
    follows: Former | None  # which waits to be in charge
    retired: list[Former]

    def descriptors(self) -> list[int]:
        """Every one that has to outlast the exec."""
        cores = [*self.retired, *([self.follows] if self.follows is not None else [])]
        found = [self.stdin, *(core.fd for core in cores)]
        found += [fd for fds in self.held.values() for fd in fds]
        found += [fd for instance in self.instances for fd in instance["ends"]]
        return found if self.stdin_end is None else [*found, self.stdin_end]


def write(estate: Estate) -> int:
    """Into a file in memory; its descriptor outlasts an exec. Raises OSError."""
    text = json.dumps(
        estate._asdict() | {"follows": _written(estate.follows), "retired": [*map(_written, estate.retired)]}
    )
    fd = os.memfd_create("dynod-keeper", 0) if hasattr(os, "memfd_create") else _nameless()
    data = memoryview(text.encode("ascii"))
    while data:
        data = data[os.write(fd, data) :]
    os.set_inheritable(fd, True)
    return fd


def read(fd: int) -> Estate:
    """What `write` wrote, of whichever version; closes the descriptor."""
    os.lseek(fd, 0, os.SEEK_SET)
    pieces = []
    while piece := os.read(fd, PIECE_BYTES):
        pieces.append(piece)
    os.close(fd)
    found = json.loads(b"".join(pieces))
    address, watchdog_s = found["notify"]
    return Estate(
        arguments=found["arguments"],
        notify=(address, watchdog_s),
        limits=Limits(*map(tuple, found["limits"])),
        most_fds=found["most_fds"],
        stdin=found["stdin"],
        stdin_end=found["stdin_end"],
        signals=found["signals"],
        store=found["store"],
        held=found["held"],
        instances=found["instances"],
        generation=found["generation"],
        now=tuple(found["now"]),
        before=tuple(found["before"]) if found["before"] is not None else None,
        follows=_former(found["follows"]),
        retired=[core for each in found["retired"] if (core := _former(each)) is not None],
    )


def become(python: str, fd: int, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Execute the other version's keeper in this process. Returns only where that is refused: raises OSError."""
    os.execve(python, [python, *ENTRY, str(fd), *arguments], environ)  # noqa: S606 (no shell is the point)


def request_of(found: Mapping[str, Any]) -> Spawn:
    """As much of what an instance was started with as matters once it runs."""
    return Spawn(
        id=found["id"],
        argv=[],
        env={},
        cwd="",
        marks=found["marks"],
        stop_signal=found["stop_signal"],
        grace_s=found["grace_s"],
        state=found["state"],
        watches=found["watches"],
    )


def _written(core: Former | None) -> list[Any] | None:
    return None if core is None else [*core[:-1], core.received.decode("latin-1")]


def _former(found: Sequence[Any] | None) -> Former | None:
    if found is None:
        return None
    pid, fd, program, silent_at, received = found[:5]
    return Former(pid, fd, tuple(program), silent_at, received.encode("latin-1"))


def _nameless() -> int:
    """Where there are no files in memory: one that is removed at once."""
    import tempfile  # noqa: PLC0415 (heavy, and never needed on Linux)

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
