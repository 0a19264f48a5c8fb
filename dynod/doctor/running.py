"""A dyno that runs, as the kernel shows it: its processes, where they listen, what they hold open, what they have read.

Linux shows all of it; elsewhere psutil answers for the listening sockets, and requests in flight cannot be seen.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

import psutil

from dynod.core.boot import Address
from dynod.core.doctor_live import is_log
from dynod.process import sockets

STOPPED_WITHIN_S: Final = 1.0
LOOK_S: Final = 0.002
LOG_FOLDERS: Final = frozenset({"log", "logs"})
_ESTABLISHED: Final = "01"


def port_of(processes: Sequence[psutil.Process]) -> int | None:
    """The PORT that a dyno was given."""
    for process in processes:
        with contextlib.suppress(psutil.Error, ValueError):
            return int(process.environ().get("PORT", ""))
    return None


def listening(processes: Sequence[psutil.Process]) -> tuple[Address, ...]:
    """Every address on which one of the processes accepts TCP connections."""
    pids = [process.pid for process in processes]
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            listeners = sockets.listeners()  # first: whoever holds one of them is alive when processes are asked
            own = sockets.socket_inodes(pids)
            return tuple(sorted({each.address for each in listeners if each.inode in own}))
    return tuple(sorted(set(sockets.listening_by_psutil(pids).addresses)))


def log_files(processes: Sequence[psutil.Process]) -> tuple[str, ...]:
    """Files that are open to append to, as a program opens its log, and that are called so or lie where logs do."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            for file in process.open_files():
                flags = getattr(file, "flags", 0)  # Linux's
                path = Path(file.path)
                if flags & os.O_APPEND and path.is_file() and (is_log(path.name) or path.parent.name in LOG_FOLDERS):
                    found.add(file.path)
    return tuple(sorted(found))


def signal_all(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    """To each that is still there."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


@contextlib.contextmanager
def frozen(processes: Sequence[psutil.Process]) -> Iterator[bool]:
    """Inside none of the processes runs; False where that was not to be had. After it they all do."""
    signal_all(processes, signal.SIGSTOP)
    try:
        deadline = time.monotonic() + STOPPED_WITHIN_S
        while (stand := all(map(_stands, processes))) is False and time.monotonic() < deadline:
            time.sleep(LOOK_S)  # nothing announces a stop to anybody but the parent
        yield stand
    finally:
        signal_all(processes, signal.SIGCONT)


def wait_until_gone(processes: Sequence[psutil.Process], timeout_s: float) -> bool:
    """Whether all have ended within the time."""
    _, left = psutil.wait_procs(processes, timeout=max(timeout_s, 0))
    return not left


def whole_read(ports: Collection[int], server_port: int) -> set[int]:
    """Of these ports of clients, those whose connection was accepted, and of whom everything sent has been read.

    Linux's table of connections: one that waits to be accepted belongs to no file yet (inode 0), and what was not read
    yet is counted. `server_port` is where they connected to.
    """
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), Path(table).open(encoding="ascii") as rows:
            next(rows, None)  # the titles
            for row in rows:
                _, local, remote, state, queues, *rest = row.split()
                if state != _ESTABLISHED or _port(local) != server_port or _port(remote) not in ports:
                    continue
                if int(queues.partition(":")[2], 16) == 0 and rest[4] != "0":
                    found.add(_port(remote))
    return found


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def _stands(process: psutil.Process) -> bool:
    try:
        return process.status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_TRACING_STOP}
    except psutil.Error:
        return True
