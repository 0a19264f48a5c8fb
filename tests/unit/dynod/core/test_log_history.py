"""History: the newest lines, as many as asked for, never more memory than the bounds and one batch."""

from hypothesis import given
from hypothesis import strategies as st

from dynod.core.log_history import LogHistory
from dynod.core.log_line import LogBatch


def batch(lines: list[int]) -> LogBatch:
    return LogBatch(time=0.0, source="app", ps="web.1", text=b"".join(b"%d\n" % number for number in lines))


def numbered(sizes: list[int]) -> tuple[list[LogBatch], list[int]]:
    """Batches of the given sizes with consecutive numbers on their lines."""
    numbers = list(range(sum(sizes)))
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [batch(numbers[at : at + size]) for at, size in zip(starts, sizes, strict=True)], numbers


def lines_of(batches: tuple[LogBatch, ...]) -> list[int]:
    return [int(line) for one in batches for line in one.text.splitlines()]


@given(sizes=st.lists(st.integers(min_value=1, max_value=9), max_size=30), count=st.integers(min_value=0, max_value=40))
def test_the_newest_lines_are_kept_in_order(sizes: list[int], count: int) -> None:
    history = LogHistory(max_lines=20, max_bytes=1_000_000)
    batches, numbers = numbered(sizes)
    for one in batches:
        history.add(one)
    wanted = min(count, 20)
    assert lines_of(history.newest(count)) == (numbers[-wanted:] if wanted else [])
    assert lines_of(history.newest()) == numbers[-20:]


@given(sizes=st.lists(st.integers(min_value=1, max_value=9), min_size=1, max_size=30))
def test_bytes_are_bounded_by_dropping_the_oldest(sizes: list[int]) -> None:
    history = LogHistory(max_lines=1000, max_bytes=40)
    batches, numbers = numbered(sizes)
    for one in batches:
        history.add(one)
        assert sum(len(kept.text) for kept in history.newest()) <= max(40, len(one.text))
    kept = lines_of(history.newest())
    assert kept == numbers[-len(kept) :]


def test_a_batch_beyond_the_bounds_is_still_read_to_the_line() -> None:
    history = LogHistory(max_lines=3, max_bytes=10)
    history.add(batch(list(range(100))))
    assert lines_of(history.newest()) == [97, 98, 99]
