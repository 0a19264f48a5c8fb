"""The Procfile grammar: what is a type, what is a fault, and that nothing is neither."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.procfile import BLANKS, LINE_END, parse_procfile

NAMES = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=63).filter(lambda name: name != "run")
COMMANDS = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), min_size=1)
    .map(lambda text: text.strip(BLANKS))
    .filter(lambda text: text and not text.startswith("#"))
)


@pytest.mark.parametrize(
    ("line", "name", "command"),
    [
        ("web: gunicorn app", "web", "gunicorn app"),
        ("web:gunicorn app", "web", "gunicorn app"),
        ("web:\tgunicorn app \t", "web", "gunicorn app"),
        ("  web: gunicorn app", "web", "gunicorn app"),
        ("\ufeffweb: gunicorn app", "web", "gunicorn app"),
        ("web: gunicorn app\r\n", "web", "gunicorn app"),
        ("web: echo a # b", "web", "echo a # b"),
        ("web: echo a: b", "web", "echo a: b"),
        ("web: FOO=1 x && y > z", "web", "FOO=1 x && y > z"),
        ("web: echo 'ünï ☃'", "web", "echo 'ünï ☃'"),
        ("My-Worker_2: x", "My-Worker_2", "x"),
        ("-: x", "-", "x"),
        (f"{'w' * 63}: x", "w" * 63, "x"),
        ("web: a\u2028b", "web", "a\u2028b"),
        ("web: x \\", "web", "x \\"),
    ],
)
def test_a_line_is_a_name_a_colon_and_a_command(line: str, name: str, command: str) -> None:
    read = parse_procfile(line)
    assert [(declared.name, declared.command) for declared in read.types] == [(name, command)]
    assert read.faults == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("web2 gunicorn", 'expected "name: command", found "web2 gunicorn"'),
        (": gunicorn", 'expected "name: command", found ": gunicorn"'),
        ("web : gunicorn", 'expected "name: command", found "web : gunicorn" (a name is made of letters'),
        ("my.web: x", 'expected "name: command", found "my.web: x" (a name is made of letters, digits, "-" and "_")'),
        ("wéb: x", 'expected "name: command", found "wéb: x" (a name is'),
        ("two words: x", 'expected "name: command", found "two words: x"'),
        ("\u00a0web: x", r'expected "name: command", found "\xa0web: x"'),
        ("run: x", 'process type "run" is what one-off dynos are called (run.N): choose another name'),
        ("web: ", 'process type "web" has no command'),
        ("web:", 'process type "web" has no command'),
        ("web: # later", 'process type "web" has no command'),
        ("web: a\0b", "contains a NUL byte"),
        (f"{'w' * 64}: x", "has a name of 64 characters; 63 are allowed"),
        ("x" * 500, f'found "{"x" * 59}…"'),
    ],
)
def test_any_other_line_is_a_fault(line: str, message: str) -> None:
    read = parse_procfile(f"clock: x\n\n# comment\n{line}\nworker: y", file="Procfile.dev")
    assert [declared.name for declared in read.types] == ["clock", "worker"]
    (fault,) = read.faults
    assert (fault.file, fault.line) == ("Procfile.dev", 4)
    assert message in fault.message


def test_the_fault_reads_as_one_sentence_with_its_place() -> None:
    read = parse_procfile("web: x\nworker: y\n\nweb2 gunicorn")
    assert [str(fault) for fault in read.faults] == ['Procfile line 4: expected "name: command", found "web2 gunicorn"']


@pytest.mark.parametrize("ignored", ["", "\n\n", "  \t\n", "# web: x", "   \t# web: x", "#", "\ufeff", "\r\n\r\n"])
def test_blank_lines_and_comments_are_nothing(ignored: str) -> None:
    read = parse_procfile(ignored)
    assert (read.types, read.faults) == ((), ())


def test_a_duplicate_names_both_lines_and_every_fault_is_shown() -> None:
    read = parse_procfile("web: a\nbroken\nweb: b\nweb: c\nworker:")
    assert [(declared.name, declared.command, declared.line) for declared in read.types] == [("web", "a", 1)]
    assert [(fault.line, fault.message) for fault in read.faults] == [
        (2, 'expected "name: command", found "broken"'),
        (3, 'process type "web" is declared on line 1 already'),
        (4, 'process type "web" is declared on line 1 already'),
        (5, 'process type "worker" has no command'),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_numbers_are_those_of_an_editor(end: str) -> None:
    read = parse_procfile(end.join(["# one", "", "web: x", "oops", ""]))
    assert [declared.line for declared in read.types] == [3]
    assert [fault.line for fault in read.faults] == [4]


@given(
    types=st.dictionaries(NAMES, COMMANDS, max_size=8),
    blanks=st.text(BLANKS, max_size=3),
    end=st.sampled_from(["\n", "\r\n"]),
    between=st.sampled_from(["", "# comment", " \t"]),
)
def test_any_valid_procfile_comes_back_as_written(types: dict[str, str], blanks: str, end: str, between: str) -> None:
    lines = [f"{blanks}{name}:{blanks}{command}{blanks}{end}{between}" for name, command in types.items()]
    read = parse_procfile(end.join(lines))
    assert {declared.name: declared.command for declared in read.types} == types
    assert read.faults == ()


@given(st.text() | st.lists(st.sampled_from(["web", ":", " ", "\n", "\r", "#", "x y", "\0", "é"])).map("".join))
def test_every_visible_line_is_a_type_or_a_fault(text: str) -> None:
    read = parse_procfile(text)
    visible = {
        number
        for number, line in enumerate(LINE_END.split(text.removeprefix("\ufeff")), start=1)
        if line.strip(BLANKS) and not line.strip(BLANKS).startswith("#")
    }
    found = [declared.line for declared in read.types] + [fault.line for fault in read.faults]
    assert sorted(line for line in found if line is not None) == sorted(visible)
    assert len({declared.name for declared in read.types}) == len(read.types)
