"""What the keeper's control groups do where version 2 has every controller: the keeper's own code, real processes.

As root outside of any service, so in the root group, where the keeper's processes may stay.
"""

import ctypes
import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, Never

from dynod.core.dyno_limits import limits_of
from dynod.core.dyno_sizes import MB, SIZES, UNSIZED
from dynod.core.memory_quota import LimitHits, oom_line, reached
from dynod.keeper import cgroups, controllers
from dynod.process.usage import Cgroup, UsageReader, limit_hits, oom_kills
from support.guest.reporting import report

ALL: Final = 96 * MB
OWN: Final = 32 * MB
PIECE: Final = 1 * MB
TREE: Final = Path("/sys/fs/cgroup")
NEW_GROUPS, NEW_MOUNTS = 0x02000000, 0x00020000  # unshare(2)
DETACH = 2  # umount(2)
FILES: Final = ("memory.max", "memory.high", "pids.max", "cpu.weight", "cpu.max")


def run(group: str, does: Callable[[], object]) -> int:
    """A process of this group, which does that; 0 where it came to its end, -N where a signal ended it."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            cgroups.enter(group)
            does()
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def takes(amount: int) -> None:
    """So many bytes of memory, each page of them touched."""
    held = []
    for _ in range(amount // PIECE):
        piece = bytearray(PIECE)
        piece[::4096] = b"x" * (PIECE // 4096)
        held.append(piece)


def forks(count: int) -> int:
    """How many processes could be made; they wait, and end with whoever made them."""
    made: list[int] = []
    try:
        for _ in range(count):
            if (child := os.fork()) == 0:
                signal.pause()
            made.append(child)
    except BlockingIOError:
        pass
    for child in made:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return len(made)


def burns_on_the_first_processor() -> Never:
    os.sched_setaffinity(0, {0})
    while True:
        pass


def used_s(group: str) -> float:
    """CPU seconds of a group, by the reader of the daemon."""
    usage = UsageReader().read(group, [], cgroup=Cgroup(group, group))
    assert usage is not None
    return usage.cpu_s


def wait_until(group: str, seconds: float) -> None:
    while used_s(group) < seconds:
        time.sleep(0.01)


class Probe:
    """Groups and limits as a keeper with this process's id has them."""

    def __init__(self) -> None:
        groups = cgroups.find(os.getpid())
        assert groups is not None
        found = controllers.find(os.getpid(), groups)
        assert found is not None
        self.groups, self.controllers = groups, found
        found.limit_all({"memory": ALL})

    def group(self, name: str, limits: dict[str, int]) -> str:
        path = self.groups.make(name)
        assert self.controllers.make(name, limits) == []  # version 2: one group for all of it
        return path

    def limits(self) -> None:
        """What is written for a size; `all`: what all dynos have together."""
        path = self.group("sized", limits_of(SIZES["Standard-2X"]))
        report(
            controllers=sorted(self.controllers.folders),
            sized={name: Path(path, name).read_text().strip() for name in FILES},
            all={name: Path(self.groups.root, name).read_text().strip() for name in FILES},
        )

    def memory(self, name: str, limits: dict[str, int], *, wants: int, beside: int = 0) -> None:
        """One that leaks, beside another that holds so many bytes. Whose limit was it?"""
        path, other = self.group(name, limits), self.group(f"beside-{name}", {})
        ready, writing = os.pipe()

        def holds() -> None:
            takes(beside)
            os.write(writing, b".")
            signal.pause()

        calm = run(other, holds)
        os.read(ready, 1)
        cgroup = Cgroup(path, path, self.controllers.folders["memory"])
        before = limit_hits(cgroup)
        status = ended(run(path, lambda: takes(wants)))
        hits = limit_hits(cgroup)
        alive = not os.waitpid(calm, os.WNOHANG)[0]
        self.groups.kill(f"beside-{name}")
        line = oom_line(
            status,
            own_kills=oom_kills(cgroup) or 0,
            machine_kills=0,
            killed_by_us=False,
            memory=None,
            limit=reached(LimitHits(0, before.all), hits),
        )
        report(memory=name, status=status, says=line, other_lives=alive, other_killed=ended(calm))

    def processes(self) -> None:
        path = self.group("forks", {"processes": 20})
        reading, writing = os.pipe()
        ended(run(path, lambda: os.write(writing, bytes([forks(40)]))))
        report(forked=os.read(reading, 1)[0])

    def quota(self) -> None:
        """A fifth of a processor. What has been used in the meantime, and how long that was."""
        path = self.group("slow", {"cpu_percent": 20})
        run(path, burns_on_the_first_processor)
        wait_until(path, 0.1)
        began, before = time.monotonic(), used_s(path)
        wait_until(path, before + 0.3)
        report(quota=(used_s(path) - before) / (time.monotonic() - began))
        self.groups.kill("slow")

    def weight(self) -> None:
        """Two on one processor, of which one has twelve times the weight of the other."""
        small = self.group("small", limits_of(SIZES["Standard-1X"]))
        large = self.group("large", limits_of(SIZES["Performance-M"]))
        for path in (small, large):
            run(path, burns_on_the_first_processor)
        for path in (small, large):
            wait_until(path, 0.02)
        before = used_s(small), used_s(large)
        wait_until(large, before[1] + 0.8)
        report(small=used_s(small) - before[0], large=used_s(large) - before[1])
        for name in ("small", "large"):
            self.groups.kill(name)

    def container(self) -> None:
        """A keeper that is alone in a namespace of groups, as with Docker where those can be written to."""
        box = TREE / "box"
        box.mkdir()

        def settles() -> None:
            libc = ctypes.CDLL(None)
            libc.unshare(NEW_GROUPS | NEW_MOUNTS)
            libc.umount2(bytes(TREE), DETACH)
            assert libc.mount(b"cgroup", bytes(TREE), b"cgroup2", 0, None) == 0
            groups = cgroups.find(os.getpid())
            assert groups is not None
            found = controllers.find(os.getpid(), groups)
            again = cgroups.find(os.getpid())  # as a keeper that has replaced itself
            assert again is not None
            report(container=groups.root, controls=sorted(found.folders) if found else [], again=again.root)

        assert ended(run(str(box), settles)) == 0
        cgroups.remove_empty(str(box))

    def close(self) -> None:
        while True:
            try:
                os.wait()
            except ChildProcessError:
                break
        self.groups.remove_all()
        report(left=Path(self.groups.root).exists())


if __name__ == "__main__":
    probe = Probe()
    probe.limits()
    probe.memory("own", {**limits_of(UNSIZED), "memory": OWN}, wants=2 * OWN)
    probe.memory("all", limits_of(UNSIZED), wants=2 * ALL, beside=OWN)
    probe.processes()
    probe.quota()
    probe.weight()
    probe.container()
    probe.close()
