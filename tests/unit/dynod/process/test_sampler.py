"""The sampler on virtual time, with dynos whose memory is a script: what it reads when, what it says, who must go."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from dynod.core.dyno_sizes import MB, SIZES, UNSIZED, DynoSize
from dynod.core.memory_quota import Memory
from dynod.process.sampler import Sampled, Sampler
from dynod.process.usage import Cgroup, Source, Usage
from support.virtual_time import run_virtually

STANDARD = SIZES["Standard-1X"]
R14, R15 = "Error R14 (Memory quota exceeded)", "Error R15 (Memory quota vastly exceeded)"


@dataclass
class FakeMachine:
    """Dynos by id, with their memory in MB as a function of time; also their reader and their journal."""

    memory: Mapping[str, Callable[[float], float | None]]
    size: DynoSize = UNSIZED
    reads: list[tuple[float, str]] = field(default_factory=list)
    lines: list[tuple[float, str, str]] = field(default_factory=list)
    accused: list[tuple[float, str]] = field(default_factory=list)
    finds: int = 0
    kept: set[str] = field(default_factory=set)

    def dynos(self) -> Sequence[Sampled]:
        return [Sampled(id_, f"{id_}.1", self.size) for id_, megabytes in self.memory.items() if megabytes(now()) != -1]

    def members(self, ids: Collection[str]) -> Mapping[str, Collection[int]]:
        self.finds += 1
        return {id_: [4711] for id_ in ids}

    def keep(self, instance_ids: Collection[str]) -> None:
        self.kept = set(instance_ids)

    def machine_oom_kills(self) -> int:
        return 0

    def read(self, instance_id: str, pids: Collection[int], *, cgroup: Cgroup | None, runnable: bool) -> Usage | None:
        assert list(pids) == [4711]
        assert cgroup is None
        self.reads.append((now(), instance_id))
        megabytes = self.memory[instance_id](now())
        if megabytes is None:
            return None
        memory = Memory(rss=round(megabytes * MB))
        return Usage(
            memory=memory,
            cpu_s=now() / 2,
            runnable=1 if runnable else 0,
            processes=1,
            oom_kills=0,
            source=Source.PSS,
        )

    def platform(self, ps: str, message: str) -> None:
        self.lines.append((now(), ps, message))


def now() -> float:
    return asyncio.get_running_loop().time()


def run(machine: FakeMachine, *, for_s: float, enforce: bool = True, metrics: int | None = None) -> Sampler:
    async def main() -> Sampler:
        sampler = Sampler(
            dynos=machine.dynos,
            members=machine.members,
            journal=machine,
            vast=lambda id_: machine.accused.append((now(), id_)),
            clock=asyncio.get_running_loop().time,
            enforce=enforce,
            metrics=metrics,
            reader=machine,
        )
        try:
            async with asyncio.timeout(for_s):
                await sampler.run()
        except TimeoutError:
            return sampler
        raise AssertionError("it ended by itself")

    return run_virtually(main())


def test_a_calm_dyno_is_read_every_twenty_seconds_and_nothing_is_said() -> None:
    machine = FakeMachine({"web": lambda _at: 100.0}, STANDARD)
    sampler = run(machine, for_s=70)
    assert [at for at, _id in machine.reads] == [5, 25, 45, 65]
    assert machine.lines == []
    sample = sampler.latest("web")
    assert sample is not None
    assert (sample.at, sample.usage.memory.total, sample.cpu_share) == (65, 100 * MB, 0.5)


def test_a_leak_is_watched_more_closely_said_and_ended() -> None:
    """10 MB a second: past 80 % of the quota at 41 s, past it at 52 s, past twice of it at 103 s."""
    machine = FakeMachine({"web": lambda at: 10 * at}, STANDARD)
    run(machine, for_s=200)
    assert machine.lines == [
        (55, "web.1", "Process running mem=550M(107.4%)"),
        (55, "web.1", R14),
        (75, "web.1", "Process running mem=750M(146.5%)"),
        (75, "web.1", R14),
        (95, "web.1", "Process running mem=950M(185.5%)"),
        (95, "web.1", R14),
        (110, "web.1", "Process running mem=1100M(214.8%)"),
        (110, "web.1", R15),
    ]
    assert machine.accused == [(110, "web")]
    assert [at for at, _id in machine.reads][:7] == [5, 25, 45, 50, 55, 60, 65]


def test_where_nothing_is_enforced_r15_is_written_and_nobody_accused() -> None:
    machine = FakeMachine({"web": lambda _at: 1100.0}, STANDARD)
    run(machine, for_s=50, enforce=False)
    assert [(at, text) for at, _ps, text in machine.lines if text in {R14, R15}] == [(5, R14), (25, R15), (45, R15)]
    assert machine.accused == []


def test_only_the_dyno_near_its_quota_is_watched_closely() -> None:
    machine = FakeMachine({"calm": lambda _at: 100.0, "near": lambda _at: 450.0}, STANDARD)
    run(machine, for_s=30)
    assert [id_ for at, id_ in machine.reads if at in {10, 15, 20}] == ["near"] * 3
    assert machine.lines == []


def test_an_unsized_dyno_is_reported_and_never_judged() -> None:
    machine = FakeMachine({"web": lambda _at: 50_000.0})
    sampler = run(machine, for_s=100)
    assert machine.lines == []
    assert machine.accused == []
    sample = sampler.latest("web")
    assert sample is not None
    assert sample.usage.memory.total == 50_000 * MB


def test_processes_are_looked_for_once_a_sweep_however_many_dynos() -> None:
    machine = FakeMachine({f"web{number}": lambda _at: 10.0 for number in range(101)})
    run(machine, for_s=6)
    assert machine.finds == 1
    assert len(machine.reads) == 101


def test_without_dynos_nothing_is_looked_for() -> None:
    machine = FakeMachine({})
    run(machine, for_s=100)
    assert machine.finds == 0


def test_a_dyno_that_has_gone_is_forgotten() -> None:
    machine = FakeMachine({"web": lambda at: 100.0 if at < 20 else -1, "worker": lambda _at: 1.0})
    sampler = run(machine, for_s=30)
    assert sampler.latest("web") is None
    assert machine.kept == {"worker"}


def test_a_dyno_whose_processes_have_ended_keeps_its_last_figures() -> None:
    machine = FakeMachine({"web": lambda at: 100.0 if at < 20 else None})
    sample = run(machine, for_s=30).latest("web")
    assert sample is not None
    assert sample.at == 5


def test_runtime_metrics_come_every_twenty_seconds_before_r14_in_herokus_order() -> None:
    machine = FakeMachine({"web": lambda _at: 600.0}, STANDARD)
    run(machine, for_s=30, metrics=2808254)
    label = "source=web.1 dyno=heroku.2808254.web"
    sizes = (
        "sample#memory_total=600.00MB sample#memory_rss=600.00MB sample#memory_cache=0.00MB sample#memory_swap=0.00MB"
    )
    pages = "sample#memory_pgpgin=0pages sample#memory_pgpgout=0pages sample#memory_quota=512.00MB"
    assert [(at, text) for at, _ps, text in machine.lines] == [
        (at, text)
        for at, load in ((5, "0.28"), (25, "0.49"))
        for text in (
            f"{label} sample#load_avg_1m={load}",
            f"{label} {sizes} {pages}",
            "Process running mem=600M(117.2%)",
            R14,
        )
    ]


def test_longer_load_averages_appear_with_age() -> None:
    machine = FakeMachine({"web": lambda _at: 10.0})
    run(machine, for_s=1000, metrics=1)
    loads = [text.count("load_avg") for _at, _ps, text in machine.lines if "load_avg" in text]
    assert loads == [1] * 14 + [2] * 30 + [3] * 6


@pytest.mark.parametrize(("exit_code", "by_us"), [(0, False), (1, False), (-9, True), (-15, False)])
def test_an_exit_that_was_no_oom_kill_is_not_explained(exit_code: int, by_us: bool) -> None:
    machine = FakeMachine({"web": lambda _at: 10.0})
    sampler = run(machine, for_s=6)
    assert sampler.exited(Sampled("web", "web.1", UNSIZED), exit_code, killed_by_us=by_us) is None


def test_where_no_thread_can_be_started_a_sample_is_left_out() -> None:
    """A machine at its limit of processes; this once ended core after core, with "can't start new thread"."""
    machine = FakeMachine({"web": lambda _at: 100.0}, STANDARD)
    sampler = run(machine, for_s=1)
    refuses = ThreadPoolExecutor(1)
    refuses.shutdown()  # what it says then is what it says without a thread: RuntimeError
    asyncio.run(sampler._sweep(refuses, 20.0, regular=True))
    assert sampler.latest("web") is None
