"""Sent and dropped are what there was, whatever happens in which order; records survive, or say that they did not."""

from hypothesis import given
from hypothesis import strategies as st

from dynod.core.drain_ledger import RECORD_BYTES, Ledger, decode, encode
from dynod.core.history_plan import Position

numbers = st.integers(0, 10**15)
ledgers = st.builds(
    Ledger,
    position=st.builds(Position, numbers, numbers),
    frame_end=numbers,
    sent=numbers,
    dropped=numbers,
    unsaid=numbers,
    unsaid_since=numbers.map(lambda micros: micros / 1e6),
)


@given(ledgers)
def test_a_record_says_what_was_written_and_has_one_size(ledger: Ledger) -> None:
    record = encode(ledger)
    assert len(record) == RECORD_BYTES
    assert decode(record) == ledger


@given(ledgers, st.integers(0, RECORD_BYTES - 1), st.integers(1, 255))
def test_a_spoilt_record_is_not_believed(ledger: Ledger, at: int, by: int) -> None:
    record = bytearray(encode(ledger))
    record[at] ^= by
    assert decode(bytes(record)) in {None, ledger}


def test_other_text_is_no_record() -> None:
    for text in (b"", b"\0" * RECORD_BYTES, b"1 2 3", b"1 a b c d e f g 00000000"):
        assert decode(text) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 50), st.booleans()), max_size=40))
def test_every_line_is_sent_or_dropped_and_every_drop_is_said_once(events: list[tuple[bool, int, bool]]) -> None:
    ledger, produced, said = Ledger(), 0, 0
    for number, (sent, lines, announced) in enumerate(events):
        produced += lines
        end = Position(produced * 10, produced)
        if sent:
            said += ledger.unsaid if announced else 0
            ledger = ledger.began(end.offset).was_sent(lines, end=end, announced=announced)
        else:
            before = ledger.unsaid
            ledger = ledger.was_dropped(lines, end=end, now=float(number + 1))
            if before == 0 and lines:
                assert ledger.unsaid_since == number + 1, "since the first that was not said"
        assert ledger.sent + ledger.dropped == produced == ledger.position.line
        assert said + ledger.unsaid == ledger.dropped
