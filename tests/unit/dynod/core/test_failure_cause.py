"""The reason of a failure, from what real programs have written; and nothing where nothing is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.failure_cause import LONGEST, RULES, Failure, cause_of

WROTE = [
    ("ModuleNotFoundError: No module named 'flask'", 1, "missing-module", "flask is not installed"),
    ("Error: Cannot find module 'express'", 1, "missing-module", "express is not installed"),
    ("Error: Cannot find module '/app/dist/server.js'", 1, "missing-file", "no file /app/dist/server.js"),
    ("Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'ws' imported from /app/a.mjs", 1, "missing-module", "ws"),
    ("<internal:x>:85:in `require': cannot load such file -- sinatra (LoadError)", 1, "missing-module", "sinatra"),
    ("Could not find rack-3.0.8 in locally installed gems (Bundler::GemNotFound)", 7, "missing-module", "rack-3.0.8"),
    (
        "PHP Fatal error:  Uncaught Error: Failed opening required 'vendor/autoload.php' (include_path='.')",
        255,
        "missing-module",
        "composer install",
    ),
    (
        'PHP Fatal error:  Uncaught Error: Class "App\\Kernel" not found in /app/a.php:3',
        255,
        "missing-module",
        "Kernel",
    ),
    ("Error: Could not find or load main class com.shop.Main", 1, "missing-module", "com.shop.Main"),
    ("Caused by: java.lang.NoClassDefFoundError: org/slf4j/Logger", 1, "missing-module", "org/slf4j/Logger"),
    ("Error: Unable to access jarfile target/shop.jar", 1, "missing-file", "target/shop.jar"),
    ("python3: can't open file '/app/manage.py': [Errno 2] No such file or directory", 2, "missing-file", "manage.py"),
    ("Could not open input file: artisan", 1, "missing-file", "artisan"),
    ("ruby: No such file or directory -- server.rb (LoadError)", 1, "missing-file", "server.rb"),
    ("OSError: [Errno 98] Address already in use", 1, "address-in-use", "$PORT"),
    ("Error: listen EADDRINUSE: address already in use :::3000", 1, "address-in-use", "$PORT"),
    ('Address already in use - bind(2) for "0.0.0.0" port 3000 (Errno::EADDRINUSE)', 1, "address-in-use", "$PORT"),
    ("Failed to listen on 127.0.0.1:8000 (reason: Address already in use)", 1, "address-in-use", "$PORT"),
    ("Caused by: java.net.BindException: Address already in use", 1, "address-in-use", "$PORT"),
    ("[ERROR] Connection in use: ('0.0.0.0', 8000)", 1, "address-in-use", "$PORT"),
    ("KeyError: 'DATABASE_URL'", 1, "missing-variable", "config:set DATABASE_URL=…"),
    ("PermissionError: [Errno 13] Permission denied: '/var/log/shop'", 1, "permission", "/var/log/shop"),
    ("Error: EACCES: permission denied, open '/var/log/shop'", 1, "permission", "/var/log/shop"),
    ("Error: listen EACCES: permission denied 0.0.0.0:80", 1, "permission", "below 1024"),
    ("psycopg.OperationalError: connection failed: Connection refused", 1, "connection-refused", "database"),
    (
        "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
        134,
        "out-of-memory",
        "memory",
    ),
    ("PHP Fatal error:  Allowed memory size of 134217728 bytes exhausted (tried)", 255, "out-of-memory", "memory"),
    ("SyntaxError: invalid syntax", 1, "syntax", "invalid syntax"),
    ("PHP Parse error:  syntax error, unexpected end of file in /app/a.php on line 2", 255, "syntax", "end of file"),
    ("s.rb:2: syntax error, unexpected end-of-input", 1, "syntax", "s.rb:2"),
    ("bash: line 1: gunicorn: command not found", 127, "command-not-found", "no command gunicorn"),
    ("sh: 1: gunicorn: not found", 127, "command-not-found", "no command gunicorn"),
    ("bash: line 1: ./start: Permission denied", 126, "permission", "chmod +x"),
]


@pytest.mark.parametrize(("line", "status", "name", "text"), WROTE, ids=[row[0][:40] for row in WROTE])
def test_what_a_program_wrote_is_understood(line: str, status: int, name: str, text: str) -> None:
    before, after = "starting the shop", "    at Object.<anonymous> (/app/server.js:3:1)"
    cause = cause_of(Failure(status=status, lived_s=1.0, lines=[before, line, after]))
    assert cause is not None
    assert cause.name == name
    assert text in cause.text


def test_every_rule_is_there_for_something() -> None:
    ended = {
        cause.name
        for status in (0, 126, 127, 134, 139)
        if (cause := cause_of(Failure(status=status, lived_s=1, lines=[])))
    }
    assert {rule.name for rule in RULES} == {name for _, _, name, _ in WROTE} | ended


def test_how_it_ended_counts_where_it_said_nothing() -> None:
    assert cause_of(Failure(status=1, lived_s=1.0, lines=[])) is None
    at_once = cause_of(Failure(status=0, lived_s=1.0, lines=["OSError: [Errno 98] Address already in use"]))
    assert at_once is not None
    assert at_once.name == "exits-at-once"
    assert cause_of(Failure(status=0, lived_s=60.0, lines=[])) is None


def test_a_kill_from_outside_is_not_explained_by_old_lines() -> None:
    assert cause_of(Failure(status=137, lived_s=60.0, lines=["Connection refused"])) is None


@given(st.lists(st.text()), st.integers(0, 255))
def test_any_output_makes_one_short_line_or_none(lines: list[str], status: int) -> None:
    cause = cause_of(Failure(status=status, lived_s=1.0, lines=lines))
    assert cause is None or (cause.text.isprintable() and len(cause.text) < LONGEST + 120)


@given(st.text(min_size=1).filter(lambda text: "'" not in text and "\n" not in text))
def test_what_is_quoted_cannot_break_the_line(name: str) -> None:
    cause = cause_of(Failure(status=1, lived_s=1.0, lines=[f"ModuleNotFoundError: No module named '{name}'"]))
    assert cause is None or cause.text.isprintable()


TRACEBACK = "Traceback (most recent call last):"


@pytest.mark.parametrize("status", [129, 130, 137, 143])
def test_what_a_program_lived_with_is_no_reason_where_somebody_ended_it(status: int) -> None:
    assert cause_of(Failure(status=status, lived_s=99.0, lines=["redis: Connection refused, again in 1 s"])) is None


def test_what_was_written_before_the_last_traceback_is_none() -> None:
    lines = ["redis: Connection refused, again in 1 s", "redis: connected", TRACEBACK, '  File "a.py"', "ValueError: x"]
    assert cause_of(Failure(status=1, lived_s=99.0, lines=lines)) is None


def test_a_traceback_that_comes_of_another_has_its_reason() -> None:
    chained = "During handling of the above exception, another exception occurred:"
    lines = [TRACEBACK, "KeyError: 'DATABASE_URL'", "", chained, "", TRACEBACK, "ImproperlyConfigured: set it"]
    cause = cause_of(Failure(status=1, lived_s=1.0, lines=lines))
    assert cause is not None
    assert cause.name == "missing-variable"
