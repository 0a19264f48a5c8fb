"""The reason of a failure, from what real programs have written; and nothing where nothing is certain."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.failure_cause import LONGEST, RULES, SILENCE_S, Cause, Failure, cause_of
from dynod.core.fatal_output import FORMS, Runtime, fatal_report
from support.failing_programs import FAILURES, KEPT_ALONE, NO_CAUSE, Ended, kept

EXPLAINED = {**{name: program.cause for name, program in FAILURES.items()}, **KEPT_ALONE}
OUTPUTS = {name: kept(name) for name in (*EXPLAINED, *NO_CAUSE)}
OF_STATUS = {rule.name for rule in RULES if rule.of is None}


def cause(
    ended: Ended, *, status: int | None = None, silent_s: float = 0.0, after: tuple[str, ...] = ()
) -> Cause | None:
    lines = [*ended.lines, *after]
    return cause_of(
        Failure(status=ended.status if status is None else status, lived_s=1.0, lines=lines, silent_s=silent_s)
    )


def in_words(found: Cause | None) -> Cause | None:
    """What was understood from words, not from the status alone."""
    said_of_status = {rule.says for rule in RULES if rule.of is None}
    return found if found is None or found.text not in said_of_status else None


@pytest.mark.parametrize("name", EXPLAINED)
def test_why_a_real_program_has_failed_is_said(name: str) -> None:
    expected, found = EXPLAINED[name], cause(OUTPUTS[name])
    assert expected is not None
    assert found is not None, OUTPUTS[name]
    assert found.name == expected[0]
    assert expected[1] in found.text


@pytest.mark.parametrize("name", NO_CAUSE)
def test_nothing_is_said_of_what_was_no_reason(name: str) -> None:
    found, expected = cause(OUTPUTS[name]), NO_CAUSE[name].cause
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert found.name == expected[0]
        assert in_words(found) is None


@pytest.mark.parametrize("name", EXPLAINED)
def test_a_report_is_the_end_of_the_output_in_time_and_by_its_status(name: str) -> None:
    """What was written before something else, long before the end, or with another status, is no reason."""
    ended = OUTPUTS[name]
    for after in ('GET / 200 "curl"', "worker 3: served 12 requests", "  retrying in 1 s"):
        assert in_words(cause(ended, after=(after,))) is None, after
    assert in_words(cause(ended, silent_s=SILENCE_S)) is None
    for status in (0, 2, 129, 130, 137, 143):
        if status != ended.status:
            assert in_words(cause(ended, status=status)) is None, status
    # What a launcher says of it, and what came before it, changes nothing.
    launched = ("", "npm error code 1", "npm error path /app")
    assert cause(ended, after=launched) == cause(ended)
    before = Ended(status=ended.status, lines=["starting", "Traceback (most recent call last):", "redis: again"])
    assert cause(Ended(status=ended.status, lines=before.lines + ended.lines)) == cause(ended)


def test_the_outputs_are_of_every_runtime_and_there_are_enough_of_both_kinds() -> None:
    assert len(NO_CAUSE) >= 40
    for runtime in ("python3", "node", "ruby", "php", "java", "bash"):
        assert sum(each.runtime == runtime for each in FAILURES.values()) >= 5, runtime
        assert sum(each.runtime == runtime for each in NO_CAUSE.values()) >= 5, runtime


def test_every_rule_and_every_form_is_there_for_something() -> None:
    """Those of the table below too: what other versions write."""
    said = [(cause_of(Failure(status=status, lived_s=1.0, lines=lines)), name) for lines, status, name, _ in WRITTEN]
    explained = {found.name for name in OUTPUTS if (found := cause(OUTPUTS[name])) is not None}
    ended = {found.name for status in (126, 127) if (found := cause(Ended(status=status, lines=[]))) is not None}
    assert {rule.name for rule in RULES} == explained | ended | {name for _, name in said}
    runtimes = {report.runtime for each in OUTPUTS.values() if (report := fatal_report(each.lines, each.status))}
    assert runtimes == set(Runtime) == {form.runtime for form in FORMS}


# As other versions write it: Ruby 3.4, Bundler before 2.4, Java 17 of a class of Java 25.
WRITTEN = [
    (
        [
            "app.rb:2:in 'IO#open': Permission denied @ rb_sysopen - /var/log/shop (Errno::EACCES)",
            "\tfrom app.rb:2:in '<main>'",
        ],
        1,
        "permission",
        "/var/log/shop",
    ),
    (
        ["Could not find gem 'rack' in locally installed gems.", "Run `bundle install` to install missing gems."],
        7,
        "missing-module",
        "the gem rack",
    ),
    (
        ["bundler: command not found: puma", "Install missing gem executables with `bundle install`"],
        127,
        "missing-module",
        "bundler finds no puma",
    ),
    (
        [
            "Error: LinkageError occurred while loading main class Main",
            "\tjava.lang.UnsupportedClassVersionError: Main has been compiled by a more recent version of the Java ...",
        ],
        1,
        "too-new",
        "Main was compiled for a newer Java",
    ),
    (
        [
            "Traceback (most recent call last):",
            '  File "a.py", line 1, in <module>',
            "    s.bind(('', 80))",
            "PermissionError: [Errno 13] Permission denied",
        ],
        1,
        "permission",
        "ports below 1024",
    ),
]


@pytest.mark.parametrize(("lines", "status", "name", "text"), WRITTEN, ids=[row[0][0][:40] for row in WRITTEN])
def test_what_other_versions_write_is_understood(lines: list[str], status: int, name: str, text: str) -> None:
    found = cause_of(Failure(status=status, lived_s=1.0, lines=lines))
    assert found is not None
    assert found.name == name
    assert text in found.text


def test_how_it_ended_counts_where_it_said_nothing() -> None:
    nothing: list[str] = []
    assert cause_of(Failure(status=1, lived_s=1.0, lines=nothing)) is None
    at_once = cause_of(Failure(status=0, lived_s=1.0, lines=["OSError: [Errno 98] Address already in use"]))
    assert at_once is not None
    assert at_once.name == "exits-at-once"
    assert cause_of(Failure(status=0, lived_s=60.0, lines=nothing)) is None
    assert cause_of(Failure(status=127, lived_s=60.0, lines=nothing)) is None


LINES = st.lists(st.sampled_from(sorted({line for each in OUTPUTS.values() for line in each.lines})) | st.text())


@given(LINES, st.integers(0, 255))
def test_any_output_makes_one_short_line_or_none(lines: list[str], status: int) -> None:
    found = cause_of(Failure(status=status, lived_s=1.0, lines=lines))
    assert found is None or (found.text.isprintable() and len(found.text) < LONGEST * 2)


@given(
    st.text(min_size=1).filter(
        lambda text: "'" not in text and not re.search(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", text)
    )
)
def test_what_is_quoted_cannot_break_the_line(name: str) -> None:
    lines = [
        "Traceback (most recent call last):",
        '  File "a.py", line 1',
        f"ModuleNotFoundError: No module named '{name}'",
    ]
    found = cause_of(Failure(status=1, lived_s=1.0, lines=lines))
    assert found is not None
    assert found.text.isprintable()
