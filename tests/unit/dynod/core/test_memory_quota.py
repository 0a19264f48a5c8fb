"""R14 and R15: Heroku's exact lines, at Heroku's pace, and nothing where nobody chose a size."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.dyno_sizes import MB, SIZES, UNSIZED
from dynod.core.memory_quota import (
    NO_HITS,
    OWN_OOM,
    SAMPLE_S,
    Excess,
    LimitHits,
    Memory,
    Reached,
    dyno_label,
    judge,
    load_line,
    memory_line,
    oom_child_line,
    oom_line,
    reached,
    worth_watching,
)

STANDARD = SIZES["Standard-1X"]
R14 = "Error R14 (Memory quota exceeded)"
R15 = "Error R15 (Memory quota vastly exceeded)"
ID = "d97d0ea7-cf3d-411b-b453-d2943a50b456"


def play(
    megabytes: list[tuple[float, float]], *, enforce: bool = True, size: str = "Standard-1X"
) -> list[tuple[float, tuple[str, ...], bool]]:
    """Readings (time, MB of rss); what was said when, and whether the dyno had to go."""
    excess, said = Excess(), []
    for at, each in megabytes:
        finding = judge(SIZES[size], Memory(rss=round(each * MB)), excess, now=at, enforce=enforce)
        excess = finding.excess
        if finding.lines or finding.kill:
            said.append((at, finding.lines, finding.kill))
    return said


@pytest.mark.parametrize(
    ("megabytes", "line"),
    [  # captured from Heroku: the megabytes are cut, the percentage is rounded
        (590.05, "Process running mem=590M(115.2%)"),
        (680.9, "Process running mem=680M(133.0%)"),
        (737.2, "Process running mem=737M(144.0%)"),
        (836.6, "Process running mem=836M(163.4%)"),
    ],
)
def test_the_lines_are_herokus(megabytes: float, line: str) -> None:
    assert play([(0.0, megabytes)]) == [(0.0, (line, R14), False)]


def test_r15_is_confirmed_by_a_second_reading_then_ends_the_dyno() -> None:
    assert play([(0.0, 300.0), (20.0, 1038.4), (25.0, 1038.4)]) == [
        (20.0, ("Process running mem=1038M(202.8%)", R14), False),
        (25.0, ("Process running mem=1038M(202.8%)", R15), True),
    ]


def test_one_reading_alone_kills_nobody() -> None:
    assert [kill for _at, _lines, kill in play([(0, 1200), (5, 400), (10, 1200), (15, 400)])] == [False]


def test_without_strictness_r15_is_written_every_period_and_nothing_else() -> None:
    readings = [(at, 1100.0) for at in (0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 40.0)]
    line = "Process running mem=1100M(214.8%)"
    assert play(readings, enforce=False) == [
        (0.0, (line, R14), False),
        (20.0, (line, R15), False),
        (40.0, (line, R15), False),
    ]


def test_lines_repeat_every_sample_and_not_with_closer_looks() -> None:
    said = play([(at, 600.0) for at in range(0, 61, 5)])
    assert [at for at, _lines, _kill in said] == [0, 20, 40, 60]


def test_a_sample_a_little_early_is_still_one() -> None:
    assert len(play([(0.03, 600.0), (20.0, 600.0)])) == 2


def test_at_its_limit_a_dyno_does_not_flicker() -> None:
    excess, states = Excess(), []
    for at, megabytes in enumerate([500, 513, 511, 490, 513, 486, 500]):
        finding = judge(STANDARD, Memory(rss=megabytes * MB), excess, now=at * SAMPLE_S, enforce=True)
        excess = finding.excess
        states.append((excess.over, bool(finding.lines)))
    assert states == [
        *((False, False), (True, True), (True, False), (True, False)),
        *((True, True), (False, False), (False, False)),  # 486 MB is below 95 %
    ]


def test_cache_counts_for_r14_only() -> None:
    memory = Memory(rss=100 * MB, cache=2000 * MB)
    first = judge(STANDARD, memory, Excess(), now=0.0, enforce=True)
    second = judge(STANDARD, memory, first.excess, now=20.0, enforce=True)
    assert first.lines[1] == second.lines[1] == R14
    assert not second.kill


def test_swap_counts_for_both() -> None:
    memory = Memory(rss=500 * MB, swap=600 * MB)
    first = judge(STANDARD, memory, Excess(), now=0.0, enforce=True)
    assert judge(STANDARD, memory, first.excess, now=5.0, enforce=True).kill


@pytest.mark.parametrize(
    ("size", "share", "kills"),
    [
        ("Eco", 2.01, True),
        ("Standard-2X", 1.99, False),
        ("Standard-2X", 2.01, True),
        ("Performance-L-RAM", 1.21, True),
        ("Performance-XL", 1.19, False),
        ("Performance-XL", 1.21, True),
    ],
)
def test_each_size_has_its_own_limit(size: str, share: float, kills: bool) -> None:
    quota = (SIZES[size].memory or 0) / MB
    said = play([(0.0, share * quota), (5.0, share * quota)], size=size)
    assert any(kill for _at, _lines, kill in said) is kills


@given(st.lists(st.integers(0, 10**12)))
def test_an_unsized_dyno_is_never_judged(amounts: list[int]) -> None:
    excess = Excess()
    for at, amount in enumerate(amounts):
        finding = judge(UNSIZED, Memory(rss=amount), excess, now=at * SAMPLE_S, enforce=True)
        excess = finding.excess
        assert (finding.lines, finding.kill, excess) == ((), False, Excess())
        assert not worth_watching(UNSIZED, Memory(rss=amount))


@given(st.lists(st.integers(0, 2 * 1024)), st.booleans())
def test_whatever_is_read_lines_are_true_and_not_too_many(megabytes: list[int], enforce: bool) -> None:
    excess, said_at = Excess(), -SAMPLE_S
    for tick, each in enumerate(megabytes):
        now = tick * 5.0
        finding = judge(STANDARD, Memory(rss=each * MB), excess, now=now, enforce=enforce)
        excess = finding.excess
        if finding.lines:
            assert each > 512
            assert finding.kill or now - said_at >= SAMPLE_S
            said_at = now
        assert not finding.kill or (enforce and each > 1024 and finding.lines[1] == R15)


@pytest.mark.parametrize(("megabytes", "closer"), [(409, False), (410, True), (2000, True)])
def test_near_the_quota_looks_come_closer(megabytes: int, closer: bool) -> None:
    assert worth_watching(STANDARD, Memory(rss=megabytes * MB)) is closer


class TestRuntimeMetrics:
    """log-runtime-metrics as Heroku's documentation shows it, with the quota that came later."""

    LABEL = dyno_label(2808254, ID)
    MEMORY = Memory(rss=round(180.05 * MB), cache=round(0.38 * MB), swap=0, pages_in=84329, pages_out=38140)

    def test_memory(self) -> None:
        assert memory_line("web.1", self.LABEL, self.MEMORY, STANDARD) == (
            f"source=web.1 dyno=heroku.2808254.{ID} sample#memory_total=180.43MB sample#memory_rss=180.05MB "
            "sample#memory_cache=0.38MB sample#memory_swap=0.00MB sample#memory_pgpgin=84329pages "
            "sample#memory_pgpgout=38140pages sample#memory_quota=512.00MB"
        )

    def test_an_unsized_dyno_shows_no_quota(self) -> None:
        assert "quota" not in memory_line("web.1", self.LABEL, self.MEMORY, UNSIZED)

    @pytest.mark.parametrize(
        ("averages", "samples"),
        [
            ((2.46, 1.06, 0.99), "sample#load_avg_1m=2.46 sample#load_avg_5m=1.06 sample#load_avg_15m=0.99"),
            ((0.2, 0.0), "sample#load_avg_1m=0.20 sample#load_avg_5m=0.00"),
            ((0.0,), "sample#load_avg_1m=0.00"),
        ],
    )
    def test_load(self, averages: tuple[float, ...], samples: str) -> None:
        assert load_line("web.1", self.LABEL, averages) == f"source=web.1 dyno=heroku.2808254.{ID} {samples}"

    def test_no_average_no_line(self) -> None:
        assert load_line("web.1", self.LABEL, ()) is None


