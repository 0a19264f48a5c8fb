"""What the full text form says can be read back, to the byte and the microsecond."""

from hypothesis import given
from hypothesis import strategies as st

from dynod.core.log_line import LogBatch
from dynod.core.log_reading import LineReader
from dynod.core.log_text import FullText

batches = st.builds(
    LogBatch,
    time=st.integers(0, 4_000_000_000_000_000).map(lambda micros: micros / 1e6),
    source=st.sampled_from(["app", "heroku"]),
    ps=st.sampled_from(["web.1", "router", "api", "worker-2.17", "log-shuttle"]),
    text=st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"]: ")), min_size=1, max_size=5).map(
        lambda lines: b"".join(line + b"\n" for line in lines)
    ),
)


def flat(found: list[LogBatch]) -> list[tuple[int, str, str, bytes]]:
    return [
        (round(batch.time * 1e6), batch.source, batch.ps, line)
        for batch in found
        for line in batch.text[:-1].split(b"\n")
    ]


@given(st.lists(batches, max_size=6))
def test_what_is_written_is_read_back(written: list[LogBatch]) -> None:
    text = FullText()
    found, lost = LineReader().batches(b"".join(text.format(batch) for batch in written))
    assert lost == 0
    assert flat(found) == flat(written)


@given(st.binary(max_size=200))
def test_garbage_is_counted_and_never_raises(garbage: bytes) -> None:
    whole = LogBatch(time=5.25, source="app", ps="web.1", text=b"hello\n")
    data = garbage.replace(b"\n", b"x") + b"\n" + FullText().format(whole)
    found, lost = LineReader().batches(data)
    assert found[-1] == whole
    assert sum(batch.line_count for batch in found) + lost == 2


def test_lines_that_came_together_are_one_batch() -> None:
    batch = LogBatch(time=5.25, source="app", ps="web.1", text=b"a\nb\n\nc\n")
    assert LineReader().batches(FullText().format(batch)) == ([batch], 0)


@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from(["web.1", "web.2", "router"])), min_size=1, max_size=8))
def test_bursts_are_told_apart(bursts: list[tuple[int, str]]) -> None:
    """Long runs of lines with the same beginning, of the same moment too, and a line that only looks like one."""
    text, lookalike = FullText(), b"1970-01-01T00:00:05.250000+00:00 app[web.1]: "
    written = [
        LogBatch(time=5.25, source="app", ps=ps, text=b"".join(b"%b%d\n" % (lookalike, n) for n in range(count)))
        for count, ps in bursts
    ]
    found, lost = LineReader().batches(b"".join(text.format(batch) for batch in written))
    assert lost == 0
    assert flat(found) == flat(written)
