"""The bytes that a collector gets: journald's names, one object a line, any bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.journal_json import json_lines
from dynod.core.log_line import LogBatch, Source
from dynod.core.trace_fields import Trace, trace_of


def test_golden_bytes() -> None:
    batch = LogBatch(time=1_735_787_045.678901, source="heroku", ps="router", text=b'at=info "x" ?\n\xff\n')
    assert json_lines("shop", batch) == (
        b'{"__REALTIME_TIMESTAMP": "1735787045678901", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "heroku[router]", '
        b'"DYNOD_APP": "shop", "DYNOD_SOURCE": "heroku", "DYNOD_PS": "router", '
        b'"DYNOD_TIME": "2025-01-02T03:04:05.678901+00:00", "MESSAGE": "at=info \\"x\\" ?"}\n'
        b'{"__REALTIME_TIMESTAMP": "1735787045678901", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "heroku[router]", '
        b'"DYNOD_APP": "shop", "DYNOD_SOURCE": "heroku", "DYNOD_PS": "router", '
        b'"DYNOD_TIME": "2025-01-02T03:04:05.678901+00:00", "MESSAGE": "\\\\xff"}\n'
    )


SOUND = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACED = b'at=info method=GET path="/" host=a status=200 bytes=5 protocol=http traceparent=' + SOUND


def test_a_request_with_a_trace_has_it_as_fields_of_its_own() -> None:
    batch = LogBatch(time=1.5, source="heroku", ps="router", text=TRACED + b"\n" + TRACED[:-1] + b"\n")
    traced, other = (json.loads(line) for line in json_lines("shop", batch).splitlines())
    assert (traced["TRACE_ID"], traced["SPAN_ID"]) == ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
    assert "TRACE_ID" not in other
    assert trace_of(TRACED) == Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "01")


@pytest.mark.parametrize(("source", "ps"), [("app", "router"), ("app", "web.1"), ("heroku", "web.1")])
def test_nobody_but_the_router_says_what_a_trace_is(source: Source, ps: str) -> None:
    batch = LogBatch(time=1.5, source=source, ps=ps, text=TRACED + b"\n")
    assert "TRACE_ID" not in json.loads(json_lines("shop", batch))


@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), min_size=1, max_size=8))
def test_any_line_is_one_object_of_utf8(lines: list[bytes]) -> None:
    batch = LogBatch(time=1.5, source="app", ps="web.1", text=b"".join(line + b"\n" for line in lines))
    found = [json.loads(line) for line in json_lines("shop", batch).decode().split("\n")[:-1]]
    assert [entry["MESSAGE"] for entry in found] == [line.decode("utf-8", "backslashreplace") for line in lines]
