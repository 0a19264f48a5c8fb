"""Only a sound traceparent is logged; the router's line is Heroku's, to the byte, where there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.request_record import RequestRecord, line_bytes
from router.core.traceparent import traceparent
from router.record_lines import lines

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
SOUND = b"00-%b-%b-01" % (TRACE, SPAN)


def head(*values: bytes, name: bytes = b"traceparent") -> bytes:
    fields = b"".join(b"%b: %b\r\n" % (name, value) for value in values)
    return b"GET /?traceparent:x HTTP/1.1\r\nHost: a\r\nx-traceparent: no\r\n%bVia: 1.1 dynod\r\n\r\n" % fields


@pytest.mark.parametrize("name", [b"traceparent", b"Traceparent", b"TRACEPARENT"])
def test_a_sound_one_is_found_under_any_spelling(name: bytes) -> None:
    assert traceparent(head(SOUND, name=name)) == SOUND
    assert traceparent(head(SOUND + b"  ", name=name)) == SOUND


def test_of_a_later_version_what_all_have_is_taken() -> None:
    later = b"cc" + SOUND[2:]
    assert traceparent(head(later)) == later
    assert traceparent(head(later + b"-what-the-future-brings")) == later


@pytest.mark.parametrize(
    "value",
    [
        b"",
        SOUND.upper(),
        SOUND[:-1],
        SOUND + b"-more",
        SOUND + b"0",
        b"ff" + SOUND[2:],
        b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00_%b_%b_01" % (TRACE, SPAN),
        b"cc" + SOUND[2:] + b"more",
        b'00-%b-%b-01" status=200' % (TRACE, SPAN),
    ],
)
def test_an_unsound_one_is_none(value: bytes) -> None:
    assert traceparent(head(value)) == b""


def test_two_are_none() -> None:
    assert traceparent(head(SOUND, SOUND)) == b""
    assert traceparent(head()) == b""


@given(st.binary().filter(lambda value: b"\r" not in value and b"\n" not in value))
def test_whatever_is_found_ends_no_field_of_a_line(value: bytes) -> None:
    found = traceparent(head(value))
    assert len(found) in {0, 55}
    assert set(found) <= set(b"0123456789abcdef-")


def test_it_stands_at_the_end_of_the_line_and_nowhere_else() -> None:
    def made(found: bytes) -> RequestRecord:
        record = RequestRecord("demo", b"GET", b"/", b"demo.test", 0.0, request_id=b"1")
        record.status, record.traceparent = 200, found
        return record

    plain = line_bytes(made(b""))
    assert b"trace" not in plain
    assert lines([made(b""), made(SOUND)]) == plain + b"\n" + plain + b" traceparent=" + SOUND + b"\n"
