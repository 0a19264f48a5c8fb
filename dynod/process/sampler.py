"""Looks at every dyno's memory and CPU, and lets `core.memory_quota` judge: one task for all dynos of an app.

Flow: processes → `usage` → **sample** → R14 and R15, log-runtime-metrics, `ps`, metrics. A stated exception to "nothing
polls": the kernel announces no memory use. Reading happens in one worker thread, a few dynos at a time, because a walk
over a large process's page tables takes milliseconds. May import `core` and `errors`; ends no dyno, but says which must
go.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from dynod.core.dyno_sizes import DynoSize
from dynod.core.load_average import LoadAverage
from dynod.core.memory_quota import (
    NO_HITS,
    SAMPLE_S,
    Excess,
    dyno_label,
    judge,
    load_line,
    memory_line,
    oom_child_line,
    oom_line,
    reached,
    worth_watching,
)
from dynod.process.disk_watch import DiskWatch
from dynod.process.usage import Cgroup, Usage, UsageReader, limit_hits, oom_kills

TICK_S: Final = 5.0  # between two readings of a dyno near its quota
TICKS_A_SAMPLE: Final = round(SAMPLE_S / TICK_S)  # all dynos are read in the same tick: finding processes costs once
BUDGET_SHARE: Final = 0.005  # of one core, for dynos that nothing depends on: sampled less often where it costs more
SLICE: Final = 20  # dynos between two visits of the worker thread to the loop

Members = Callable[[Collection[str]], Mapping[str, Collection[int]]]  # instance ids → the processes of each


class Sampled(NamedTuple):
    """A dyno that runs."""

    id: str  # of the instance
    name: str  # "web.1"
    size: DynoSize
    cgroup: Cgroup | None = None


class Sample(NamedTuple):
    """The last reading of a dyno."""

    at: float  # the sampler's clock
    usage: Usage
    cpu_share: float | None  # of one core since the reading before; None with the first one


class Journal(Protocol):
    """The platform's own lines in the app's log stream."""

    def platform(self, ps: str, message: str) -> None: ...


class Reader(Protocol):
    """`UsageReader`."""

    def keep(self, instance_ids: Collection[str]) -> None: ...
    def read(
        self, instance_id: str, pids: Collection[int], *, cgroup: Cgroup | None, runnable: bool
    ) -> Usage | None: ...
    def machine_oom_kills(self) -> int: ...


@dataclass(slots=True)
class _Watched:
    closer: bool = False  # to be read at every tick
    sample: Sample | None = None
    excess: Excess = field(default_factory=Excess)
    load: LoadAverage = field(default_factory=LoadAverage)
    load_at: float | None = None
    told: bool = False  # that it must go


class Sampler:
    """`run` is the task. `latest` and `exited` may be called at any time, in the loop."""

    def __init__(
        self,
        *,
        dynos: Callable[[], Sequence[Sampled]],
        members: Members,
        journal: Journal,
        vast: Callable[[str], None],
        clock: Callable[[], float],
        enforce: bool,
        metrics: int | None = None,
        reader: Reader | None = None,
        disk: DiskWatch | None = None,
    ) -> None:
        """`dynos` is asked in the loop, `members` in the worker thread. `vast` hears once of an instance that must go.

        `enforce`: R15 ends dynos; else it is only written. `metrics`: the app's number, with which log-runtime-metrics
        are written; None: they are off. `disk` is looked at too; None: nobody counts what dynos write.
        """
        self._dynos = dynos
        self._members = members
        self._journal = journal
        self._vast = vast
        self._clock = clock
        self._enforce = enforce
        self._metrics = metrics
        self._reader = reader if reader is not None else UsageReader()
        self._disk = disk
        self._watched: dict[str, _Watched] = {}
        self._machine_kills = 0
        self._leisurely_at = 0.0  # when dynos that nothing depends on are read next

    def write_metrics(self, app_number: int | None) -> None:
        """Write log-runtime-metrics from the next sample on, under this number of the app; None: no more."""
        self._metrics = app_number

    # --- what others ask --------------------------------------------------------------------------------------------

    def latest(self, instance_id: str) -> Sample | None:
        """The last reading of an instance."""
        watched = self._watched.get(instance_id)
        return watched.sample if watched is not None else None

    def exited(self, dyno: Sampled, exit_code: int, *, killed_by_us: bool) -> str | None:
        """A line for the log, where the kernel has ended the dyno for want of memory. To be asked as soon as it exits.

        `exit_code` is negative for a signal.
        """
        sample = self.latest(dyno.id)
        known = sample.usage if sample is not None else None
        own = oom_kills(dyno.cgroup)
        return oom_line(
            exit_code,
            own_kills=own if own is not None else known.oom_kills if known is not None else 0,
            machine_kills=self._reader.machine_oom_kills() - self._machine_kills if exit_code else 0,
            killed_by_us=killed_by_us,
            memory=known.memory if known is not None else None,
            limit=reached(known.hits if known is not None else NO_HITS, limit_hits(dyno.cgroup)),
        )

    # --- the task ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        self._machine_kills = self._reader.machine_oom_kills()
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sampler")
        try:
            at = self._clock()
            for tick in itertools.count():
                at = max(at + TICK_S, self._clock())
                await asyncio.sleep(at - self._clock())
                await self._sweep(thread, at, regular=tick % TICKS_A_SAMPLE == 0)
                if self._disk is not None:
                    await self._disk.look(thread, at, self._dynos())
        finally:
            thread.shutdown(wait=False, cancel_futures=True)  # what it reads now it may finish; nobody waits for it

    async def _sweep(self, thread: ThreadPoolExecutor, at: float, *, regular: bool) -> None:
        """Read every dyno that is due at `at`. `regular`: a tick at which samples are taken, not only closer looks."""
        dynos = self._dynos()
        self._watched = {dyno.id: self._watched.get(dyno.id) or _Watched() for dyno in dynos}
        leisurely = regular and at >= self._leisurely_at
        due = [
            dyno for dyno in dynos if leisurely or self._watched[dyno.id].closer or (regular and self._matters(dyno))
        ]
        if not due:
            return
        loop = asyncio.get_running_loop()
        try:
            finding = loop.run_in_executor(thread, self._find, list(self._watched), [dyno.id for dyno in due])
        except RuntimeError:
            return  # no thread can be started, the machine being at its limit of processes: perhaps at the next tick
        members, cost_s = await finding
        for some in _slices(due):
            usages, slice_cost_s = await loop.run_in_executor(thread, self._read, some, members)
            cost_s += slice_cost_s
            for dyno, usage in zip(some, usages, strict=True):
                if usage is not None:  # else no process is left: its slot hears of that from the keeper
                    self._take(dyno, usage, at, regular=regular)
        self._machine_kills = self._reader.machine_oom_kills()
        if leisurely:
            self._leisurely_at = at + max(SAMPLE_S, cost_s / BUDGET_SHARE) - TICK_S / 2

    def _matters(self, dyno: Sampled) -> bool:
        """Whether somebody waits for a sample every SAMPLE_S."""
        return dyno.size.memory is not None or self._metrics is not None

    def _find(self, living: Collection[str], due: Collection[str]) -> tuple[Mapping[str, Collection[int]], float]:
        """In the thread. With the CPU seconds that it took."""
        began = time.thread_time()
        self._reader.keep(living)
        return self._members(due), time.thread_time() - began

    def _read(
        self, dynos: Sequence[Sampled], members: Mapping[str, Collection[int]]
    ) -> tuple[list[Usage | None], float]:
        """In the thread. With the CPU seconds that it took."""
        began = time.thread_time()
        usages = [
            self._reader.read(dyno.id, members.get(dyno.id, ()), cgroup=dyno.cgroup, runnable=self._metrics is not None)
            for dyno in dynos
        ]
        return usages, time.thread_time() - began

    def _take(self, dyno: Sampled, usage: Usage, at: float, *, regular: bool) -> None:
        watched = self._watched.get(dyno.id)
        if watched is None or watched.told:
            return
        previous, watched.sample = watched.sample, Sample(at, usage, _cpu_share(watched.sample, usage, at))
        if previous is not None:
            limit = reached(previous.usage.hits, usage.hits)
            killed = oom_child_line(usage.oom_kills - previous.usage.oom_kills, usage.memory, limit)
            if killed is not None:
                self._journal.platform(dyno.name, killed)
        if regular and self._metrics is not None:
            self._say_metrics(self._metrics, dyno, watched, at)
        finding = judge(dyno.size, usage.memory, watched.excess, now=at, enforce=self._enforce)
        watched.excess = finding.excess
        watched.closer = worth_watching(dyno.size, usage.memory)
        for line in finding.lines:
            self._journal.platform(dyno.name, line)
        if finding.kill:
            watched.told = True
            self._vast(dyno.id)

    def _say_metrics(self, app_number: int, dyno: Sampled, watched: _Watched, at: float) -> None:
        assert watched.sample is not None  # noqa: S101 (the caller has just taken it)
        usage = watched.sample.usage
        elapsed_s = at - watched.load_at if watched.load_at is not None else SAMPLE_S
        watched.load, watched.load_at = watched.load.with_sample(usage.runnable, elapsed_s), at
        label = dyno_label(app_number, dyno.id)
        load = load_line(dyno.name, label, watched.load.known)
        for line in (load, memory_line(dyno.name, label, usage.memory, dyno.size)):
            if line is not None:
                self._journal.platform(dyno.name, line)


def _cpu_share(previous: Sample | None, usage: Usage, at: float) -> float | None:
    if previous is None or at <= previous.at:
        return None
    return max(0.0, usage.cpu_s - previous.usage.cpu_s) / (at - previous.at)


def _slices(dynos: Sequence[Sampled]) -> Iterator[Sequence[Sampled]]:
    for first in range(0, len(dynos), SLICE):
        yield dynos[first : first + SLICE]
