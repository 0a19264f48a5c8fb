"""Text forms: Heroku's to the byte for files and pipes, a safe and coloured one for terminals."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.log_line import LogBatch, Source
from dynod.core.log_text import NAMES_KEPT, PALETTE, FullText, TerminalText

AT = 1362945190.123456  # 2013-03-10T19:53:10.123456Z, Heroku's own example


def batch(text: bytes, *, ps: str = "web.1", source: Source = "app", time: float = AT) -> LogBatch:
    return LogBatch(time=time, source=source, ps=ps, text=text)


def terminal(
    *, colour: bool = False, offset: Callable[[float], int] = lambda _: 0, name_width: int = 0
) -> TerminalText:
    return TerminalText(colour=colour, utc_offset_s=offset, name_width=name_width)


def test_full_form_is_herokus() -> None:
    assert FullText().format(batch(b"hello\n")) == b"2013-03-10T19:53:10.123456+00:00 app[web.1]: hello\n"


def test_an_empty_message_is_a_name_and_nothing() -> None:
    assert FullText().format(batch(b"\n")) == b"2013-03-10T19:53:10.123456+00:00 app[web.1]: \n"


@pytest.mark.parametrize(
    ("time", "stamp"),
    [
        (0.0, b"1970-01-01T00:00:00.000000+00:00 "),
        (AT, b"2013-03-10T19:53:10.123456+00:00 "),
        (1362945190.9999999, b"2013-03-10T19:53:11.000000+00:00 "),
        (951782400.000001, b"2000-02-29T00:00:00.000001+00:00 "),
    ],
)
def test_stamps_have_microseconds_and_carry(time: float, stamp: bytes) -> None:
    assert FullText().format(batch(b"x\n", time=time)).startswith(stamp)


def test_the_stamp_follows_the_time_over_a_second() -> None:
    text = FullText()
    first, second, third = (text.format(batch(b"x\n", time=AT + s)) for s in (0, 1, 0))
    assert first == third
    assert second.startswith(b"2013-03-10T19:53:11.123456+00:00 ")


text_lines = st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), min_size=1)


@given(lines=text_lines)
def test_full_form_prefixes_every_line_and_changes_no_byte(lines: list[bytes]) -> None:
    prefix = b"2013-03-10T19:53:10.123456+00:00 app[web.1]: "
    whole = b"".join(line + b"\n" for line in lines)
    assert FullText().format(batch(whole)) == b"".join(prefix + line + b"\n" for line in lines)


@given(lines=text_lines, colour=st.booleans())
def test_a_terminal_gets_utf8_and_as_many_lines_as_there_are(lines: list[bytes], colour: bool) -> None:
    shown = terminal(colour=colour).format(batch(b"".join(line + b"\n" for line in lines)))
    shown.decode()
    assert shown.count(b"\n") == len(lines)
    assert shown.endswith(b"\n")


def test_terminal_form_has_local_time() -> None:
    assert terminal(offset=lambda _: 2 * 3600).format(batch(b"hello\n")) == b"21:53:10 app[web.1]: hello\n"


def test_local_time_follows_the_offset_of_the_moment() -> None:
    summer = AT + 3600
    text = terminal(offset=lambda at: 7200 if at >= summer else 3600)
    assert text.format(batch(b"x\n")).startswith(b"20:53:10")
    assert text.format(batch(b"x\n", time=summer)).startswith(b"22:53:10")


def test_names_are_padded_to_a_common_width() -> None:
    text = terminal(name_width=len("heroku[router]:"))
    assert text.format(batch(b"x\n")) == b"19:53:10 app[web.1]:     x\n"
    assert text.format(batch(b"x\n", ps="router", source="heroku")) == b"19:53:10 heroku[router]: x\n"
    assert text.format(batch(b"x\n", ps="long_worker.12")) == b"19:53:10 app[long_worker.12]: x\n"


def test_colour_ends_before_the_dynos_text() -> None:
    shown = terminal(colour=True).format(batch(b"a\nb\n"))
    line = rb"\x1b\[\d+m19:53:10 app\[web\.1\]:\x1b\[0m %b\n"
    assert re.fullmatch(line % b"a" + line % b"b", shown)


def test_dynos_of_a_type_share_a_colour_and_types_differ() -> None:
    text = terminal(colour=True)

    def colour(ps: str, source: Source = "app") -> bytes:
        return text.format(batch(b"x\n", ps=ps, source=source)).split(b"m", 1)[0] + b"m"

    types = ["web", "worker", "release", "router", "api", "clock", "run", "scheduler", "beat", "assets"]
    assert {colour(f"{name}.1") for name in types} == set(PALETTE)
    assert colour("web.1") == colour("web.2") == colour("web.1", "heroku")
    again = terminal(colour=True)
    assert again.format(batch(b"x\n")).startswith(colour("web.1"))


def test_more_types_than_colours_still_have_one() -> None:
    text = terminal(colour=True)
    for number in range(3 * NAMES_KEPT):
        assert text.format(batch(b"x\n", ps=f"type{number}.1")).startswith(PALETTE)
    assert len(text._names) <= NAMES_KEPT
    assert len(text._colours) <= NAMES_KEPT


def test_bytes_that_are_no_utf8_are_shown_escaped() -> None:
    assert terminal().format(batch(b"caf\xc3\xa9 \xff\xc3\n")) == b"19:53:10 app[web.1]: caf\xc3\xa9 \\xff\\xc3\n"


def test_an_unterminated_colour_ends_with_its_line() -> None:
    shown = terminal().format(batch(b"plain\n\x1b[31mred\nplain\n"))
    at = b"19:53:10 app[web.1]: "
    assert shown == at + b"plain\n" + at + b"\x1b[31mred\x1b[0m\n" + at + b"plain\n"


def test_a_progress_bar_does_not_overwrite_whose_it_is() -> None:
    at = b"19:53:10 app[web.1]: "
    assert terminal().format(batch(b"10%\r20%\n")) == at + b"10%\r" + at + b"20%\n"
