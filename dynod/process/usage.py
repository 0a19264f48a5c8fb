"""What one dyno uses of memory and CPU: from its cgroup, else over its processes, wherever they are.

Without a cgroup memory is PSS, each shared page divided among those who share it: summed RSS would count what
`gunicorn --preload` shares once for each worker. /proc/PID/smaps_rollup costs the kernel a walk over page tables
(measured on a virtual machine: 0.15 ms for a process of 10 MB, 0.7 ms at 50 MB, 4.4 ms at 500 MB), so a dyno none of
whose processes has faulted a page since is not walked again: 0.02 to 0.04 ms a process then. Blocking reads: for a
worker thread, never for the loop. Decides nothing. Where there is no /proc psutil is asked; on Linux, where tests
switch /proc off, that reads it all the same and stands for what psutil asks of macOS.
"""

import contextlib
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from dynod.core.memory_quota import NO_HITS, LimitHits, Memory

_KB: Final = 1024
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_LARGEST_FILE: Final = 65_536
FRESH_AFTER: Final = (
    15  # readings from memory in a row; another dyno's end can change what this one's shared pages count
)
THREADS_LOOKED_AT: Final = 64  # of one process, for its runnable ones

_ROLLUP: Final = re.compile(rb"^(Pss|Pss_Anon|Pss_File|Pss_Shmem|SwapPss): +(\d+) kB", re.MULTILINE)


class Source(StrEnum):
    """Where figures come from; the word for messages."""

    CGROUP2 = "cgroup v2"
    CGROUP1 = "cgroup v1"
    PSS = "pss"
    PSUTIL = "psutil"


