"""The bytes that a collector gets: journald's names, one object a line, any bytes."""

import json

from hypothesis import given
from hypothesis import strategies as st

from dynod.core.journal_json import json_lines
from dynod.core.log_line import LogBatch


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


@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), min_size=1, max_size=8))
def test_any_line_is_one_object_of_utf8(lines: list[bytes]) -> None:
    batch = LogBatch(time=1.5, source="app", ps="web.1", text=b"".join(line + b"\n" for line in lines))
    found = [json.loads(line) for line in json_lines("shop", batch).decode().split("\n")[:-1]]
    assert [entry["MESSAGE"] for entry in found] == [line.decode("utf-8", "backslashreplace") for line in lines]
