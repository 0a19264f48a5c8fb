"""A dyno's memory against the quota of its size: Heroku's R14 and R15, and the lines of log-runtime-metrics.

Flow: `process.usage` reads → **what it means** → lines of the log, and for R15 the end of the dyno.
Unsized dynos have no quota (contracts 8); their memory is reported, never judged. Killing is the slot's business.

Sources: Dev Center "R14", "R15", "Dyno Memory Behavior", "Heroku Labs: log-runtime-metrics"; captured logs.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, NamedTuple

from dynod.core.dyno_sizes import MB, DynoSize

R15: Final = "Error R15 (Memory quota vastly exceeded)"
KILLED: Final = "Killed by the kernel:"
OWN_OOM: Final = f"{KILLED} the dyno was out of memory"
SIGKILL: Final = 9  # POSIX; core knows no signals
SAMPLE_S: Final = 20.0  # Heroku's period of samples, and so of R14 lines
_EARLY_S: Final = 1.0  # a sample may come a little before its time
CALM_SHARE: Final = 0.95  # an excess is over once memory has fallen below this share of the quota
VAST_READINGS: Final = 2  # readings in a row before R15: a vfork(2) under way can show one process's memory twice
WATCH_SHARE: Final = 0.8  # from this share of the quota on a dyno is worth closer looks


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a dyno uses, in bytes. `cache` holds what the kernel could not simply drop: mapped files, shared memory.

    On Heroku the container's limit squeezes all other page cache out; where there is no such limit it is left out of
    the count, or a dyno that reads large files would exceed its quota by reading.
    """

    rss: int
    cache: int = 0
    swap: int = 0
    pages_in: int = 0  # since the start; 0 where the kernel does not count them for a dyno
    pages_out: int = 0

    @property
    def total(self) -> int:
        """What R14 looks at."""
        return self.rss + self.cache + self.swap

    @property
    def vast(self) -> int:
        """What R15 looks at: without what belongs to files."""
        return self.rss + self.swap


class Reached(Enum):
    """Whose limit of memory it was that the kernel has killed for."""

    OWN = "the dyno was"
    ALL = "all dynos together were"
    MACHINE = "the machine was"


class LimitHits(NamedTuple):
    """How often a limit of memory was reached since it is there; None: nobody counts that.

    Version 2 of control groups counts where nothing could be taken back, and the kernel killed; version 1 every time.
    """

    own: int | None = None  # the dyno's
    all: int | None = None  # that of all dynos together


NO_HITS: Final = LimitHits()


def reached(before: LimitHits, now: LimitHits) -> Reached:
    """Where the kernel has killed between two looks: for which limit. The dyno's own, where both may be."""
    if now.own is None or now.own > (before.own or 0):
        return Reached.OWN
    return Reached.ALL if now.all is not None and now.all > (before.all or 0) else Reached.MACHINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """Where a dyno stands with its quota; kept from reading to reading."""

    over: bool = False  # R14; ends only below CALM_SHARE, so that a dyno at its limit does not flicker
    vast_readings: int = 0  # in a row
    said_at: float | None = None  # when lines were last written, on the caller's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a reading leads to: lines in order, and whether the dyno is to be killed (its slot says that line)."""

    excess: Excess
    lines: tuple[str, ...] = ()
    kill: bool = False


def judge(size: DynoSize, memory: Memory, was: Excess, *, now: float, enforce: bool) -> Finding:
    """Judge one reading, taken at `now` (seconds on any steady clock).

    Lines come at most once in SAMPLE_S. With `enforce` R15 asks for the dyno's end, once it is confirmed; without (in
    `up`) it is only written.
    """
    if size.memory is None:
        return Finding(excess=Excess())
    vast = memory.vast > size.memory * size.kill_share
    over = memory.total > size.memory
    excess = replace(
        was,
        over=over or (was.over and memory.total >= size.memory * CALM_SHARE),
        vast_readings=was.vast_readings + 1 if vast else 0,
    )
    confirmed = excess.vast_readings >= VAST_READINGS
    running = f"Process running mem={memory.total // MB}M({100 * memory.total / size.memory:.1f}%)"
    if confirmed and enforce:
        return Finding(excess=replace(excess, said_at=now), lines=(running, R15), kill=True)
    if not over or (was.said_at is not None and now - was.said_at < SAMPLE_S - _EARLY_S):
        return Finding(excess=excess)
    error = R15 if confirmed else "Error R14 (Memory quota exceeded)"
    return Finding(excess=replace(excess, said_at=now), lines=(running, error))


def worth_watching(size: DynoSize, memory: Memory) -> bool:
    """Whether the next reading should come sooner than the usual period."""
    return size.memory is not None and memory.total >= size.memory * WATCH_SHARE


def memory_line(source: str, dyno: str, memory: Memory, size: DynoSize) -> str:
    """The memory line of log-runtime-metrics; `dyno` as `dyno_label` gives it. No quota, no `memory_quota`."""
    quota = "" if size.memory is None else f" sample#memory_quota={_mb(size.memory)}"
    return (
        f"source={source} dyno={dyno} sample#memory_total={_mb(memory.total)} sample#memory_rss={_mb(memory.rss)} "
        f"sample#memory_cache={_mb(memory.cache)} sample#memory_swap={_mb(memory.swap)} "
        f"sample#memory_pgpgin={memory.pages_in}pages sample#memory_pgpgout={memory.pages_out}pages{quota}"
    )


def load_line(source: str, dyno: str, averages: tuple[float, ...]) -> str | None:
    """The load line of log-runtime-metrics, with as many averages as are known; None with none."""
    samples = [f"sample#load_avg_{minutes}m={value:.2f}" for minutes, value in zip((1, 5, 15), averages, strict=False)]
    return f"source={source} dyno={dyno} {' '.join(samples)}" if samples else None


def dyno_label(app_number: int, instance_id: str) -> str:
    """`heroku.2808254.d97d0ea7-…`: a number of the app's, and the id of this run of the dyno."""
    return f"heroku.{app_number}.{instance_id}"


def oom_line(
    exit_code: int,
    *,
    own_kills: int,
    machine_kills: int,
    killed_by_us: bool,
    memory: Memory | None,
    limit: Reached = Reached.OWN,
) -> str | None:
    """Whose the SIGKILL was that ended a dyno, where the kernel's out-of-memory killer is to blame; else None.

    `exit_code` is negative for a signal. `own_kills` are those counted in the dyno's own cgroup during its life,
    `machine_kills` those of the whole machine since its last sample: enough for "probably". `limit`: of the first.
    """
    if exit_code not in {-SIGKILL, 128 + SIGKILL} or killed_by_us:
        return None
    last = f" (it used {memory.total // MB}M when last looked at)" if memory is not None else ""
    if own_kills:
        return f"{KILLED} {limit.value} out of memory{last}"
    if machine_kills:
        return f"Probably killed by the kernel: the machine was out of memory{last}"
    return None


def oom_child_line(kills: int, memory: Memory, limit: Reached = Reached.OWN) -> str | None:
    """Processes of a dyno that the kernel killed since the last look while the dyno lives on: a worker, most often."""
    if kills <= 0:
        return None
    whom = "a process" if kills == 1 else f"{kills} processes"
    return f"The kernel killed {whom} of this dyno: {limit.value} out of memory (it now uses {memory.total // MB}M)"


def _mb(amount: int) -> str:
    return f"{amount / MB:.2f}MB"
