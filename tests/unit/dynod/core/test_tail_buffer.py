"""Bounded, newest kept, every line that is not given is counted."""

from hypothesis import given
from hypothesis import strategies as st

from dynod.core.log_line import LogBatch
from dynod.core.tail_buffer import BYTES, MESSAGES, MOST_BYTES, TailBuffer


def batch(lines: int, width: int, time: float = 0.0) -> LogBatch:
    return LogBatch(time=time, source="app", ps="web.1", text=(b"x" * (width - 1) + b"\n") * lines)


def test_a_thousand_and_twentyfour_messages_are_kept_the_newest() -> None:
    buffer = TailBuffer()
    for number in range(2000):
        buffer.offer(batch(1, 1000, time=float(number)))
    assert buffer.lines == MESSAGES
    taken = buffer.take()
    assert (taken.lost, taken.lost_since) == (2000 - MESSAGES, 0.0)
    assert taken.batches[-1].time == 1999.0
    assert buffer.take().lost == 0, "said once"
    assert buffer.dropped == 2000 - MESSAGES


def test_a_burst_of_short_lines_is_not_too_much_for_whoever_takes_it_next() -> None:
    buffer = TailBuffer()
    for _ in range(4):
        buffer.offer(batch(1000, 64))
    assert buffer.take().lost == 0


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(2, 3000), st.booleans()), max_size=60))
def test_taken_and_lost_are_all_there_was(events: list[tuple[int, int, bool]]) -> None:
    buffer, offered, seen = TailBuffer(), 0, 0
    largest = 0
    for lines, width, takes in events:
        largest = max(largest, lines * width)
        buffer.offer(batch(lines, width))
        offered += lines
        assert buffer.size <= MOST_BYTES + largest
        assert buffer.lines <= MESSAGES or buffer.size <= max(BYTES, largest)
        if takes:
            taken = buffer.take(50_000)
            assert taken.batches
            seen += taken.lost + sum(each.line_count for each in taken.batches)
    while not buffer.is_empty:
        taken = buffer.take(50_000)
        seen += taken.lost + sum(each.line_count for each in taken.batches)
    assert seen == offered
