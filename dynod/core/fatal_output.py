"""What a program wrote as it died: the last block of its output, where that is a runtime's own report of its end. Pure.

Flow: last lines, exit status → **fatal report** → `failure_cause`. Most of what looks like the reason of an end is not:
errors that were caught, requests that spoke of one, a thread that died hours ago. So a report counts only where it is
the end of the output, but for what launchers such as npm say after it, where it has the form in which that runtime
prints what nobody has caught, and where the status is the one that the runtime ends with then.

A form is a row: kinds of lines, each with a letter, the first that fits; and a grammar over these letters, which has to
match up to the last one. Written down from Python 3.11, Node 20, Ruby 3.1, PHP 8.2, Java 17 and their servers, whose
outputs are kept in `tests/unit/dynod/core/failure_outputs`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final

OTHER: Final = "x"  # a line of no known kind
_SEEN_OUT: Final = re.compile(  # by launchers, about the end of what they have launched
    r"\s*|npm (?:error|ERR!|warn|WARN|notice)(?: .*)?|error Command failed with exit code \d+\."
    r"|error Command failed with signal \"\w+\"\.|info Visit https://yarnpkg\.com/.*| ELIFECYCLE .*"
    r"|Aborted(?: \(core dumped\))?"
)


class Runtime(StrEnum):
    """Whose form a report has."""

    PYTHON = "python"
    NODE = "node"
    RUBY = "ruby"
    PHP = "php"
    JAVA = "java"
    SERVER = "server"  # of Python's: gunicorn, uvicorn, Django's and Flask's own; and nginx
    SHELL = "shell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """`said`: the letters of lines that say what was wrong. `grammar` matches from the report's begin to the end."""

    runtime: Runtime
    statuses: frozenset[int]
    kinds: Mapping[str, str]
    grammar: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A line that says what was wrong. `where`: of Python's, the innermost frame that is not the import system's."""

    text: str
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FatalReport:
    """`said`: the most telling line first, then what it came of or led to."""

    runtime: Runtime
    said: tuple[Said, ...]


_TRACEBACK: Final = {
    "T": r"Traceback \(most recent call last\):",
    "F": r'  File ".*", line \d+(?:, in .*)?',
    "D": r"During handling of the above exception, another exception occurred:",
    "C": r"The above exception was the direct cause of the following exception:",
    "B": r"\s*",
    "G": r"\[[^]]+\] \[\d+\] \[\w+\] (?:Worker exiting \(pid: \d+\)|Worker \(pid:\d+\) exited with code \d+\.?"
    r"|Shutting down: Master|Control socket listening at .*|Booting worker with pid: \d+)",
    "R": r"\[[^]]+\] \[\d+\] \[ERROR\] Reason: Worker failed to boot\.",
    "M": r"\t\S.*",  # psycopg's, about the server
    "N": r"No module named '.*'|\(Background on this error at: https://sqlalche\.me/.*\)",
    "I": r"\s+\S.*",
    "Z": r"gunicorn\.errors\.HaltServer: <HaltServer 'Worker failed to boot\.' 3>",
    "H": r"[A-Za-z_][\w.]*(?:: .*|:)?",
}
_IMPORTS: Final = re.compile(r'  File "(?:<frozen importlib\.|.*/importlib/__init__\.py)')
# What was raised, what of its message begins with a tab, and before it what it comes of.
_RAISED: Final = r"(?:TF[FI]*H[BM]*[CD]B)*TF[FI]*H[BMN]*"
_CALLED: Final = r"[`'][^`']*'"  # no quote inside, nor in the path before it: no line takes long to match
_RUBY: Final = {
    "H": rf"[^\s`'][^`']*?:\d+:in {_CALLED}: .* \([A-Z][\w:]*\)",
    "S": r"\S+:\d+: syntax error,? .*",
    "F": r"\tfrom .*|\t ?\.\.\. \d+ levels\.\.\.",
    "Q": r"#<Thread:.* terminated with exception \(report_on_exception is true\):",
    "K": r"\s*[~^]+\s*",
    "M": r"Did you mean\?.*",
    "B": r"\s*",
    "I": r"\t\S.*",
}
_PHP: Final = {
    "H": r"(?:PHP )?(?:Fatal|Parse) error: +.*",
    "X": r"Next [A-Z][\w\\]*: .*",
    "S": r"Stack trace:",
    "N": r"#\d+ .*",
    "E": r"  thrown in .* on line \d+",
    "B": r"\s*",
}
_UVICORN_ENDS: Final = r"INFO: {5}(?:Waiting for application shutdown\.|Application shutdown complete\.)"
_GUNICORN: Final = r"\[[^]]+\] \[\d+\] \[ERROR\] "


def _last_line(runtime: Runtime, statuses: set[int], *lines: str) -> Form:
    """A report of one line."""
    return Form(runtime=runtime, statuses=frozenset(statuses), kinds={"H": "|".join(lines)}, grammar="H", said="H")


FORMS: Final[tuple[Form, ...]] = (
    Form(runtime=Runtime.PYTHON, statuses=frozenset({1}), kinds=_TRACEBACK, grammar=_RAISED, said="H"),
    Form(  # gunicorn, whose workers could not import the app; of several it may stumble over the second
        runtime=Runtime.PYTHON,
        statuses=frozenset({1, 3}),
        kinds=_TRACEBACK,
        grammar=_RAISED + "G*(?:RG*|(?:TF[FI]*Z(?:BDB)?)+)",
        said="H",
    ),
    Form(  # a script that cannot be read has no traceback
        runtime=Runtime.PYTHON,
        statuses=frozenset({1}),
        kinds={"F": r'  File ".*", line \d+', "H": r"(?:SyntaxError|IndentationError|TabError): .*", "I": r"\s+\S.*"},
        grammar="FI*H",
        said="H",
    ),
    _last_line(Runtime.PYTHON, {2}, r"\S*python[\d.]*: can't open file '.*': \[Errno 2\] No such file or directory"),
    _last_line(Runtime.PYTHON, {1}, r"\S*python[\d.]*: No module named [\w.]+"),
    Form(
        runtime=Runtime.NODE,
        statuses=frozenset({1, 7}),  # 7: what was to handle it threw too
        kinds={
            "V": r"Node\.js v\d+\.\d+\.\d+\S*",
            "W": r"(?:node:|/|file://).*:\d+",
            "K": r"\s*\^+\s*",
            "B": r"\s*",
            "H": r"(?:Uncaught )?\w*(?:Error|Exception)(?: \[\w+\])?(?:: .*|:)?(?: \{)?",
            "E": r"  \[(?:cause|errors)\]: .*",
        },
        # The place, its line of code, what was thrown, whatever belongs to that; the version ends it.
        grammar="W[xHE]{1,3}KBH[^VW]*V",
        said="HE",
    ),
    Form(
        runtime=Runtime.NODE,
        statuses=frozenset({134}),
        kinds={
            "H": r"FATAL ERROR: .*JavaScript heap out of memory",
            "N": r"----- Native stack trace -----",
            "B": r"\s*",
            "S": r"\s*\d+: (?:0x)?[0-9a-f]+ .*",
        },
        grammar="H[NBS]*",
        said="H",
    ),
    # Not of a thread that has died by itself: the others go on.
    Form(
        runtime=Runtime.RUBY,
        statuses=frozenset({1}),
        kinds=_RUBY,
        grammar="(?<!Q)H(?:xK|[FMBI])*(?:H(?:xK|[FMBI])*)*",
        said="H",
    ),
    Form(runtime=Runtime.RUBY, statuses=frozenset({1}), kinds=_RUBY, grammar="S(?:xK)?", said="S"),
    _last_line(Runtime.RUBY, {1}, r"\S*ruby[\d.]*: No such file or directory -- .* \(LoadError\)"),
    _last_line(Runtime.RUBY, {10}, r"Could not locate Gemfile or \.bundle/ directory"),
    Form(
        runtime=Runtime.RUBY,
        statuses=frozenset({7, 127}),
        kinds={
            "H": r"Could not find .* in (?:locally installed gems|any of the sources|.* repos.*)\.?"
            r"|bundler: command not found: .*",
            "R": r"Run `bundle install` to install missing gems\."
            r"|Install missing gem executables with `bundle install`",
        },
        grammar="HR",
        said="H",
    ),
    Form(
        runtime=Runtime.PHP,
        statuses=frozenset({255}),
        kinds=_PHP,
        grammar="H[SNEBX]*(?:H[SNEBX]*)?",  # twice where it goes to the log and to the screen
        said="HX",
    ),
    _last_line(Runtime.PHP, {1}, r"Could not open input file: .*"),
    _last_line(Runtime.PHP, {1}, r"\[.*\] Failed to listen on \S+ \(reason: .*\)"),
    Form(
        runtime=Runtime.JAVA,
        statuses=frozenset({1}),
        kinds={
            "H": r'Exception in thread "main" \S.*',
            "C": r"Caused by: \S.*",
            "S": r"\s+at .*|\s+\.\.\. \d+ (?:more|common frames omitted)|\s+Suppressed: .*",
        },
        grammar="HS*(?:CS*)*",
        said="HC",
    ),
    Form(
        runtime=Runtime.JAVA,
        statuses=frozenset({1}),
        kinds={
            "H": r"Error: (?:Could not find or load main class|Unable to access jarfile) .*",
            "C": r"Caused by: .*",
        },
        grammar="HC?",
        said="H",
    ),
    Form(
        runtime=Runtime.JAVA,
        statuses=frozenset({1}),
        kinds={"E": r"Error: LinkageError occurred while loading main class .*", "H": r"\tjava\.lang\.\w+: .*"},
        grammar="EH",
        said="H",
    ),
    _last_line(Runtime.JAVA, {3}, r"Terminating due to java\.lang\.OutOfMemoryError: .*"),
    Form(
        runtime=Runtime.SERVER,
        statuses=frozenset({1, 3}),
        kinds={
            "H": r"ERROR: {4}(?:\[Errno \d+\] error while attempting to bind|Error loading ASGI app\.) .*",
            "E": _UVICORN_ENDS,
        },
        grammar="HE*",
        said="H",
    ),
    Form(  # gunicorn, after five attempts
        runtime=Runtime.SERVER,
        statuses=frozenset({1}),
        kinds={
            "H": rf"{_GUNICORN}Connection in use: .*",
            "F": rf"{_GUNICORN}connection to .* failed: .*",
            "E": rf"{_GUNICORN}Can't connect to .*",
        },
        grammar="HF?E",
        said="H",
    ),
    Form(
        runtime=Runtime.SERVER,
        statuses=frozenset({4}),
        kinds={
            "H": r"Failed to find attribute '.*' in '.*'\.",
            "G": _TRACEBACK["G"],
            "R": rf"{_GUNICORN}Reason: App failed to load\.",
        },
        grammar="HG*RG*",
        said="H",
    ),
    _last_line(Runtime.SERVER, {1}, r"Error: That port is already in use\."),  # Django's runserver
    Form(  # Flask's
        runtime=Runtime.SERVER,
        statuses=frozenset({1}),
        kinds={"H": r"Address already in use", "R": r"Port \d+ is in use by another program\. .*"},
        grammar="HR",
        said="H",
    ),
    Form(
        runtime=Runtime.SERVER,
        statuses=frozenset({1}),
        kinds={"E": r".*\[emerg\].* still could not bind\(\)", "H": r".*\[emerg\].* bind\(\) to .* failed \(98: .*\)"},
        grammar="H+E?",
        said="H",
    ),
    _last_line(
        Runtime.SHELL,
        {126, 127},
        r"\S+: line \d+: .*: \S.*",  # bash
        r"\S*sh: (?:\d+: )?.*: \S.*",  # bash and dash, of a command line
        r"\S+: \d+: .*: (?:not found|Permission denied)",  # dash, of a script
        r"\S*env: [\u2018'].*[\u2019']: (?:No such file or directory|Permission denied)",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    form: Form
    kinds: tuple[tuple[str, re.Pattern[str]], ...]
    grammar: re.Pattern[str]


@cache
def _readers() -> tuple[_Reader, ...]:
    """Compiled when the first dyno has failed: that takes 4 ms, which no start has to wait for."""
    return tuple(
        _Reader(
            form=form,
            kinds=tuple((letter, re.compile(kind)) for letter, kind in form.kinds.items()),
            grammar=re.compile(rf"(?:{form.grammar})\Z"),
        )
        for form in FORMS
    )


def fatal_report(lines: Sequence[str], status: int) -> FatalReport | None:
    """What `lines`, the newest of a program that ended with `status`, say of its end; None: nothing for certain."""
    end = len(lines)
    while end and _SEEN_OUT.fullmatch(lines[end - 1]):
        end -= 1
    if not end:
        return None
    for reader in _readers():
        if status not in reader.form.statuses or _kind(lines[end - 1], reader) == OTHER:
            continue  # no grammar ends with any line: most forms are through after one look
        letters = "".join(_kind(line, reader) for line in lines[:end])
        match = reader.grammar.search(letters)
        if match is None:
            continue
        block = lines[match.start() : end]
        said = _said(block, match[0], reader.form)
        return FatalReport(runtime=reader.form.runtime, said=said)
    return None


def _kind(line: str, reader: _Reader) -> str:
    return next((letter for letter, kind in reader.kinds if kind.fullmatch(line)), OTHER)


def _said(block: Sequence[str], letters: str, form: Form) -> tuple[Said, ...]:
    if form.kinds is _TRACEBACK:
        return _raised(block, letters)
    begin = letters.find("KBH") + 2 if form.runtime is Runtime.NODE and "V" in letters else 0  # after the line of code
    found = [
        Said(text=line.strip())
        for line, letter in zip(block[begin:], letters[begin:], strict=True)
        if letter in form.said
    ]
    if form.runtime is Runtime.RUBY:
        # What is raised in a `rescue` is about what was rescued. Elsewhere it may be another matter, though Ruby names
        # what was being handled; and what was logged just before the end looks the same.
        return tuple(found) if len(found) == 1 or re.search(r":in [`']rescue in ", found[0].text) else ()
    if form.runtime is Runtime.NODE:
        return tuple(found[:1] + [each for each in found[1:] if each.text.startswith("[")])
    return tuple(reversed(found))


def _raised(block: Sequence[str], letters: str) -> tuple[Said, ...]:
    """What Python has raised at last, and what it came of.

    That another exception was being handled makes it the reason only where the one of the end was raised by whoever
    had caught it, such as `except KeyError: raise ImproperlyConfigured`, and not by what was tried instead.
    """
    parts: list[tuple[Said, str, str]] = []  # what was raised, by the outermost frame and the innermost
    links: list[str] = []
    frames: list[str] = []
    for line, letter in zip(block, letters, strict=True):
        if letter in "GR":  # gunicorn's, of its own end
            break
        if letter == "T":
            frames = []
        elif letter == "F":
            frames.append(line)
        elif letter == "H" and frames:
            where = next((frame for frame in reversed(frames) if not _IMPORTS.match(frame)), frames[-1])
            parts.append((Said(text=line, where=where), _function(frames[0]), _function(frames[-1])))
            frames = []
        elif letter in "CD":
            links.append(letter)
    said = [parts[-1][0]]
    for (earlier, caught_in, _), link, (_, _, raised_in) in zip(
        reversed(parts[:-1]), reversed(links), reversed(parts[1:]), strict=True
    ):
        if link == "D" and caught_in != raised_in:
            break
        said.append(earlier)
    return tuple(said)


def _function(frame: str) -> str:
    return re.sub(r", line \d+", "", frame)
