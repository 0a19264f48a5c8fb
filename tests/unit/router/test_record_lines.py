"""Lines made by the compiled module and in Python are the same bytes."""

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from router import Code, RequestRecord, record_lines

TEXT = st.binary(max_size=40).map(lambda raw: raw.translate(None, b"\r\n"))
MS = st.none() | st.just(0.0) | st.floats(0, 1e12)


@st.composite
def records(draw: st.DrawFn) -> RequestRecord:
    made = RequestRecord("demo", draw(TEXT), draw(TEXT), draw(TEXT), 1.0)
    made.request_id, made.fwd, made.dyno = draw(TEXT), draw(TEXT), draw(TEXT)
    made.connect_ms, made.service_ms = draw(MS), draw(MS)
    made.status = draw(st.none() | st.integers(100, 599))
    made.bytes_out = draw(st.none() | st.integers(0, 2**62))
    made.protocol = draw(st.sampled_from(["http", "https"]))
    if draw(st.booleans()):
        made.fail(draw(st.sampled_from(Code)), cause="bad chunk")
    return made


@given(st.lists(records(), max_size=5))
def test_both_ways_to_make_lines_make_the_same(batch: list[RequestRecord]) -> None:
    made = record_lines.lines(batch)
    with patch.object(record_lines, "_compiled", None):
        assert made == record_lines.lines(batch)
    assert made.count(b"\n") == len(batch)
