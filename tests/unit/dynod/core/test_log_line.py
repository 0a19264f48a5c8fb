"""Batches: platform messages become whole lines, and a batch can be trimmed to its newest lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.log_line import LogBatch, platform_batch


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        (("State changed from starting to up",), b"State changed from starting to up\n"),
        (("one", "two"), b"one\ntwo\n"),
        (("",), b"\n"),
        (("one\ntwo\n",), b"one\ntwo\n"),
        (("naïve",), "naïve\n".encode()),
        (("bad name \udcff",), b"bad name \\udcff\n"),
    ],
)
def test_platform_messages_become_whole_lines(messages: tuple[str, ...], text: bytes) -> None:
    batch = platform_batch(time=1.0, source="heroku", ps="web.1", messages=messages)
    assert batch == LogBatch(time=1.0, source="heroku", ps="web.1", text=text)
    assert batch.line_count == text.count(b"\n")


@given(
    lines=st.lists(st.sampled_from([b"\n", b"a\n", b"bc\n"]), min_size=1), count=st.integers(min_value=1, max_value=12)
)
def test_the_last_lines_of_a_batch(lines: list[bytes], count: int) -> None:
    batch = LogBatch(time=1.0, source="app", ps="web.1", text=b"".join(lines))
    assert batch.last_lines(count).text == b"".join(lines[-count:])
