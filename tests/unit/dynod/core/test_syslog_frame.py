"""Every frame, byte for byte as heroku-semantics 6.6 has it."""

from datetime import datetime
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.log_codes import bad_certificate
from dynod.core.log_line import LogBatch, Source, platform_batch
from dynod.core.syslog_frame import (
    FrameForm,
    frame_batch,
    frame_id,
    frame_loss,
    frame_message,
    http_form,
    pri_of,
    syslog_form,
)

TOKEN: Final = "d.73ea7440-270a-435a-a0ea-adf50b4e5f5a"
HTTP: Final = http_form()
SYSLOG: Final = syslog_form(TOKEN)


def epoch(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


REQUEST = (
    'at=info method=GET path="/" host=app.example.com request_id=8601b555-6a83-4c12-8269-97c8e32cdb22 '
    'fwd="204.204.204.204" dyno=web.1 connect=1ms service=18ms status=200 bytes=13 protocol=https'
)
HELLO = LogBatch(time=epoch("2025-01-02T03:04:05.678901+00:00"), source="app", ps="web.1", text=b"hello\n")
STATE = platform_batch(
    time=epoch("2025-01-02T03:04:05.700000+00:00"),
    source="heroku",
    ps="web.1",
    messages=("State changed from starting to up",),
)
ROUTER = platform_batch(
    time=epoch("2025-01-02T03:04:06.000001+00:00"),
    source="heroku",
    ps="router",
    messages=(REQUEST,),
)


def test_an_http_body_of_three_sources() -> None:
    body = b"".join(frame_batch(HTTP, batch) for batch in (HELLO, STATE, ROUTER))
    assert body == (
        b"63 <190>1 2025-01-02T03:04:05.678901+00:00 host app web.1 - hello\n"
        b"93 <45>1 2025-01-02T03:04:05.700000+00:00 host heroku web.1 - State changed from starting to up\n"
        b'251 <158>1 2025-01-02T03:04:06.000001+00:00 host heroku router - at=info method=GET path="/" '
        b"host=app.example.com request_id=8601b555-6a83-4c12-8269-97c8e32cdb22 "
        b'fwd="204.204.204.204" dyno=web.1 connect=1ms service=18ms status=200 bytes=13 protocol=https\n'
    )
    assert len(body) == 417


def test_the_same_on_a_syslog_drain() -> None:
    body = frame_batch(SYSLOG, HELLO) + frame_batch(SYSLOG, STATE)
    assert body == (
        b"99 <190>1 2025-01-02T03:04:05.678901+00:00 d.73ea7440-270a-435a-a0ea-adf50b4e5f5a app web.1 - - hello\n"
        b"129 <45>1 2025-01-02T03:04:05.700000+00:00 d.73ea7440-270a-435a-a0ea-adf50b4e5f5a heroku web.1 - - "
        b"State changed from starting to up\n"
    )
    assert len(body) == 235


def test_the_example_of_the_dev_center() -> None:
    def frame(stamp: str, message: bytes) -> bytes:
        return frame_message(HTTP, pri=40, stamp=stamp, source="app", ps="web.3", message=message)

    body = frame("2012-11-30T06:45:29+00:00", b"State changed from starting to up\n") + frame(
        "2012-11-30T06:45:26+00:00", b"Starting process with command `bundle exec rackup config.ru -p 24405`\n"
    )
    assert body == (
        b"83 <40>1 2012-11-30T06:45:29+00:00 host app web.3 - State changed from starting to up\n"
        b"119 <40>1 2012-11-30T06:45:26+00:00 host app web.3 - "
        b"Starting process with command `bundle exec rackup config.ru -p 24405`\n"
    )
    assert len(body) == 209


def test_lost_messages_are_told_of_without_a_line_break_over_http() -> None:
    at = epoch("2013-04-17T19:04:46+00:00")
    assert frame_loss(HTTP, lines=500, since=at, at=at) == (
        b"144 <172>1 2013-04-17T19:04:46+00:00 host heroku logplex - Error L10 (output buffer overflow): "
        b"500 messages dropped since 2013-04-17T19:04:46+00:00."
    )


def test_lost_messages_are_told_of_with_a_line_break_over_syslog() -> None:
    at = epoch("2013-04-17T19:04:46.999999+00:00")
    assert frame_loss(SYSLOG, lines=500, since=at, at=at) == (
        b"181 <172>1 2013-04-17T19:04:46+00:00 d.73ea7440-270a-435a-a0ea-adf50b4e5f5a heroku logplex - - "
        b"Error L10 (output buffer overflow): 500 messages dropped since 2013-04-17T19:04:46+00:00.\n"
    )


def test_lengths_are_of_bytes_not_of_characters() -> None:
    text = "naïve ☃\n".encode()
    assert frame_batch(HTTP, LogBatch(time=HELLO.time, source="app", ps="web.1", text=text)) == (
        b"68 <190>1 2025-01-02T03:04:05.678901+00:00 host app web.1 - " + text
    )


def test_a_bad_certificate_in_herokus_words() -> None:
    assert bad_certificate("syslog+tls://logs.example.com:6514/") == (
        'Error L14 (certificate validation): error="bad certificate" uri="syslog+tls://logs.example.com:6514/"'
    )


@pytest.mark.parametrize(
    ("source", "ps", "pri"),
    [
        ("app", "web.1", 190),
        ("app", "run.4217", 190),
        ("app", "api", 134),
        ("app", "log-shuttle", 172),
        ("heroku", "web.1", 45),
        ("heroku", "router", 158),
        ("heroku", "logplex", 188),
    ],
)
def test_each_producer_has_its_pri(source: Source, ps: str, pri: int) -> None:
    assert pri_of(source, ps) == pri


def unframe(body: bytes) -> list[bytes]:
    """RFC 6587, 3.4.1, as a receiver reads it."""
    messages = []
    while body:
        length, space, rest = body.partition(b" ")
        assert space
        assert length.isdigit()
        messages.append(rest[: int(length)])
        assert len(messages[-1]) == int(length)
        body = rest[int(length) :]
    return messages


@given(
    lines=st.lists(st.binary(max_size=300).map(lambda raw: raw.replace(b"\n", b"")), min_size=1, max_size=20),
    form=st.sampled_from([HTTP, SYSLOG]),
    micros=st.integers(0, 4_000_000_000_000_000),
)
def test_any_bytes_come_out_of_their_frames_as_they_went_in(lines: list[bytes], form: FrameForm, micros: int) -> None:
    batch = LogBatch(time=micros / 1e6, source="app", ps="web.1", text=b"".join(line + b"\n" for line in lines))
    messages = unframe(frame_batch(form, batch))
    separator = b" - - " if form.structured_data else b" - "
    assert [message.partition(separator)[2] for message in messages] == [line + b"\n" for line in lines]
    stamp = messages[0].split(b" ")[1].decode()
    assert round(epoch(stamp) * 1e6) == round(batch.time * 1e6)


def test_a_frames_id_is_that_of_its_bytes_and_its_drain() -> None:
    first = frame_id(TOKEN, b"body")
    assert len(first) == 32
    assert set(first) <= set("0123456789ABCDEF")
    assert first == frame_id(TOKEN, b"body")
    assert len({first, frame_id(TOKEN, b"bodz"), frame_id("d.other", b"body")}) == 3
