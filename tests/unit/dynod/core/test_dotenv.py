"""`.env` files: the values are python-dotenv's, and what python-dotenv drops or guesses is a fault."""

import logging
from io import StringIO

import pytest
from dotenv import dotenv_values
from hypothesis import example, given
from hypothesis import strategies as st

from dynod.app_folder import parse_dotenv

NOTHING: dict[str, str] = {}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=1", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A=\nB=2", {"A": "", "B": "2"}),
        ("A = 1", {"A": "1"}),
        ("  A=1  ", {"A": "1"}),
        ("export A=1", {"A": "1"}),
        ("export  A=1", {"A": "1"}),
        ("export=1", {"export": "1"}),
        ("A=abc#def", {"A": "abc#def"}),
        ("A=abc #def", {"A": "abc"}),
        ("A=#def", {"A": "#def"}),
        ('A="abc #def" # x', {"A": "abc #def"}),
        ("A='abc #def'", {"A": "abc #def"}),
        ("A=hello world", {"A": "hello world"}),
        ("A=a=b==", {"A": "a=b=="}),
        ("A=postgres://u:p%23w@h:5432/d?x=1&y=2", {"A": "postgres://u:p%23w@h:5432/d?x=1&y=2"}),
        ('A={"a": 1, "b": [2]}', {"A": '{"a": 1, "b": [2]}'}),
        ('A=\'{"a": "x y"}\'', {"A": '{"a": "x y"}'}),
        (r'A="{\"a\": 1}"', {"A": '{"a": 1}'}),
        (r'A="a\nb\tc"', {"A": "a\nb\tc"}),
        (r"A='a\nb'", {"A": r"a\nb"}),
        (r"A=a\nb", {"A": r"a\nb"}),
        (r"A='it\'s'", {"A": "it's"}),
        ('A="one\ntwo"\nB=3', {"A": "one\ntwo", "B": "3"}),
        ("A='-----BEGIN KEY-----\nabc=\n-----END KEY-----'", {"A": "-----BEGIN KEY-----\nabc=\n-----END KEY-----"}),
        ("A=$HOME", {"A": "$HOME"}),
        ("A=${HOME}", {"A": "${HOME}"}),
        ('A=1\nB="${A}x"', {"A": "1", "B": "${A}x"}),
        ("A=`id`", {"A": "`id`"}),
        ("A=ünï☃", {"A": "ünï☃"}),
        ("A=1\nA=2", {"A": "2"}),
        ("_a9=1", {"_a9": "1"}),
        ("'A'=1", {"A": "1"}),
        ("A=''", {"A": ""}),
        ("A=a'b\"c", {"A": "a'b\"c"}),
        ("A=\\", {"A": "\\"}),
        ("# A=1", NOTHING),
        ("   # A=1", NOTHING),
        ("\n\n \t\n", NOTHING),
        ("", NOTHING),
    ],
)
def test_values_are_python_dotenvs(text: str, values: dict[str, str]) -> None:
    read = parse_dotenv(text)
    assert read.faults == ()
    assert read.values == values
    assert dotenv_values(stream=StringIO(text), interpolate=False) == values


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("A", 1, 'expected "NAME=value", found "A" alone; write "A=" for an empty value'),
        ("A=1\nexport A", 2, 'found "A" alone'),
        ("A=1\n\n\nhello world\n", 4, 'expected "NAME=value", found no "="'),
        ("A=1\n# x\n\n9A=1", 4, '"9A" is no variable name'),
        ("MY-KEY=1", 1, '"MY-KEY" is no variable name'),
        ("my.key=1", 1, '"…" is no variable name'),
        ("É=1", 1, '"…" is no variable name'),
        ("MIIEpAIBAAKCAQEA7bq9", 1, 'expected "NAME=value", found no "="'),
        ("bq9/+a==", 1, '"…" is no variable name'),
        ("=1", 1, 'expected "NAME=value", found "=…"'),
        ("A B=1", 1, 'expected "NAME=value", found "A B=…"'),
        ('A="abc', 1, 'the value of "A" has an unmatched " quote'),
        ("\nA='abc", 2, "unmatched ' quote"),
        ("A='abc'def", 1, "text after the closing one"),
        ("A='a\0b'", 1, "the value of A contains a NUL byte"),
        ('{"A": "1"}', 1, "expected"),
        ("A: 1", 1, 'found no "="'),
    ],
)
def test_what_python_dotenv_drops_is_a_fault(text: str, line: int, message: str) -> None:
    read = parse_dotenv(text, file=".env.local")
    assert [(fault.file, fault.line) for fault in read.faults] == [(".env.local", line)]
    assert message in read.faults[0].message


def test_every_fault_is_shown_and_the_rest_is_read() -> None:
    read = parse_dotenv("A=1\noops\nB=2\n'C=3\nD=4")
    assert read.values == {"A": "1", "B": "2", "D": "4"}
    assert [fault.line for fault in read.faults] == [2, 4]


@pytest.mark.parametrize(
    "text", ["PASSWORD='hunter2", "PASS WORD=hunter2", "PASSWORD='x' hunter2", "PASSWORD=hunter2\0"]
)
def test_no_message_repeats_a_value(text: str) -> None:
    (fault,) = parse_dotenv(text).faults
    assert "hunter2" not in fault.message


def test_variables_know_their_line() -> None:
    read = parse_dotenv('\n\nA=1\n# c\nB="x\ny"\n\nC=3')
    assert [(variable.name, variable.line) for variable in read.variables] == [("A", 3), ("B", 5), ("C", 8)]


PIECES = st.sampled_from(
    [
        "A",
        "B",
        "=",
        "'",
        '"',
        "\\",
        "\n",
        "\r\n",
        " ",
        "#",
        "export ",
        "${A}",
        "é",
        "\ufeff",
        "\0",
        "\t",
        "x=1",
        "\x85",
        "\f",
    ]
)


@given(st.text() | st.lists(PIECES).map("".join))
@example("A\n=1")
@example("\ufeffA=1")
@example("\ufeff\ufeffA=1")
@example("A='\\'\nB=1")
def test_where_no_fault_is_reported_the_values_are_python_dotenvs(text: str) -> None:
    read = parse_dotenv(text)
    logging.disable(logging.WARNING)
    try:
        theirs = dotenv_values(stream=StringIO(text), interpolate=False)
    finally:
        logging.disable(logging.NOTSET)
    if not read.faults:
        assert read.values == theirs
    else:
        for name, value in read.values.items():  # theirs may be lost to a later statement, which is one of the faults
            assert theirs[name] in {value, None} or "\0" in str(theirs[name])
    for fault in read.faults:
        assert fault.line is not None
        assert 1 <= fault.line <= text.count("\n") + text.count("\r") + 1


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r")),
        max_size=6,
    )
)
def test_any_value_in_quotes_comes_back_as_written(values: dict[str, str]) -> None:
    lines = ["{}='{}'".format(name, value.replace("\\", "\\\\").replace("'", "\\'")) for name, value in values.items()]
    read = parse_dotenv("\n".join(lines))
    assert read.faults == ()
    assert read.values == values
