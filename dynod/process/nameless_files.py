"""Files that a dyno has removed and holds open: they take room on the disk, and no walk of a folder meets them.

Flow: disk watch → **look** → bytes. By /proc, as far as dynod may look into its dynos: everywhere but where it is root
without CAP_SYS_PTRACE, as in a plain container of Docker. What is mapped and no more open is not seen. Blocks.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Collection, Iterator

Ours = Callable[[str, str], bool]  # whether the file of this process and descriptor is one of the dyno's own folders'


def nameless_bytes(pids: Collection[int], ours: Ours) -> int:
    """Bytes on disk of those that these processes have open; a file that several have once."""
    found: dict[tuple[int, int], int] = {}
    for pid in map(str, pids):
        for fd in _descriptors(pid):
            with contextlib.suppress(OSError):
                status = os.stat(f"/proc/{pid}/fd/{fd}")  # noqa: PTH116 (what is opened, not what it is called)
                if status.st_nlink == 0 and stat.S_ISREG(status.st_mode) and ours(pid, fd):
                    found[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(found.values())


def on_mounts(*targets: str) -> Ours:
    """Of what is mounted there in the process's own view: neither memory, nor folders that last."""
    known: dict[str, set[str]] = {}

    def ours(pid: str, fd: str) -> bool:
        if pid not in known:
            lines = [line.split() for line in _read(f"/proc/{pid}/mountinfo").splitlines()]
            known[pid] = {words[0] for words in lines if words[4] in targets}
        info = dict(line.split(":\t", 1) for line in _read(f"/proc/{pid}/fdinfo/{fd}").splitlines() if ":\t" in line)
        return info.get("mnt_id") in known[pid]

    return ours


def below(folder: str) -> Ours:
    """Of what was in that folder of the machine."""
    return lambda pid, fd: os.readlink(f"/proc/{pid}/fd/{fd}").startswith(f"{folder}/")  # noqa: PTH115 (a text)


def _descriptors(pid: str) -> Iterator[str]:
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as found:
        for entry in found:
            yield entry.name


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123 (shorter than the path is)
        return file.read()