class Cgroup(NamedTuple):
    """A dyno's folders: both the same in version 2; in version 1 that of the memory and that of the cpuacct hierarchy.

    A folder whose controller is not there is left out, and the processes are asked instead. `all_memory`: of the group
    that limits all dynos together.
    """

    memory: str | None
    cpu: str | None
    all_memory: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One reading. `estimated`: some process could not be read exactly, the memory is a lower bound."""

    memory: Memory
    cpu_s: float  # CPU seconds since the dyno's start; of processes that have ended as far as their parents know
    runnable: int  # threads, in the moment of reading; 0 where it was not asked for
    processes: int
    oom_kills: int  # by the kernel, within the dyno's cgroup since its start; 0 without one
    source: Source
    hits: LimitHits = NO_HITS
    estimated: bool = False


class _Stat(NamedTuple):
    """What /proc/PID/stat says (proc(5))."""

    state: bytes
    parent: int
    faults: tuple[int, int]
    cpu_ticks: int  # of its ended and awaited children too
    threads: int
    started: int
    size: int
    resident: int  # pages
    stack: int


@dataclass(slots=True)
class _Memo:
    """What is kept of an instance between readings."""

    signature: tuple[object, ...] = ()
    memory: Memory | None = None
    estimated: bool = False
    reused: int = 0
    cpu_s: float = 0.0
    lost_cpu_s: float = 0.0  # of processes that ended without a parent here that waited for them


@dataclass(slots=True)
class UsageReader:
    """Reads dynos, one after the other; used by one thread. `proc`: whether /proc is there to be read."""

    proc: bool = True
    _memos: dict[str, _Memo] = field(default_factory=dict)

    def keep(self, instance_ids: Iterable[str]) -> None:
        """Forget all other instances."""
        wanted = set(instance_ids)
        self._memos = {id_: memo for id_, memo in self._memos.items() if id_ in wanted}

    def machine_oom_kills(self) -> int:
        """How often the kernel has killed anything on this machine for want of memory; 0 where it does not say."""
        if not self.proc:
            return 0
        found = re.search(rb"^oom_kill (\d+)", _read("/proc/vmstat") or b"", re.MULTILINE)
        return int(found[1]) if found is not None else 0

    def read(
        self, instance_id: str, pids: Collection[int], *, cgroup: Cgroup | None = None, runnable: bool = False
    ) -> Usage | None:
        """Read an instance by its cgroup as far as that goes, for the rest by its processes; None with neither left."""
        memo = self._memos.setdefault(instance_id, _Memo())
        memory = _cgroup_memory(cgroup.memory) if cgroup is not None and cgroup.memory is not None else None
        cpu_s = _cgroup_cpu(cgroup.cpu) if cgroup is not None and cgroup.cpu is not None else None
        stats = _stats(pids) if self.proc and (memory is None or cpu_s is None or runnable) else {}
        counted = len(stats)
        if memory is None or cpu_s is None:
            if not self.proc:
                return _by_psutil(pids)
            if not stats:
                return None
        if cpu_s is None:
            cpu_s = _steady_cpu(memo, stats)
        source, oom_kills, estimated = Source.PSS, 0, False
        if memory is not None:
            source, found, oom_kills = memory
        else:
            found, estimated = _pss(memo, stats)
        return Usage(
            memory=found,
            cpu_s=cpu_s,
            runnable=_runnable(stats) if runnable else 0,
            processes=counted or len(pids),
            oom_kills=oom_kills,
            source=source,
            hits=limit_hits(cgroup),
            estimated=estimated,
        )


# --- cgroups ----------------------------------------------------------------------------------------------------------


def oom_kills(cgroup: Cgroup | None) -> int | None:
    """How often the kernel has killed in this cgroup for want of memory; None where nobody counts."""
    if cgroup is None or cgroup.memory is None:
        return None
    for name in ("memory.events", "memory.oom_control"):
        if (text := _read(f"{cgroup.memory}/{name}")) is not None:
            return _numbers(text).get(b"oom_kill")
    return None


def limit_hits(cgroup: Cgroup | None) -> LimitHits:
    """How often a dyno's limits of memory were reached: its own, with those of groups below it, and all dynos'."""
    if cgroup is None:
        return NO_HITS
    return LimitHits(_hits(cgroup.memory, "memory.events"), _hits(cgroup.all_memory, "memory.events.local"))


def _hits(folder: str | None, events: str) -> int | None:
    if folder is None:
        return None
    if (counted := _read(f"{folder}/{events}")) is not None:
        return _numbers(counted).get(b"oom")
    hits = _read(f"{folder}/memory.failcnt")
    return int(hits) if hits is not None else None


def _cgroup_memory(folder: str) -> tuple[Source, Memory, int] | None:
    stat = _read(f"{folder}/memory.stat")
    if stat is None:
        return None
    counted = _numbers(stat)
    kills = oom_kills(Cgroup(folder, None)) or 0
    if b"anon" in counted:  # version 2; descendants are in its figures
        swap = _read(f"{folder}/memory.swap.current")
        memory = Memory(
            rss=counted[b"anon"],
            cache=max(0, counted.get(b"file", 0) - counted.get(b"inactive_file", 0)),
            swap=int(swap) if swap is not None else 0,
            pages_in=counted.get(b"pgpgin", 0),
            pages_out=counted.get(b"pgpgout", 0),
        )
        return Source.CGROUP2, memory, kills
    if b"total_rss" in counted:
        memory = Memory(
            rss=counted[b"total_rss"],
            cache=max(0, counted.get(b"total_cache", 0) - counted.get(b"total_inactive_file", 0)),
            swap=counted.get(b"total_swap", 0),
            pages_in=counted.get(b"total_pgpgin", 0),
            pages_out=counted.get(b"total_pgpgout", 0),
        )
        return Source.CGROUP1, memory, kills
    return None


def _cgroup_cpu(folder: str) -> float | None:
    if (stat := _read(f"{folder}/cpu.stat")) is not None and (used := _numbers(stat).get(b"usage_usec")) is not None:
        return used / 1e6
    if (nanoseconds := _read(f"{folder}/cpuacct.usage")) is not None:
        return int(nanoseconds) / 1e9
    return None


def _numbers(text: bytes) -> dict[bytes, int]:
    """`key number` lines, as cgroup files have them."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}  # noqa: PLR2004 (a pair)


# --- /proc ------------------------------------------------------------------------------------------------------------


def _stats(pids: Iterable[int]) -> dict[int, _Stat]:
    found = {}
    for pid in pids:
        text = _read(f"/proc/{pid}/stat")
        if text is None:
            continue
        # What stands in parentheses is the program's name and may hold anything; field 3 follows the last of them.
        fields = text[text.rindex(b")") + 2 :].split()
        if fields[0] in {b"Z", b"X"}:
            continue
        number = [int(each) if each.lstrip(b"-").isdigit() else 0 for each in fields[:26]]
        found[pid] = _Stat(
            state=fields[0],
            parent=number[1],
            faults=(number[7], number[9]),
            cpu_ticks=sum(number[11:15]),
            threads=number[17],
            started=number[19],
            size=number[20],
            resident=number[21],
            stack=number[25],
        )
    return found


