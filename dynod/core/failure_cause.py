"""Why a dyno failed, in one line of its user's words: rules over how it ended and what it said of that. Pure.

Flow: exit, last lines → `fatal_output` → **cause** → the app's log, `ps --why`, the reason of a failed release. Each
rule is a row: whose report it is about, what that has to say, and what it means. The first that fits is said; where
none does nothing is, because a wrong reason is worse than none.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dynod.core.fatal_output import Runtime, Said, fatal_report

PREFIX: Final = "Cause: "  # of the line that says it
LINES_LOOKED_AT: Final = 300  # the last ones: a trace of Java's is long, and its last part says most
LINE_LOOKED_AT: Final = 500  # characters of each: a dyno that makes lines to be slow to match must not be waited for
LONGEST: Final = 160  # characters of what a program wrote that are quoted
AT_ONCE_S: Final = 10.0
SILENCE_S: Final = 10.0  # between its last line and its end: after more than that it ended for something else
_SIGSEGV, _SIGABRT, _SIGBUS, _SIGILL = 139, 134, 135, 132  # as statuses: 128 + the signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How it ended. `status` is 128+N where a signal N ended it; `lived_s` from its launch, `silent_s` at its end."""

    status: int
    lived_s: float
    lines: Sequence[str]
    silent_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`line` has to be found in what the report says, `where` in its innermost frame; `says` may name groups of `line`.

    Without `line` it goes by the status alone, and only where no report is understood.
    """

    name: str
    says: str
    of: Runtime | None = None
    line: str = ""
    where: str = ""
    statuses: frozenset[int] = frozenset()
    at_once: bool = False  # only where it lived for less than AT_ONCE_S


_NOT_INSTALLED: Final = (
    "the module {what} is not installed for this app: add it to %s and install it, or is its name not right?"
)
_NO_FILE: Final = "there is no file {what}: is its path in the Procfile right?"
_NO_VARIABLE: Final = "it needs {what}, which is not set: `dynod config:set {what}=…`, or .env"
_IN_USE: Final = "the address that it wants to listen on is in use: it has to listen on $PORT, which is its own"
_NOT_ALLOWED: Final = "it may not use {what}: its user has no permission for that"
_PRIVILEGED: Final = "it may not listen there: ports below 1024 need a privilege, $PORT does not"
_REFUSED: Final = "something that it connects to refuses: is the database or service running, and its address right?"
_OUT_OF_MEMORY: Final = "it ran out of the memory that its runtime allows"
_SYNTAX: Final = "its code cannot be read: {what}"
# Of Python's: what libraries call the failure of a connection that is needed.
_CONNECTS: Final = (
    r"^(?:[\w.]+\.)?(?:ConnectionRefusedError|OperationalError|ConnectionError|ConnectError|ConnectionFailure"
    r"|ServerSelectionTimeoutError|URLError|NewConnectionError|ClientConnectorError|AMQPConnectionError): "
)

_IN_PYTHON, _IN_NODE, _IN_RUBY, _IN_PHP, _IN_JAVA = (
    Runtime.PYTHON,
    Runtime.NODE,
    Runtime.RUBY,
    Runtime.PHP,
    Runtime.JAVA,
)

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        name="missing-app",
        of=_IN_PYTHON,
        line=r"^ModuleNotFoundError: No module named '(?P<what>[^']+)'$",
        where=r"/gunicorn/util\.py\", line \d+, in import_app$",
        says="there is no module {what}, which its command names: is that name right?",
    ),
    Rule(
        name="missing-module",
        of=_IN_PYTHON,
        line=r"^ModuleNotFoundError: No module named '(?P<what>[^']+\.[^']+)'(?:; .*)?$",
        says="there is no module {what}: is its name right, and is its file there?",
    ),
    Rule(
        name="missing-module",
        of=_IN_PYTHON,
        line=r"^ModuleNotFoundError: No module named '(?P<what>[^']+)'$",
        says=_NOT_INSTALLED % "requirements.txt",
    ),
    Rule(
        name="missing-module",
        of=_IN_PYTHON,
        line=r"python[\d.]*: No module named (?P<what>\S+)$",
        says=_NOT_INSTALLED % "requirements.txt",
    ),
    Rule(name="missing-file", of=_IN_PYTHON, line=r": can't open file '(?P<what>.+)': \[Errno 2\]", says=_NO_FILE),
    Rule(
        name="missing-variable",
        of=_IN_PYTHON,
        line=r"^KeyError: '(?P<what>\w+)'$",
        where=r'  File "(?:<frozen os>|.*/os\.py)", line \d+, in __getitem__$',
        says=_NO_VARIABLE,
    ),
    Rule(name="address-in-use", of=_IN_PYTHON, line=r"^OSError: \[Errno (?:98|48)\] ", says=_IN_USE),
    Rule(
        name="permission",
        of=_IN_PYTHON,
        line=r"^PermissionError: \[Errno 13\] Permission denied: '(?P<what>.+)'$",
        says=_NOT_ALLOWED,
    ),
    Rule(
        name="permission",
        of=_IN_PYTHON,
        line=r"^PermissionError: \[Errno 13\] (?:Permission denied$|error while attempting to bind)",
        says=_PRIVILEGED,
    ),
    Rule(
        name="connection-refused",
        of=_IN_PYTHON,
        line=_CONNECTS + r".*(?i:connection refused|connect call failed)",
        says=_REFUSED,
    ),
    Rule(name="out-of-memory", of=_IN_PYTHON, line=r"^MemoryError$", says=_OUT_OF_MEMORY),
    Rule(
        name="syntax",
        of=_IN_PYTHON,
        line=r"^(?P<what>(?:SyntaxError|IndentationError|TabError): .+)",
        says=_SYNTAX,
    ),
    Rule(
        name="missing-file",
        of=_IN_NODE,
        line=r"^Error(?: \[ERR_MODULE_NOT_FOUND\])?: Cannot find module '(?P<what>[./][^']*)'",
        says="there is no file {what}: is its path right, and is it built?",
    ),
    Rule(
        name="missing-module",
        of=_IN_NODE,
        line=r"^Error(?: \[ERR_MODULE_NOT_FOUND\])?: Cannot find (?:module|package) '(?P<what>[^']+)'",
        says=_NOT_INSTALLED % "package.json",
    ),
    Rule(name="address-in-use", of=_IN_NODE, line=r"^Error: (?:listen|bind) EADDRINUSE", says=_IN_USE),
    Rule(name="permission", of=_IN_NODE, line=r"^Error: (?:listen|bind) EACCES", says=_PRIVILEGED),
    Rule(
        name="permission",
        of=_IN_NODE,
        line=r"^Error: EACCES: permission denied, \w+ '(?P<what>[^']+)'",
        says=_NOT_ALLOWED,
    ),
    Rule(
        name="connection-refused",
        of=_IN_NODE,
        line=r"^(?:\[cause\]: )?(?:\w*Error: (?:.*: )?connect ECONNREFUSED |AggregateError \[ECONNREFUSED\])",
        says=_REFUSED,
    ),
    Rule(name="out-of-memory", of=_IN_NODE, line=r"^FATAL ERROR: ", says=_OUT_OF_MEMORY),
    Rule(name="syntax", of=_IN_NODE, line=r"^(?P<what>SyntaxError: .+)", says=_SYNTAX),
    Rule(
        name="missing-file",
        of=_IN_RUBY,
        line=r"ruby[\d.]*: No such file or directory -- (?P<what>.+) \(LoadError\)$",
        says=_NO_FILE,
    ),
    Rule(
        name="missing-file",
        of=_IN_RUBY,
        line=r": cannot load such file -- (?P<what>[./].*) \(LoadError\)$",
        says="there is no file {what}: is its path right?",
    ),
    Rule(
        name="missing-module",
        of=_IN_RUBY,
        line=r": cannot load such file -- (?P<what>.+) \(LoadError\)$",
        says="Ruby finds no {what}: add its gem to the Gemfile and run bundle install",
    ),
    Rule(
        name="missing-module",
        of=_IN_RUBY,
        line=r"(?:^|: )Could not find (?:gem )?'?(?P<what>[\w.-]+).* in ",
        says="the gem {what} is not installed: run bundle install",
    ),
    Rule(
        name="missing-module",
        of=_IN_RUBY,
        line=r"^bundler: command not found: (?P<what>.+)$",
        says="bundler finds no {what}: add its gem to the Gemfile and run bundle install",
    ),
    Rule(
        name="missing-file",
        of=_IN_RUBY,
        line=r"^Could not locate (?P<what>Gemfile)",
        says="there is no Gemfile in the folder where it runs",
    ),
    Rule(
        # A hash's keys are seldom written so, but may be: so it is not said that it is a config var.
        name="missing-variable",
        of=_IN_RUBY,
        line=r"fetch': key not found: \"(?P<what>[A-Z][A-Z0-9_]+)\" \(KeyError\)$",
        says="it needs {what}, which is not there: if that is a config var, `dynod config:set {what}=…`, or .env",
    ),
    Rule(name="address-in-use", of=_IN_RUBY, line=r" \(Errno::EADDRINUSE\)$", says=_IN_USE),
    Rule(name="permission", of=_IN_RUBY, line=r"Permission denied - bind\(2\).* \(Errno::EACCES\)$", says=_PRIVILEGED),
    Rule(
        name="permission",
        of=_IN_RUBY,
        line=r"Permission denied @ \w+ - (?P<what>.+) \(Errno::EACCES\)$",
        says=_NOT_ALLOWED,
    ),
    Rule(
        name="connection-refused",
        of=_IN_RUBY,
        line=r"Connection refused.* \((?:Errno::ECONNREFUSED|PG::ConnectionBad|Redis::CannotConnectError"
        r"|RedisClient::CannotConnectError|Mysql2::Error::ConnectionError|Bunny::TCPConnectionFailed\w*)\)$",
        says=_REFUSED,
    ),
    Rule(name="out-of-memory", of=_IN_RUBY, line=r" \(NoMemoryError\)$", says=_OUT_OF_MEMORY),
    Rule(name="syntax", of=_IN_RUBY, line=r"(?P<what>[^\s:]+:\d+: syntax error.*)", says=_SYNTAX),
    Rule(
        name="missing-module",
        of=_IN_PHP,
        line=r"Failed opening required '(?P<what>[^']*vendor/autoload\.php)'",
        says="PHP cannot open {what}: run composer install",
    ),
    Rule(
        name="missing-file",
        of=_IN_PHP,
        line=r"Failed opening required '(?P<what>[^']+)'",
        says="PHP cannot open {what}: is its path right, is it there, and may it be read?",
    ),
    Rule(
        name="missing-module",
        of=_IN_PHP,
        line=r"Uncaught Error: Class \"(?P<what>[^\"]+)\" not found in ",
        says="PHP finds no class {what}: is its package in composer.json, and its file loaded?",
    ),
    Rule(name="missing-file", of=_IN_PHP, line=r"^Could not open input file: (?P<what>.+)$", says=_NO_FILE),
    Rule(name="address-in-use", of=_IN_PHP, line=r"Failed to listen on .*Address already in use", says=_IN_USE),
    Rule(name="permission", of=_IN_PHP, line=r"Failed to listen on .*Permission denied", says=_PRIVILEGED),
    Rule(
        name="connection-refused",
        of=_IN_PHP,
        line=r"(?:Uncaught |^Next )(?:PDO|mysqli_sql_|Redis)\w*Exception: .*Connection refused",
        says=_REFUSED,
    ),
    Rule(name="out-of-memory", of=_IN_PHP, line=r"error: +Allowed memory size of \d+ bytes", says=_OUT_OF_MEMORY),
    Rule(name="syntax", of=_IN_PHP, line=r"(?P<what>Parse error: .+)", says=_SYNTAX),
    Rule(
        name="missing-module",
        of=_IN_JAVA,
        line=r"^Error: Could not find or load main class (?P<what>\S+)",
        says="Java finds no class {what}: is it built, and is the class path right?",
    ),
    Rule(
        name="missing-file",
        of=_IN_JAVA,
        line=r"^Error: Unable to access jarfile (?P<what>.+)$",
        says="there is no jar {what}: is it built?",
    ),
    Rule(
        name="too-new",
        of=_IN_JAVA,
        line=r"UnsupportedClassVersionError: (?P<what>[\w.$/]+) has been compiled by a more recent version",
        says="{what} was compiled for a newer Java than the one that runs it",
    ),
    Rule(
        name="missing-module",
        of=_IN_JAVA,
        line=r"java\.lang\.(?:ClassNotFoundException|NoClassDefFoundError): (?P<what>[\w.$/]+)$",
        says="Java finds no class {what}: its jar is not on the class path",
    ),
    Rule(name="address-in-use", of=_IN_JAVA, line=r"java\.net\.BindException: Address already in use", says=_IN_USE),
    Rule(
        name="permission",
        of=_IN_JAVA,
        line=r"java\.net\.(?:Bind|Socket)Exception: Permission denied",
        says=_PRIVILEGED,
    ),
    Rule(
        name="permission",
        of=_IN_JAVA,
        line=r"(?:java\.nio\.file\.AccessDeniedException: (?P<what>\S+)$)",
        says=_NOT_ALLOWED,
    ),
    Rule(
        name="permission",
        of=_IN_JAVA,
        line=r"java\.io\.FileNotFoundException: (?P<what>.+) \(Permission denied\)$",
        says=_NOT_ALLOWED,
    ),
    Rule(
        name="connection-refused",
        of=_IN_JAVA,
        line=r"java\.net\.ConnectException: Connection refused",
        says=_REFUSED,
    ),
    Rule(name="out-of-memory", of=_IN_JAVA, line=r"java\.lang\.OutOfMemoryError: ", says=_OUT_OF_MEMORY),
    Rule(
        name="missing-app",
        of=Runtime.SERVER,
        line=r"Could not import module \"(?P<what>[^\"]+)\"",
        says="there is no module {what}, which its command names: is that name right?",
    ),
    Rule(
        name="missing-app",
        of=Runtime.SERVER,
        line=r"[Aa]ttribute ['\"](?P<what>[^'\"]+)['\"] (?:not found in module|in) ['\"](?P<module>[^'\"]+)['\"]",
        says="there is no {what} in {module}, which its command names: is that name right?",
    ),
    Rule(
        name="address-in-use",
        of=Runtime.SERVER,
        line=r"(?i:address already in use|port is already in use|\[emerg\])",
        says=_IN_USE,
    ),
    Rule(name="address-in-use", of=Runtime.SERVER, line=r"Connection in use: ", says=_IN_USE),
    Rule(
        name="command-not-found",
        of=Runtime.SHELL,
        line=r"(?:^|: )(?:exec: )?(?P<what>[^\s:/]+): (?:command )?not found$",
        statuses=frozenset({127}),
        says="there is no command {what}: is it installed, and on the PATH?",
    ),
    Rule(
        name="command-not-found",
        of=Runtime.SHELL,
        line=r"env: [\u2018'](?P<what>[^\u2019']+)[\u2019']: No such file",
        statuses=frozenset({127}),
        says="there is no command {what}: is it installed, and on the PATH?",
    ),
    Rule(
        name="missing-file",
        of=Runtime.SHELL,
        line=r": (?:exec: )?(?P<what>[^\s:]*/[^\s:]*): "
        r"(?:not found|No such file or directory|cannot execute: required file not found)$",
        statuses=frozenset({127}),
        says="there is no {what}, or not the interpreter that its first line names",
    ),
    Rule(
        name="permission",
        of=Runtime.SHELL,
        line=r"(?:^|: )(?P<what>[^\s:]+): Permission denied$",
        statuses=frozenset({126}),
        says="{what} cannot be run: make it executable with chmod +x",
    ),
    # How it ended, where it has said nothing that is known.
    Rule(
        name="command-not-found",
        statuses=frozenset({127}),
        at_once=True,
        says="its command was not found: is it on the PATH?",
    ),
    Rule(
        name="permission", statuses=frozenset({126}), at_once=True, says="its command cannot be run: is it executable?"
    ),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """`name` is the rule's."""

    name: str
    text: str


