"""The buffer: back-pressure first, oldest dropped after a stall, nothing lost uncounted, memory bounded."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dynod.core.log_buffer import NAMES_COUNTED, OTHERS, Entry, Gap, LogBuffer

STALL_S = 10.0
LINE = b"x" * 9 + b"\n"


def buffer(*, limit: int = 100, reserve: int = 50, stall_s: float = STALL_S) -> LogBuffer:
    return LogBuffer(limit=limit, reserve=reserve, stall_s=stall_s, now=0.0)


def test_entries_come_out_in_order_and_in_portions() -> None:
    held = buffer()
    entries = [Entry(b"%d\n" % n, "web.1") for n in range(5)]
    for entry in entries:
        assert held.add(entry, 0.0) == []
    first = held.take(4, 0.0)
    second = held.take(100, 0.0)
    assert first is not None
    assert second is not None
    assert first.entries + second.entries == tuple(entries)
    assert first.entries == tuple(entries[:2])
    assert held.take(100, 0.0) is None
    assert not held.is_empty
    held.written(0.0)
    held.written(0.0)
    assert held.is_empty


def test_a_slow_reader_means_back_pressure_and_no_loss() -> None:
    held = buffer()
    held.add(Entry(LINE, "web.1"), 0.0)
    held.take(1, 0.0)
    for second in range(1, 200):
        held.progressed(second)  # a little every second: slow, not stalled
        if held.has_room(second):
            assert held.add(Entry(LINE, "web.1"), second) == []
        assert not held.is_stalled(second)
    assert not held.has_room(200)
    assert held.size == 100
    assert dict(held.dropped) == {}


def test_a_stalled_reader_costs_the_oldest_lines_counted_and_announced() -> None:
    held = buffer()
    held.add(Entry(LINE, "web.1"), 0.0)
    held.take(1, 0.0)
    for number in range(10):
        held.add(Entry(b"%09d\n" % number, "web.1" if number < 2 else "worker.1"), 1.0)
    assert not held.has_room(9.9)
    assert held.relieve(9.9) == []
    assert held.stall_deadline() == 10.0
    assert held.has_room(10.0)
    gone = held.add(Entry(b"%09d\n" % 10, "web.1"), 10.0)
    gone += held.add(Entry(b"%09d\n%09d\n" % (11, 12), "web.1"), 12.0)
    assert [entry.data for entry in gone] == [b"%09d\n" % number for number in range(3)]
    assert dict(held.dropped) == {"web.1": 2, "worker.1": 1}
    held.written(13.0)
    portion = held.take(1000, 13.0)
    assert portion is not None
    assert portion.gap == Gap(lines=3, since=10.0)
    assert portion.entries[0].data == b"%09d\n" % 3
    held.written(13.0)
    held.add(Entry(LINE, "web.1"), 14.0)
    after = held.take(1000, 14.0)
    assert after is not None
    assert after.gap is None


def test_stall_zero_waits_for_ever() -> None:
    held = buffer(stall_s=0)
    held.add(Entry(LINE * 10, "web.1"), 0.0)
    held.take(1, 0.0)
    held.add(Entry(LINE * 10, "web.1"), 0.0)
    assert held.stall_deadline() is None
    assert not held.has_room(1e9)
    assert held.relieve(1e9) == []


def test_time_without_anything_to_write_is_no_stall() -> None:
    held = buffer()
    assert held.stall_deadline() is None
    held.add(Entry(LINE, "web.1"), 1000.0)
    held.take(1, 1000.0)
    assert held.stall_deadline() == 1010.0


def test_impatient_lines_have_a_reserve_and_then_lose_their_oldest() -> None:
    held = buffer()
    held.add(Entry(LINE * 10, "web.1"), 0.0)
    gone = []
    for number in range(8):
        gone += held.add(Entry(b"%09d\n" % number, "router", patient=False), 1.0)
    assert [entry.data for entry in gone] == [b"%09d\n" % number for number in range(3)]
    assert held.size == 150
    portion = held.take(1000, 2.0)
    assert portion is not None
    assert [entry.ps for entry in portion.entries] == ["web.1"] + ["router"] * 5
    assert portion.gap == Gap(lines=3, since=1.0)


def test_the_counts_do_not_grow_with_the_names() -> None:
    held = buffer(reserve=1)
    for number in range(3 * NAMES_COUNTED):
        held.add(Entry(LINE, f"run.{number}", patient=False), 0.0)
    assert len(held.dropped) == NAMES_COUNTED + 1
    assert held.dropped[OTHERS] == 2 * NAMES_COUNTED - 1


def test_clear_gives_back_what_waits_and_counts_nothing() -> None:
    held = buffer()
    entries = [Entry(LINE, "web.1"), Entry(LINE, "router", patient=False)]
    for entry in entries:
        held.add(entry, 0.0)
    assert held.clear() == entries
    assert held.is_empty
    assert held.size == 0
    assert dict(held.dropped) == {}


class Histories(RuleBasedStateMachine):
    """Any history: produced = taken + dropped + waiting, in order, within the bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.held = buffer()
        self.now = 0.0
        self.made = 0
        self.out = 0
        self.taken: list[int] = []
        self.announced = 0
        self.gone: list[int] = []

    def numbers(self, entries: list[Entry] | tuple[Entry, ...]) -> list[int]:
        return [int(line) for entry in entries for line in entry.data.split()]

    def add(self, lines: int, *, patient: bool) -> None:
        data = b"".join(b"%09d\n" % number for number in range(self.made, self.made + lines))
        self.made += lines
        self.gone += self.numbers(self.held.add(Entry(data, "any", patient=patient), self.now))

    @precondition(lambda self: self.held.has_room(self.now))
    @rule(lines=st.integers(min_value=1, max_value=4))
    def dyno_writes(self, lines: int) -> None:
        self.add(lines, patient=True)

    @rule(lines=st.integers(min_value=1, max_value=2))
    def router_writes(self, lines: int) -> None:
        self.add(lines, patient=False)

    @precondition(lambda self: self.out < 2)
    @rule(max_bytes=st.integers(min_value=1, max_value=80))
    def writer_takes(self, max_bytes: int) -> None:
        portion = self.held.take(max_bytes, self.now)
        if portion is not None:
            self.out += 1
            self.taken += self.numbers(portion.entries)
            self.announced += portion.gap.lines if portion.gap else 0

    @precondition(lambda self: self.out > 0)
    @rule()
    def writer_is_done(self) -> None:
        self.out -= 1
        self.held.written(self.now)

    @rule(seconds=st.floats(min_value=0.1, max_value=15))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.gone += self.numbers(self.held.relieve(self.now))

    @invariant()
    def nothing_is_lost_uncounted(self) -> None:
        waiting = self.held.size // len(LINE)
        assert len(self.taken) + len(self.gone) + waiting == self.made
        assert sum(self.held.dropped.values()) == len(self.gone)
        assert self.announced <= len(self.gone)

    @invariant()
    def what_is_taken_is_in_order(self) -> None:
        assert self.taken == sorted(set(self.taken))

    @invariant()
    def memory_is_bounded(self) -> None:
        assert self.held.size <= 100 + 40 + 50

    def teardown(self) -> None:
        while (portion := self.held.take(1000, self.now)) is not None:
            self.taken += self.numbers(portion.entries)
            self.announced += portion.gap.lines if portion.gap else 0
        assert sorted(self.taken + self.gone) == list(range(self.made))


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=50, stateful_step_count=40)


@given(stall_s=st.floats(min_value=0.1, max_value=100), waited=st.floats(min_value=0, max_value=200))
def test_stalled_is_just_from_the_deadline_on(stall_s: float, waited: float) -> None:
    held = buffer(stall_s=stall_s)
    held.add(Entry(LINE, "web.1"), 0.0)
    held.take(1, 0.0)
    assert held.is_stalled(waited) == (waited >= stall_s)


@pytest.mark.parametrize("patient", [True, False])
def test_an_entry_beyond_every_bound_is_still_taken(patient: bool) -> None:
    held = buffer()
    huge = Entry(LINE * 1000, "web.1", patient=patient)
    assert held.add(huge, 0.0) == []
    portion = held.take(1, 0.0)
    assert portion is not None
    assert portion.entries == (huge,)
