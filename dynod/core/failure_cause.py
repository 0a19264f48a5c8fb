"""Why a dyno failed, in one line of its user's words: rules over how it ended and what it wrote last. Pure.

Flow: exit, last lines → **cause** → the app's log, `ps --why`, the reason of a failed release. Each rule is a row: how
the process must have ended, what one of its last lines must look like, and what that means. The first that fits is
said; where none does nothing is, because a wrong reason is worse than none. The texts are those of Python, Node, Ruby,
PHP, Java and the shells, as their programs write them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "Cause: "  # of the line that says it
LINES_LOOKED_AT: Final = 40  # the last ones: a traceback of Java's is long, and its first line says most
LONGEST: Final = 160  # characters of what a program wrote that are quoted
AT_ONCE_S: Final = 10.0
_SIGSEGV, _SIGABRT, _SIGBUS, _SIGILL = 139, 134, 135, 132  # as statuses: 128 + the signal
# SIGHUP, SIGINT, SIGKILL, SIGTERM: somebody has ended it, so that nothing it wrote is the reason.
_FROM_OUTSIDE: Final = frozenset({129, 130, 137, 143})
_TRACEBACK: Final = "Traceback (most recent call last):"
_CHAINED: Final = ("During handling of the above exception", "The above exception was the direct cause")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How it ended. `status` is 128+N where a signal N ended it; `lived_s` from its launch."""

    status: int
    lived_s: float
    lines: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`says` may name groups of `line` in braces. `statuses` empty: any; `line` None: whatever it wrote."""

    name: str
    says: str
    line: str | None = None
    statuses: frozenset[int] = frozenset()
    at_once: bool = False  # only where it lived for less than AT_ONCE_S


_NOT_INSTALLED: Final = "is not installed for this app: add it to {file} and install it"


def _missing(name: str, line: str, file: str) -> Rule:
    return Rule(name=name, line=line, says=f"the module {{what}} {_NOT_INSTALLED.format(file=file)}")


RULES: Final[tuple[Rule, ...]] = (
    # What the program says itself, the most telling first.
    _missing("missing-module", r"ModuleNotFoundError: No module named '(?P<what>[^']+)'", "requirements.txt"),
    Rule(
        name="missing-file",
        line=r"(?:Error: Cannot find module|Cannot find module) '(?P<what>/[^']+|\.[^']+)'",
        says="there is no file {what}: is its path right, and is it built?",
    ),
    _missing("missing-module", r"Cannot find module '(?P<what>[^'./][^']*)'", "package.json"),
    _missing("missing-module", r"Cannot find package '(?P<what>[^']+)' imported from", "package.json"),
    Rule(
        name="missing-module",
        line=r"cannot load such file -- (?P<what>\S+)(?: \(LoadError\))?",
        says="Ruby finds no {what}: add its gem to the Gemfile and run bundle install",
    ),
    Rule(
        name="missing-module",
        line=r"Could not find (?:gem )?'?(?P<what>[\w.-]+)'?.* in (?:locally installed|any of the sources|.*repos)",
        says="the gem {what} is not installed: run bundle install",
    ),
    Rule(
        name="missing-module",
        line=r"Failed opening required '(?P<what>[^']*vendor/autoload\.php)'",
        says="there is no {what}: run composer install",
    ),
    Rule(
        name="missing-file",
        line=r"Failed opening required '(?P<what>[^']+)'",
        says="there is no file {what}: is its path right?",
    ),
    Rule(
        name="missing-module",
        line=r"Uncaught Error: Class \"(?P<what>[^\"]+)\" not found",
        says="PHP finds no class {what}: is its package in composer.json, and its file loaded?",
    ),
    Rule(
        name="missing-module",
        line=r"Error: Could not find or load main class (?P<what>\S+)",
        says="Java finds no class {what}: is it built, and is the class path right?",
    ),
    Rule(
        name="missing-module",
        line=r"(?:ClassNotFoundException|NoClassDefFoundError): (?P<what>[\w.$/]+)",
        says="Java finds no class {what}: its jar is not on the class path",
    ),
    Rule(
        name="missing-file",
        line=r"Error: Unable to access jarfile (?P<what>\S+)",
        says="there is no jar {what}: is it built?",
    ),
    Rule(
        name="missing-file",
        line=r"can't open file '?(?P<what>[^':]+)'?: \[Errno 2\]",
        says="there is no file {what}: is its path in the Procfile right?",
    ),
    Rule(
        name="missing-file",
        line=r"Could not open input file: (?P<what>\S+)",
        says="there is no file {what}: is its path in the Procfile right?",
    ),
    Rule(
        name="missing-file",
        line=r"No such file or directory -- (?P<what>\S+) \(LoadError\)",
        says="there is no file {what}: is its path in the Procfile right?",
    ),
    Rule(
        name="address-in-use",
        line=r"(?i:EADDRINUSE|Errno 98\b|Errno 48\b|address (?:is )?already in use|Connection in use)",
        says="the address that it wants to listen on is in use: it has to listen on $PORT, which is its own",
    ),
    Rule(
        name="missing-variable",
        line=r"KeyError: '(?P<what>[A-Z][A-Z0-9_]+)'",
        says="it needs {what}, which is not set: `dynod config:set {what}=…`, or .env",
    ),
    Rule(
        name="missing-variable",
        line=r"key not found: \"(?P<what>[A-Z][A-Z0-9_]+)\" \(KeyError\)",
        says="it needs {what}, which is not set: `dynod config:set {what}=…`, or .env",
    ),
    Rule(
        name="permission",
        line=r"PermissionError: \[Errno 13\] Permission denied: '(?P<what>[^']+)'",
        says="it may not use {what}: its user has no permission for that",
    ),
    Rule(
        name="permission",
        line=r"EACCES: permission denied, \w+ '(?P<what>[^']+)'",
        says="it may not use {what}: its user has no permission for that",
    ),
    Rule(
        name="permission",
        line=r"(?:listen EACCES|PermissionError: \[Errno 13\]|Errno::EACCES|java\.net\.\w+: Permission denied)",
        says="it may not listen there, or open that: ports below 1024 need a privilege, $PORT does not",
    ),
    Rule(
        name="permission",
        line=r"(?:AccessDeniedException: (?P<what>\S+))",
        says="it may not use {what}: its user has no permission for that",
    ),
    Rule(
        name="connection-refused",
        line=r"(?i:ECONNREFUSED|Connection refused|ConnectionRefusedError)",
        says="something that it connects to refuses: is the database or service running, and its address right?",
    ),
    Rule(
        name="out-of-memory",
        line=r"(?:JavaScript heap out of memory|java\.lang\.OutOfMemoryError|Allowed memory size of \d+ bytes|"
        r"^MemoryError$|NoMemoryError)",
        says="it ran out of the memory that its runtime allows",
    ),
    Rule(
        name="syntax",
        line=r"^(?P<what>(?:SyntaxError|IndentationError|TabError): .+)",
        says="its code cannot be read: {what}",
    ),
    Rule(name="syntax", line=r"(?P<what>(?:PHP )?Parse error: .+)", says="its code cannot be read: {what}"),
    Rule(name="syntax", line=r"(?P<what>\S+:\d+: syntax error.+)", says="its code cannot be read: {what}"),
    Rule(
        name="command-not-found",
        line=r"(?:^|: )(?P<what>[^\s:]+): (?:command )?not found$",
        statuses=frozenset({127}),
        says="there is no command {what}: is it installed, and on the PATH?",
    ),
    Rule(
        name="permission",
        line=r"(?:^|: )(?P<what>[^\s:]+): Permission denied$",
        statuses=frozenset({126}),
        says="{what} cannot be run: make it executable with chmod +x",
    ),
    # How it ended, where it has said nothing that is known.
    Rule(name="command-not-found", statuses=frozenset({127}), says="its command was not found: is it on the PATH?"),
    Rule(name="permission", statuses=frozenset({126}), says="its command cannot be run: is it executable?"),
    Rule(
        name="native-crash",
        statuses=frozenset({_SIGSEGV, _SIGBUS, _SIGILL}),
        says="it crashed in native code: a library of its does not fit this machine, or has a bug",
    ),
    Rule(name="aborted", statuses=frozenset({_SIGABRT}), says="it ended itself with abort()"),
    Rule(
        name="exits-at-once",
        statuses=frozenset({0}),
        at_once=True,
        says="it ended by itself with status 0: a process of the Procfile has to go on, and not into the background",
    ),
)
_COMPILED: Final = tuple((rule, re.compile(rule.line) if rule.line is not None else None) for rule in RULES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """`name` is the rule's."""

    name: str
    text: str