@pytest.mark.parametrize(
    ("exit_code", "own", "machine", "by_us", "says"),
    [
        (-9, 1, 1, False, "Killed by the kernel: the dyno was out of memory"),
        (137, 1, 0, False, "Killed by the kernel"),  # a shell that reports its child's death
        (-9, 0, 1, False, "Probably killed by the kernel: the machine was out of memory"),
        (-9, 0, 0, False, None),
        (-9, 1, 1, True, None),
        (1, 1, 1, False, None),
        (-15, 1, 1, False, None),
        (0, 0, 0, False, None),
    ],
)
def test_an_oom_kill_is_attributed_only_on_evidence(
    exit_code: int, own: int, machine: int, by_us: bool, says: str | None
) -> None:
    line = oom_line(exit_code, own_kills=own, machine_kills=machine, killed_by_us=by_us, memory=None)
    assert line is None if says is None else re.match(re.escape(says), line or "")


@pytest.mark.parametrize(("kills", "whom"), [(-1, None), (0, None), (1, "a process"), (3, "3 processes")])
def test_workers_that_the_kernel_killed_are_counted(kills: int, whom: str | None) -> None:
    line = oom_child_line(kills, Memory(rss=90 * MB))
    was = "the dyno was out of memory (it now uses 90M)"
    assert line == (whom and f"The kernel killed {whom} of this dyno: {was}")


def test_an_oom_line_names_the_last_figure() -> None:
    line = oom_line(-9, own_kills=1, machine_kills=0, killed_by_us=False, memory=Memory(rss=812 * MB))
    assert line == "Killed by the kernel: the dyno was out of memory (it used 812M when last looked at)"


@pytest.mark.parametrize(
    ("before", "now", "limit"),
    [
        (NO_HITS, NO_HITS, Reached.OWN),  # nobody counts
        (NO_HITS, LimitHits(0, None), Reached.MACHINE),
        (NO_HITS, LimitHits(1, 0), Reached.OWN),
        (NO_HITS, LimitHits(0, 1), Reached.ALL),
        (LimitHits(2, 5), LimitHits(2, 5), Reached.MACHINE),
        (LimitHits(2, 5), LimitHits(2, 6), Reached.ALL),
        (LimitHits(2, 5), LimitHits(3, 5), Reached.OWN),
        (LimitHits(2, 5), LimitHits(3, 6), Reached.OWN),
    ],
)
def test_whose_limit_was_reached(before: LimitHits, now: LimitHits, limit: Reached) -> None:
    assert reached(before, now) is limit


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        (Reached.OWN, OWN_OOM),
        (Reached.ALL, "Killed by the kernel: all dynos together were out of memory"),
        (Reached.MACHINE, "Killed by the kernel: the machine was out of memory"),
    ],
)
def test_an_oom_line_names_whose_limit_it_was(limit: Reached, says: str) -> None:
    line = oom_line(-9, own_kills=1, machine_kills=1, killed_by_us=False, memory=None, limit=limit)
    assert line == says
