"""Who gets which lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.line_condition import Condition, field_of, parse_conditions
from dynod.core.log_filter import EVERYTHING, LogFilter, newest
from dynod.core.log_line import LogBatch, Source
from dynod.errors import UsageError


def batch(text: bytes, *, source: Source = "app", ps: str = "web.1", time: float = 100.0) -> LogBatch:
    return LogBatch(time=time, source=source, ps=ps, text=text)


@pytest.mark.parametrize(
    ("wanted", "is_picked"),
    [
        (EVERYTHING, True),
        (LogFilter(source="app"), True),
        (LogFilter(source="heroku"), False),
        (LogFilter(process="web"), True),
        (LogFilter(process="web.1"), True),
        (LogFilter(process="web.10"), False),
        (LogFilter(process="we"), False),
        (LogFilter(since=100.0), True),
        (LogFilter(since=100.1), False),
        (LogFilter(until=100.0), False),
        (LogFilter(until=100.1), True),
        (LogFilter(text=b"hell"), True),
        (LogFilter(text=b"bye"), False),
        (LogFilter(source="app", process="worker"), False),
    ],
)
def test_everything_that_is_said_must_hold(wanted: LogFilter, is_picked: bool) -> None:
    assert (wanted.pick(batch(b"hello\n")) is not None) is is_picked


def test_of_a_batch_only_the_lines_with_the_text_are_left() -> None:
    picked = LogFilter(text=b"no").pick(batch(b"none\nyes\n\nknow\n"))
    assert picked is not None
    assert picked.text == b"none\nknow\n"


@given(st.lists(st.integers(1, 5), max_size=10), st.integers(0, 60))
def test_the_newest_are_the_last_in_order(sizes: list[int], count: int) -> None:
    lines, batches = [], []
    for number, size in enumerate(sizes):
        texts = [f"{number}.{at}" for at in range(size)]
        lines += texts
        batches.append(batch("".join(f"{text}\n" for text in texts).encode()))
    found = b"".join(each.text for each in newest(batches, count)).decode().splitlines()
    assert found == (lines[-count:] if count else [])


ROUTER = (
    b'at=error code=H12 desc="Request timeout" method=GET path="/?status=200 x" host=a.example.com '
    b'request_id=8601b555 fwd="1.2.3.4,5.6.7.8" dyno=web.1 connect=1ms service=30001ms status=503 bytes=0 '
    b"protocol=https"
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("at", "error"),
        ("desc", "Request timeout"),
        ("path", "/?status=200 x"),
        ("status", "503"),
        ("service", "30001ms"),
        ("protocol", "https"),
        ("us", None),
        ("missing", None),
    ],
)
def test_fields_of_router_lines(name: str, value: str | None) -> None:
    assert field_of(ROUTER, name.encode()) == value


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("status>=500", True),
        ("status>503", False),
        ("status=503", True),
        ("status==503", True),
        ("status!=200", True),
        ("service>1s", True),
        ("service>30001", False),
        ("service>=30001ms", True),
        ("service<0.5m", False),
        ("connect<=1ms status=503", True),
        ("connect<=1ms status=200", False),
        ("code=H12", True),
        ("code!=H12", False),
        ("method=POST", False),
        ("path~status", True),
        ("fwd~5.6.7.8", True),
        ("bytes<1kB", True),
        ("missing=1", False),
        ("missing!=1", False),
        ("host>5", False),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    wanted = LogFilter(where=parse_conditions(text))
    router = batch(ROUTER + b"\n", source="heroku", ps="router")
    assert (wanted.pick(router) is not None) is holds
    assert wanted.pick(batch(ROUTER + b"\n")) is None, "an app may write what looks like a router line"


@pytest.mark.parametrize("text", ["", "status", "status>", ">500", "status>fast", "status >= 500", "Status>5", "a=b c"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a"):
        parse_conditions(text)


@given(st.binary(max_size=200), st.sampled_from(["status", "path", "at"]))
def test_no_line_is_too_odd(line: bytes, name: str) -> None:
    field_of(line, name.encode())
    Condition(field=name, comparison=">", text="5", number=5.0).holds(line)
