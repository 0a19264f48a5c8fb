"""Memory and CPU of real processes: what forks share is counted once, leaks are found out, kills are attributed."""

import asyncio
import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from dynod.core.dyno_sizes import MB, UNSIZED, DynoSize
from dynod.process import usage as usage_module
from dynod.process.sampler import Sampled, Sampler
from dynod.process.usage import Cgroup, Source, Usage, UsageReader, limit_hits, oom_kills
from support.source_tree import REPOSITORY

TOYS = REPOSITORY / "tests/toys"
ID = "0c2d7a1e-4b1f-4f0e-9f7a-1d2b3c4d5e6f"
SMALL = DynoSize(name="Small", memory=64 * MB)
V1_MEMORY, V1_CPU = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/cpuacct")
V2 = next(
    (path for path in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")) if (path / "cgroup.procs").exists()),
    None,
)


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in task.read_text().split()]
    return found


@contextlib.contextmanager
def toy(name: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A toy in a process group of its own, all of which is killed at the end."""
    child = subprocess.Popen(
        [sys.executable, str(TOYS / name), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with child:
        try:
            yield child
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


@dataclass
class Obedient:
    """The toy that does what it is told."""

    child: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self.child.pid

    def told(self, order: str) -> str:
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(f"{order}\n")
        self.child.stdin.flush()
        answer = self.child.stdout.readline()
        assert answer.startswith("done"), f"{order}: {answer!r}"
        return answer.removeprefix("done").strip()


@pytest.fixture
def obedient() -> Iterator[Obedient]:
    with toy("obeys.py") as child:
        made = Obedient(child)
        made.told("hello")
        yield made


def read(pids: Collection[int], *, reader: UsageReader | None = None, cgroup: Cgroup | None = None) -> Usage:
    found = (reader or UsageReader()).read(ID, pids, cgroup=cgroup)
    assert found is not None
    return found


def megabytes(usage: Usage) -> float:
    return usage.memory.total / MB


@pytest.fixture(scope="module")
def pids() -> Iterator[list[int]]:
    """A parent and four workers that share 200 MB of it."""
    with toy("shares_memory.py", 200, 4) as child:
        assert child.stdout is not None
        yield [int(pid) for pid in child.stdout.readline().split()[1:]]


class TestShared:
    def test_pss_counts_what_is_shared_once(self, pids: list[int]) -> None:
        usage = read(pids)
        assert usage.source is Source.PSS
        assert usage.processes == 5
        assert not usage.estimated
        assert 200 <= megabytes(usage) <= 300
        summed_rss = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * 4096 / MB
        assert summed_rss > 900  # what it must not say

    def test_the_shared_block_is_memory_and_not_cache(self, pids: list[int]) -> None:
        assert read(pids).memory.vast / MB > 200

    def test_a_single_worker_of_them_has_its_share(self, pids: list[int]) -> None:
        assert 40 <= megabytes(read(pids[1:2])) <= 60

    def test_without_proc_it_is_estimated_near_that(self, pids: list[int]) -> None:
        usage = read(pids, reader=UsageReader(proc=False))
        assert usage.source is Source.PSUTIL
        assert usage.estimated
        assert 200 <= megabytes(usage) <= 300

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
    def test_processes_that_may_not_be_looked_into_are_a_lower_bound_never_a_sum(self, pids: list[int]) -> None:
        seen = as_nobody(lambda: read(pids))
        assert seen["estimated"] is True
        assert 200 <= seen["total"] / MB <= 300


def as_nobody(look: Callable[[], Usage]) -> dict[str, int]:
    """A reading by a process of another user."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            usage = look()
            os.write(writing, json.dumps({"total": usage.memory.total, "estimated": usage.estimated}).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        seen: dict[str, int] = json.loads(answer.read())
    os.waitpid(pid, 0)
    return seen


def test_processes_that_have_ended_count_nothing() -> None:
    with toy("obeys.py") as child:
        child.kill()
        child.wait()
        assert UsageReader().read(ID, [child.pid]) is None
        assert UsageReader(proc=False).read(ID, [child.pid]) is None
    assert UsageReader().read(ID, []) is None


def test_memory_follows_what_a_process_takes_and_gives_back(obedient: Obedient) -> None:
    reader = UsageReader()
    before = megabytes(read([obedient.pid], reader=reader))
    obedient.told("take 50")
    assert 49 <= megabytes(read([obedient.pid], reader=reader)) - before <= 52
    obedient.told("drop")
    assert megabytes(read([obedient.pid], reader=reader)) - before <= 2


def test_an_idle_process_is_not_walked_again_until_it_faults(
    obedient: Obedient, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks: list[str] = []
    real = usage_module._read

    def counting(path: str) -> bytes | None:
        walks.extend([path] if path.endswith("smaps_rollup") else [])
        return real(path)

    monkeypatch.setattr(usage_module, "_read", counting)
    reader = UsageReader()
    first = read([obedient.pid], reader=reader)
    again = [read([obedient.pid], reader=reader) for _ in range(usage_module.FRESH_AFTER)]
    assert len(walks) == 1
    assert {usage.memory for usage in again} == {first.memory}
    read([obedient.pid], reader=reader)
    assert len(walks) == 2  # now and then all the same
    obedient.told("take 1")
    read([obedient.pid], reader=reader)
    assert len(walks) == 3
    reader.keep([])
    read([obedient.pid], reader=reader)
    assert len(walks) == 4


def test_a_child_of_vfork_is_not_counted_beside_its_parent(obedient: Obedient, tmp_path: Path) -> None:
    """Until its exec it is its parent's memory: a dyno of 300 MB must not seem to have 600 for a moment."""
    os.mkfifo(tmp_path / "gate")
    obedient.told("take 100")
    alone = megabytes(read([obedient.pid]))
    obedient.told(f"vfork {tmp_path / 'gate'}")
    both: list[int] = []
    while len(both) < 2:
        both = family(obedient.pid)
    assert Path(f"/proc/{both[1]}/exe").readlink() == Path(f"/proc/{both[0]}/exe").readlink()  # not yet exec'ed
    assert abs(megabytes(read(both)) - alone) < 5
    os.close(os.open(tmp_path / "gate", os.O_WRONLY))  # the child passes


class TestCpu:
    def test_a_child_that_was_waited_for_is_counted(self, obedient: Obedient) -> None:
        before = read([obedient.pid]).cpu_s
        obedient.told("burn")
        assert read([obedient.pid]).cpu_s - before >= 0.29

    def test_an_orphan_that_ends_takes_nothing_back(self, obedient: Obedient, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "gate")
        reader = UsageReader()
        orphan = int(obedient.told(f"orphan {tmp_path / 'gate'}"))
        ends = os.pidfd_open(orphan)
        with_it = read([obedient.pid, orphan], reader=reader).cpu_s
        assert with_it >= 0.29
        (tmp_path / "gate").write_text("go")
        wait_for_end(ends)
        assert read([obedient.pid], reader=reader).cpu_s >= with_it
        obedient.told("burn")
        assert read([obedient.pid], reader=reader).cpu_s >= with_it + 0.29

    def test_runnable_threads_are_counted_when_asked_for(self, obedient: Obedient) -> None:
        obedient.told("spin 2")
        pids = family(obedient.pid)
        while "State:\tS" not in Path(f"/proc/{obedient.pid}/status").read_text():
            pass  # it has answered, and is about to wait for its next order
        seen = UsageReader().read(ID, pids, runnable=True)
        assert seen is not None
        assert seen.runnable == 2
        assert read(pids).runnable == 0


def wait_for_end(pidfd: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(30_000), "it has not ended"
    os.close(pidfd)


# --- the sampler over real processes ----------------------------------------------------------------------------------


@dataclass
class Watching:
    """A sampler over one obedient dyno, swept when the test says so."""

    obedient: Obedient
    enforce: bool = True
    size: DynoSize = SMALL
    cgroup: Cgroup | None = None
    lines: list[str] = field(default_factory=list)
    accused: list[str] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.sampler = Sampler(
            dynos=lambda: [Sampled(ID, "web.1", self.size, self.cgroup)],
            members=self.members,
            journal=self,
            vast=self.accused.append,
            clock=lambda: self.now,
            enforce=self.enforce,
        )

    def members(self, ids: Collection[str]) -> Mapping[str, Collection[int]]:
        return {id_: family(self.obedient.pid) for id_ in ids}

    def platform(self, ps: str, message: str) -> None:
        self.lines.append(f"{ps} {message}")

    def sweep(self, *, regular: bool = True) -> list[str]:
        """The lines of one sweep, 20 s after the one before (5 s where it is no regular one)."""
        self.now += 20 if regular else 5
        self.lines.clear()
        with ThreadPoolExecutor(1) as thread:
            asyncio.run(self.sampler._sweep(thread, self.now, regular=regular))
        return list(self.lines)


RUNNING = re.compile(r"web\.1 Process running mem=(\d+)M\((\d+\.\d)%\)")


def test_a_leaking_dyno_crosses_r14_then_r15(obedient: Obedient) -> None:
    watching = Watching(obedient)
    assert watching.sweep() == []
    obedient.told("take 70")
    running, error = watching.sweep()
    found = RUNNING.fullmatch(running)
    assert found
    assert 70 <= int(found[1]) < 128
    assert float(found[2]) == pytest.approx(100 * int(found[1]) / 64, abs=1.6)
    assert error == "web.1 Error R14 (Memory quota exceeded)"
    obedient.told("take 70")
    assert watching.sweep()[1] == "web.1 Error R14 (Memory quota exceeded)"  # one reading alone ends nobody
    assert watching.accused == []
    running, error = watching.sweep(regular=False)
    assert RUNNING.fullmatch(running)
    assert error == "web.1 Error R15 (Memory quota vastly exceeded)"
    assert watching.accused == [ID]
    assert watching.sweep() == []  # said once: its slot does the rest


def test_a_dyno_that_gives_memory_back_is_left_in_peace(obedient: Obedient) -> None:
    watching = Watching(obedient)
    obedient.told("take 70")
    assert len(watching.sweep()) == 2
    obedient.told("drop")
    assert watching.sweep() == []
    assert watching.accused == []


def test_what_forks_share_brings_no_r14() -> None:
    """Five processes of 200 MB each under a quota of 512: Heroku counts them once, and so do we."""
    with toy("shares_memory.py", 200, 4) as child:
        assert child.stdout is not None
        child.stdout.readline()
        watching = Watching(Obedient(child), size=replace(SMALL, memory=512 * MB))
        assert watching.sweep() == []
        sample = watching.sampler.latest(ID)
        assert sample is not None
        assert 200 <= megabytes(sample.usage) <= 300


# --- cgroups ----------------------------------------------------------------------------------------------------------


def folder_below(parent: Path) -> Path | None:
    """A cgroup of our own; None where that is not ours to make."""
    folder = parent / f"dynod-test-{uuid.uuid4().hex[:12]}"
    try:
        folder.mkdir()
    except OSError:
        return None
    return folder


@pytest.fixture
def v1() -> Iterator[Cgroup]:
    folders = [folder_below(parent) for parent in (V1_MEMORY, V1_CPU) if (parent / "tasks").exists()]
    made = [folder for folder in folders if folder is not None]
    if len(made) < 2:
        for folder in made:
            folder.rmdir()
        pytest.skip("no cgroup v1 of memory and cpuacct that this user may write to")
    yield Cgroup(str(made[0]), str(made[1]))
    for folder in made:
        folder.rmdir()


def enter(cgroup: Cgroup, pid: int) -> None:
    for folder in {cgroup.memory, cgroup.cpu} - {None}:
        Path(str(folder), "cgroup.procs").write_text(str(pid))


def test_version_1_is_read_and_agrees_with_the_processes(v1: Cgroup) -> None:
    with toy("obeys.py") as child:
        obedient = Obedient(child)
        enter(v1, child.pid)
        obedient.told("take 50")
        obedient.told("burn")
        usage = UsageReader().read(ID, [child.pid], cgroup=v1)
        assert usage is not None
        assert usage.source is Source.CGROUP1
        assert 50 <= megabytes(usage) <= 70
        assert usage.cpu_s >= 0.29
        assert usage.memory.pages_in > 50 * 256
        assert usage.oom_kills == 0
        child.kill()
        child.wait()


def test_page_cache_that_can_be_dropped_is_not_the_dynos_memory(v1: Cgroup, tmp_path: Path) -> None:
    """A dyno that reads files would exceed its quota by reading where no limit squeezes the cache."""
    large = tmp_path / "large"
    with subprocess.Popen(
        ["sh", "-c", 'read go; head -c 60000000 /dev/zero > "$0"; echo done; read go', str(large)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        enter(v1, child.pid)
        child.stdin.write("\n")
        child.stdin.flush()
        child.stdout.readline()
        counted = dict(line.split() for line in Path(str(v1.memory), "memory.stat").read_text().splitlines())
        usage = read([child.pid], cgroup=v1)
        child.stdin.close()
    if int(counted["total_cache"]) < 50 * MB:
        pytest.skip("this file system keeps no page cache of its own")
    assert megabytes(usage) < 20


def test_the_kernels_kill_is_attributed_to_the_dynos_own_limit(v1: Cgroup) -> None:
    Path(str(v1.memory), "memory.limit_in_bytes").write_text(str(30 * MB))
    dyno = Sampled(ID, "web.1", SMALL, v1)
    with toy("obeys.py") as child:
        enter(v1, child.pid)
        assert oom_kills(v1) == 0
        with contextlib.suppress(AssertionError, BrokenPipeError):
            Obedient(child).told("take 60")
        assert child.wait(30) == -signal.SIGKILL
        sampler = Watching(Obedient(child)).sampler
        assert oom_kills(v1) == 1
        line = sampler.exited(dyno, -signal.SIGKILL, killed_by_us=False)
        assert line == "Killed by the kernel: the dyno was out of memory"
        assert sampler.exited(dyno, -signal.SIGKILL, killed_by_us=True) is None


def test_a_worker_that_the_kernel_kills_is_reported_while_its_dyno_lives(v1: Cgroup) -> None:
    Path(str(v1.memory), "memory.limit_in_bytes").write_text(str(60 * MB))
    with toy("obeys.py") as child:
        enter(v1, child.pid)
        obedient = Obedient(child)
        watching = Watching(obedient, size=UNSIZED, cgroup=v1)
        assert watching.sweep() == []
        obedient.told("greedy 100")
        (line,) = watching.sweep()
        assert line.startswith(
            "web.1 The kernel killed a process of this dyno: the dyno was out of memory (it now uses "
        )
        assert watching.sweep() == []
        child.kill()
        child.wait()


@pytest.mark.skipif(V2 is None, reason="no cgroup v2")
def test_version_2_gives_cpu_where_it_has_no_memory_controller() -> None:
    assert V2 is not None
    folder = folder_below(V2)
    if folder is None:
        pytest.skip("cgroup v2 is not this user's to write to")
    try:
        with toy("obeys.py") as child:
            obedient = Obedient(child)
            (folder / "cgroup.procs").write_text(str(child.pid))
            obedient.told("burn")
            obedient.told("take 20")
            usage = read(family(child.pid), cgroup=Cgroup(str(folder), str(folder)))
            assert usage.cpu_s >= 0.29
            if not (folder / "memory.stat").exists():
                assert usage.source is Source.PSS
            assert megabytes(usage) > 20
            child.kill()
            child.wait()
    finally:
        folder.rmdir()


def test_version_2s_files_are_understood(tmp_path: Path) -> None:
    """From files as a kernel with the memory controller writes them: it is not there on every test machine."""
    (tmp_path / "memory.current").write_text("167772160\n")
    (tmp_path / "memory.stat").write_text(
        f"anon {100 * MB}\nfile {50 * MB}\nkernel 4096\nshmem {8 * MB}\ninactive_file {40 * MB}\nactive_file 2097152\n"
    )
    (tmp_path / "memory.swap.current").write_text(f"{5 * MB}\n")
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n")
    cgroup = Cgroup(str(tmp_path), str(tmp_path))
    usage = read([], cgroup=cgroup)
    memory = usage.memory
    assert (memory.rss, memory.cache, memory.swap) == (100 * MB, 10 * MB, 5 * MB)
    assert (usage.source, usage.cpu_s, usage.oom_kills) == (Source.CGROUP2, 2.5, 2)
    assert oom_kills(cgroup) == 2
    assert usage.hits == (3, None)
    (above := tmp_path / "above").mkdir()
    (above / "memory.events.local").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 0\noom_group_kill 0\n")
    assert limit_hits(Cgroup(str(tmp_path), str(tmp_path), str(above))) == (3, 1)


def test_a_cgroup_that_has_gone_leaves_the_processes(obedient: Obedient) -> None:
    usage = read([obedient.pid], cgroup=Cgroup("/nonexistent", "/nonexistent"))
    assert usage.source is Source.PSS
    assert oom_kills(Cgroup("/nonexistent", None)) is None
    assert UsageReader().machine_oom_kills() >= 0