def cause_of(failure: Failure) -> Cause | None:
    """What is to be said; None: nothing is known."""
    lines = _last_words([line.strip() for line in failure.lines[-LINES_LOOKED_AT:]])
    for rule, pattern in _COMPILED:
        if rule.statuses and failure.status not in rule.statuses:
            continue
        if rule.at_once and failure.lived_s >= AT_ONCE_S:
            continue
        if pattern is None:
            return Cause(name=rule.name, text=rule.says)
        if failure.status == 0:
            continue  # what it wrote was no reason to fail
        if failure.status in _FROM_OUTSIDE:
            continue
        for line in reversed(lines):
            if (match := pattern.search(line)) is not None:
                found = {name: _short(value) for name, value in match.groupdict().items() if value is not None}
                return Cause(name=rule.name, text=rule.says.format(**found))
    return None


def _last_words(lines: list[str]) -> list[str]:
    """From where the last traceback of Python's begins, with those that it says it comes of.

    What was written before is of something that the program has lived through, such as a refused connection.
    """
    begins = [number for number, line in enumerate(lines) if line.endswith(_TRACEBACK)]
    while begins:
        begin = begins.pop()
        if not any(line.startswith(_CHAINED) for line in lines[max(0, begin - 2) : begin]):
            return lines[begin:]
    return lines


def _short(text: str) -> str:
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"
