"""Values are hidden where they are found exactly, and nothing else changes."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.log_mask import HIDDEN, SHORTEST, LogMask


def named(values: Sequence[str]) -> dict[str, str]:
    return {f"VAR_{number}": value for number, value in enumerate(values)}


@pytest.mark.parametrize(
    ("values", "text", "shown"),
    [
        (["hunter2-long"], b"password=hunter2-long!\n", b"password=[FILTERED]!\n"),
        (["true", "5432", ""], b"true 5432\n", b"true 5432\n"),
        (["secret", "secret-and-more"], b"secret-and-more secret\n", b"[FILTERED] [FILTERED]\n"),
        (["a.c*e+f"], b"abcdef a.c*e+f\n", b"abcdef [FILTERED]\n"),
        (["first-line\nsecond-line"], b"first-line\nsecond-line\n", b"[FILTERED]\n[FILTERED]\n"),
        (["geheimnis-äöü"], "x geheimnis-äöü y\n".encode(), b"x [FILTERED] y\n"),
        ([], b"nothing\n", b"nothing\n"),
    ],
)
def test_what_is_hidden(values: list[str], text: bytes, shown: bytes) -> None:
    assert LogMask(named(values)).hide(text) == shown


def test_what_is_too_short_to_be_hidden_is_named() -> None:
    mask = LogMask({"DEBUG": "true", "KEY": "long-enough", "EMPTY": "", "LINES": "a\nb\r\nc", "BOTH": "x\nlong-enough"})
    assert mask.too_short == ("DEBUG", "LINES")


@given(st.lists(st.text(min_size=SHORTEST, max_size=20), max_size=5), st.lists(st.binary(max_size=30), max_size=5))
def test_no_value_is_left_and_lines_stay_lines(values: list[str], around: list[bytes]) -> None:
    values = [value for value in values if "[FILTERED]" not in value and value not in "[FILTERED]"]
    text = b"".join(piece.replace(b"\n", b" ") + b"\n" for piece in around)
    hidden = LogMask(named(values)).hide(text)
    assert hidden.count(b"\n") == text.count(b"\n")
    if not any(value.encode() in text for value in values):
        assert hidden == text or HIDDEN in hidden