def cause_of(failure: Failure) -> Cause | None:
    """What is to be said; None: nothing is known."""
    said_at_its_end = failure.lines[-LINES_LOOKED_AT:] if failure.silent_s < SILENCE_S else ()
    lines = [line[:LINE_LOOKED_AT].rstrip() for line in said_at_its_end]
    report = fatal_report(lines, failure.status)
    if report is not None:
        for said in report.said:
            if (cause := _of_words(report.runtime, said, failure.status)) is not None:
                return cause
    return next(_of_status(failure), None)


def _of_words(runtime: Runtime, said: Said, status: int) -> Cause | None:
    for rule in RULES:
        if rule.of is not runtime or (rule.statuses and status not in rule.statuses):
            continue
        match = re.search(rule.line, said.text)  # which keeps what it has compiled; most dynods never need any of it
        if match is not None and re.search(rule.where, said.where):
            found = {name: _short(value) for name, value in match.groupdict().items()}
            return Cause(name=rule.name, text=rule.says.format(**found))
    return None


def _of_status(failure: Failure) -> Iterator[Cause]:
    for rule in RULES:
        if rule.of is None and failure.status in rule.statuses and not (rule.at_once and failure.lived_s >= AT_ONCE_S):
            yield Cause(name=rule.name, text=rule.says)


def _short(text: str) -> str:
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"