def _pss(memo: _Memo, stats: dict[int, _Stat]) -> tuple[Memory, bool]:
    """Memory, and whether it is estimated. From `memo` where no process has faulted a page, come, gone or shrunk."""
    signature = tuple(sorted((pid, stat.started, stat.faults, stat.resident) for pid, stat in stats.items()))
    if memo.memory is not None and signature == memo.signature and memo.reused < FRESH_AFTER:
        memo.reused += 1
        return memo.memory, memo.estimated
    rss = cache = swap = unreadable = 0
    estimated = False
    for pid, stat in stats.items():
        if _is_vforked(stat, stats):
            continue
        rollup = _read(f"/proc/{pid}/smaps_rollup")
        if rollup is None:  # ended, another user's, or a kernel before 4.14
            unreadable, estimated = max(unreadable, _own_resident(pid)), estimated or os.path.isdir(f"/proc/{pid}")  # noqa: PTH112 (hot)
            continue
        kb = {key: int(value) for key, value in _ROLLUP.findall(rollup)}
        files = kb.get(b"Pss_File", 0) + kb.get(b"Pss_Shmem", 0)
        rss += kb.get(b"Pss", 0) - files
        cache += files
        swap += kb.get(b"SwapPss", 0)
    memo.memory = Memory(rss=rss * _KB + unreadable, cache=cache * _KB, swap=swap * _KB)
    memo.signature, memo.estimated, memo.reused = signature, estimated, 0
    return memo.memory, estimated


def _is_vforked(stat: _Stat, stats: dict[int, _Stat]) -> bool:
    """A child of vfork(2) or posix_spawn(3) before its exec *is* its parent's memory: it would be counted twice.

    All that is known of the two address spaces is the same then. After a fork(2) it is not: pages of files are not
    taken over.
    """
    parent = stats.get(stat.parent)
    if parent is None or stat.threads > 1:
        return False
    return (stat.size, stat.resident, stat.stack) == (parent.size, parent.resident, parent.stack)


def _own_resident(pid: int) -> int:
    """Resident bytes that belong to no file, of a process whose page tables may not be looked at."""
    text = _read(f"/proc/{pid}/statm")
    if text is None:
        return 0
    _size, resident, shared, *_rest = (int(pages) for pages in text.split())
    return (resident - shared) * _PAGE


def _steady_cpu(memo: _Memo, stats: dict[int, _Stat]) -> float:
    """CPU seconds that never fall.

    A process's own time passes to its parent when that waits for it; where nobody in the dyno does, it is lost to the
    sum, and kept here.
    """
    now_s = sum(stat.cpu_ticks for stat in stats.values()) / _TICKS
    if now_s + memo.lost_cpu_s < memo.cpu_s:
        memo.lost_cpu_s = memo.cpu_s - now_s
    memo.cpu_s = now_s + memo.lost_cpu_s
    return memo.cpu_s


def _runnable(stats: dict[int, _Stat]) -> int:
    count = 0
    for pid, stat in stats.items():
        if stat.threads <= 1:
            count += stat.state == b"R"
            continue
        with contextlib.suppress(OSError):
            threads = os.listdir(f"/proc/{pid}/task")[:THREADS_LOOKED_AT]  # noqa: PTH208 (hot)
            texts = (_read(f"/proc/{pid}/task/{thread}/stat") for thread in threads)
            count += sum(
                text is not None and text[text.rindex(b")") + 2 : text.rindex(b")") + 3] == b"R" for text in texts
            )
    return count


def _read(path: str) -> bytes | None:
    """A small file of /proc or a cgroup; None where it is not there or not ours to read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, _LARGEST_FILE)
    except OSError:  # ESRCH: the process has ended meanwhile
        return None
    finally:
        os.close(descriptor)


# --- elsewhere --------------------------------------------------------------------------------------------------------


def _by_psutil(pids: Collection[int]) -> Usage | None:
    """Each process's own memory, and once the largest part that one of them shares: near PSS for a family of forks."""
    import psutil  # noqa: PLC0415 (8 ms of a start, which Linux goes without)

    own = shared = processes = 0
    cpu_s = 0.0
    for pid in pids:
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            try:
                memory = process.memory_full_info()
                uss, resident = memory.uss, memory.rss
            except psutil.AccessDenied:
                uss, resident = 0, process.memory_info().rss
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        processes += 1
        own += uss
        shared = max(shared, resident - uss)
        cpu_s += times.user + times.system
    if not processes:
        return None
    return Usage(
        memory=Memory(rss=own + shared),
        cpu_s=cpu_s,
        runnable=0,
        processes=processes,
        oom_kills=0,
        source=Source.PSUTIL,
        estimated=True,
    )
