"""The stream stamps, keeps and hands on, in the order of arrival, and leaves back-pressure to its sink."""

from collections.abc import Callable

import pytest

from dynod.core.log_history import LogHistory
from dynod.core.log_line import LogBatch
from dynod.core.log_mask import LogMask
from dynod.logs.stream import LogStream


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.batches: list[LogBatch] = []
        self.receipts: list[Callable[[], None] | None] = []
        self.has_room = True

    def accept(self, batch: LogBatch, on_handed_on: Callable[[], None] | None) -> bool:
        self.batches.append(batch)
        self.receipts.append(on_handed_on)
        return self.has_room


@pytest.fixture
def sink() -> Kept:
    return Kept()


@pytest.fixture
def stream(sink: Kept) -> LogStream:
    times = iter(range(1000, 2000))
    return LogStream(sink, clock=lambda: float(next(times)))


def test_every_source_has_herokus_names(stream: LogStream, sink: Kept) -> None:
    stream.publish_app("web.1", b"hello\n", lambda: None)
    stream.platform("web.1", "State changed from starting to up")
    stream.api("Set FOO config vars by user me@example.com", "Release v3 created by user me@example.com")
    stream.router_lines([(7.25, "at=info method=GET"), (7.5, "at=info method=POST")])
    assert sink.batches == [
        LogBatch(time=1000.0, source="app", ps="web.1", text=b"hello\n"),
        LogBatch(time=1001.0, source="heroku", ps="web.1", text=b"State changed from starting to up\n"),
        LogBatch(
            time=1002.0,
            source="app",
            ps="api",
            text=b"Set FOO config vars by user me@example.com\nRelease v3 created by user me@example.com\n",
        ),
        LogBatch(time=7.25, source="heroku", ps="router", text=b"at=info method=GET\n"),
        LogBatch(time=7.5, source="heroku", ps="router", text=b"at=info method=POST\n"),
    ]


def test_values_are_hidden_wherever_they_are_said_until_the_mask_is_taken_off(stream: LogStream, sink: Kept) -> None:
    stream.mask(LogMask({"KEY": "hunter2-long"}))
    tail = stream.follow()
    stream.publish_app("web.1", b"key hunter2-long\n", lambda: None)
    stream.platform("web.1", "Starting process with command `run --key=hunter2-long`")
    stream.router_lines([(7.0, 'path="/?key=hunter2-long"')])
    stream.api("hunter2-long")
    hidden = [batch.text for batch in sink.batches]
    assert hidden == [
        b"key [FILTERED]\n",
        b"Starting process with command `run --key=[FILTERED]`\n",
        b'path="/?key=[FILTERED]"\n',
        b"[FILTERED]\n",
    ]
    assert [batch.text for batch in stream.newest()] == hidden
    assert tail.waiting == len(hidden)
    stream.mask(None)
    stream.publish_app("web.1", b"key hunter2-long\n", lambda: None)
    assert sink.batches[-1].text == b"key hunter2-long\n"


def test_saying_nothing_is_no_line(stream: LogStream, sink: Kept) -> None:
    stream.platform("web.1")
    stream.router_lines([])
    assert sink.batches == []


def test_the_sink_decides_on_room_and_gets_the_receipt(stream: LogStream, sink: Kept) -> None:
    def receipt() -> None:
        pass

    assert stream.publish_app("web.1", b"a\n", receipt)
    sink.has_room = False
    assert not stream.publish_app("web.1", b"b\n", receipt)
    stream.platform("web.1", "Restarting")
    assert sink.receipts == [receipt, receipt, None]


def test_the_newest_lines_are_kept_across_sources(sink: Kept) -> None:
    stream = LogStream(sink, clock=lambda: 1.0, history=LogHistory(max_lines=3, max_bytes=1000))
    stream.publish_app("web.1", b"a\nb\nc\n", lambda: None)
    stream.platform("web.1", "Cycling")
    assert [(batch.ps, batch.text) for batch in stream.newest()] == [("web.1", b"b\nc\n"), ("web.1", b"Cycling\n")]
    assert [batch.text for batch in stream.newest(1)] == [b"Cycling\n"]
