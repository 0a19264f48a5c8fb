"""The buffer: back-pressure first, oldest dropped after a stall, nothing lost uncounted, memory bounded."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dynod.core.log_buffer import NAMES_COUNTED, OTHERS, Entry, Gap, LogBuffer, Receipt

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
    assert held.stall_deadline() == 10.0
    assert held.has_room(10.0)
    held.add(Entry(b"%09d\n" % 10, "web.1"), 10.0)
    held.add(Entry(b"%09d\n%09d\n" % (11, 12), "web.1"), 12.0)
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


def test_receipts_are_due_when_written_or_at_once_in_a_stall() -> None:
    held = buffer()
    given: list[str] = []

    def entry(name: str) -> Entry:
        return Entry(LINE, "web.1", lambda: given.append(name))

    def give(due: list[Receipt]) -> list[str]:
        given.clear()
        for receipt in due:
            receipt()
        return list(given)

    held.add(entry("first"), 0.0)
    held.take(1, 0.0)
    assert give(held.written(0.0)) == ["first"]
    held.add(entry("being written"), 0.0)
    held.take(1, 0.0)
    assert held.add(entry("waiting"), 1.0) == []
    assert held.relieve(9.9) == []
    assert give(held.relieve(10.0)) == ["being written", "waiting"]
    assert give(held.add(entry("brought in the stall"), 11.0)) == ["brought in the stall"]
    assert dict(held.dropped) == {}
    assert held.written(12.0) == []
    held.take(1000, 12.0)
    assert held.add(entry("brought after it"), 12.0) == []
    assert held.written(12.0) == []
    assert give(held.clear()) == ["brought after it"]


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
    for number in range(8):
        held.add(Entry(b"%09d\n" % number, "router", patient=False), 1.0)
    assert held.size == 150
    assert dict(held.dropped) == {"router": 3}
    portion = held.take(1000, 2.0)
    assert portion is not None
    assert [entry.ps for entry in portion.entries] == ["web.1"] + ["router"] * 5
    assert [entry.data for entry in portion.entries[1:]] == [b"%09d\n" % number for number in range(3, 8)]
    assert portion.gap == Gap(lines=3, since=1.0)


def test_the_counts_do_not_grow_with_the_names() -> None:
    held = buffer(reserve=1)
    for number in range(3 * NAMES_COUNTED):
        held.add(Entry(LINE, f"run.{number}", patient=False), 0.0)
    assert len(held.dropped) == NAMES_COUNTED + 1
    assert held.dropped[OTHERS] == 2 * NAMES_COUNTED - 1


def test_clear_gives_back_what_waits_and_counts_nothing() -> None:
    held = buffer()
    receipts: list[Receipt] = [lambda: None, lambda: None]
    held.add(Entry(LINE, "web.1", receipts[0]), 0.0)
    held.add(Entry(LINE, "router", patient=False), 0.0)
    held.add(Entry(LINE, "web.2", receipts[1]), 0.0)
    assert held.clear() == receipts
    assert held.is_empty
    assert held.size == 0
    assert dict(held.dropped) == {}


class Histories(RuleBasedStateMachine):
    """Any history: produced = taken + dropped + waiting, in order, within the bounds; each receipt given just once."""

    def __init__(self) -> None:
        super().__init__()
        self.held = buffer()
        self.now = 0.0
        self.made = 0
        self.out: list[set[int]] = []
        self.taken: list[int] = []
        self.announced = 0
        self.asked: set[int] = set()
        self.given: list[int] = []

    def give(self, due: list[Receipt]) -> None:
        for receipt in due:
            receipt()

    def add(self, lines: int, *, patient: bool) -> None:
        number = self.made
        data = b"".join(b"%09d\n" % line for line in range(number, number + lines))
        self.made += lines
        receipt = (lambda: self.given.append(number)) if patient else None
        self.asked |= {number} if patient else set()
        self.give(self.held.add(Entry(data, "any", receipt, patient), self.now))

    @precondition(lambda self: self.held.has_room(self.now))
    @rule(lines=st.integers(min_value=1, max_value=4))
    def dyno_writes(self, lines: int) -> None:
        self.add(lines, patient=True)

    @rule(lines=st.integers(min_value=1, max_value=2))
    def router_writes(self, lines: int) -> None:
        self.add(lines, patient=False)

    @precondition(lambda self: len(self.out) < 2)
    @rule(max_bytes=st.integers(min_value=1, max_value=80))
    def writer_takes(self, max_bytes: int) -> None:
        portion = self.held.take(max_bytes, self.now)
        if portion is not None:
            numbers = [int(line) for entry in portion.entries for line in entry.data.split()]
            self.out.append(self.asked.intersection(numbers))
            self.taken += numbers
            self.announced += portion.gap.lines if portion.gap else 0

    @precondition(lambda self: self.out)
    @rule()
    def writer_is_done(self) -> None:
        self.give(self.held.written(self.now))
        assert self.out.pop(0) <= set(self.given)

    @rule(seconds=st.floats(min_value=0.1, max_value=15))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.give(self.held.relieve(self.now))

    @invariant()
    def nothing_is_lost_uncounted(self) -> None:
        waiting = self.held.size // len(LINE)
        assert len(self.taken) + sum(self.held.dropped.values()) + waiting == self.made
        assert self.announced <= sum(self.held.dropped.values())

    @invariant()
    def what_is_taken_is_in_order(self) -> None:
        assert self.taken == sorted(set(self.taken))

    @invariant()
    def memory_is_bounded(self) -> None:
        assert self.held.size <= 100 + 40 + 50

    @invariant()
    def receipts_are_given_once_and_all_of_them_in_a_stall(self) -> None:
        assert len(self.given) == len(set(self.given))
        if self.held.is_stalled(self.now):
            self.give(self.held.relieve(self.now))
            assert set(self.given) == self.asked

    def teardown(self) -> None:
        while self.held.take(1000, self.now) is not None:
            self.out.append(set())
        for _ in self.out:
            self.give(self.held.written(self.now))
        assert self.held.is_empty
        assert sorted(self.given) == sorted(self.asked)


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
