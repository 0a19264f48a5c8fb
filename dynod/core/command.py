"""How a process type's command is started: directly where it is plain words, through a shell where it needs one.

Heroku runs every command by `bash -c`, which replaces itself by a simple command. Between a signal and the process no
shell should stand, and shells differ in how well they get out of the way (measured: bash 5.2 stays whenever the last
command is redirected, `cmd > file`; dash 0.5.12 always stays). So this module reads the easy part of the shell's
grammar: plain words are executed directly, and in a list whose last command is a program, `exec` is put before it.
Whatever is not understood with certainty goes to the shell untouched. Pure; a guess is never made.

Grammar: POSIX.1-2017, Shell Command Language, 2.2 (quoting), 2.4 (reserved words), 2.10.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

# Words that a shell handles itself (POSIX 2.4, 2.14 and 1.6 "Built-In Utilities"; bash 5 `compgen -bk`; dash(1)).
# Those that also exist as programs (echo, kill, printf, test …) are here too: the shell's variant is what runs.
_SHELL_WORDS = """
    ! . : [ [[ ]] { } alias bg bind break builtin caller case cd chdir command compgen complete compopt continue coproc
    declare dirs disown do done echo elif else enable esac eval exec exit export false fc fg fi for function getopts
    hash help history if in jobs kill let local logout mapfile popd printf pushd pwd read readarray readonly return
    select set shift shopt source suspend test then time times trap true type typeset ulimit umask unalias unset until
    wait while
"""
# Words that begin something larger than a simple command, or change what a later word means.
_COMPOUND = "! [[ alias case coproc do done elif else esac eval fi for function if select then time until while { }"
SHELL_WORDS = frozenset(_SHELL_WORDS.split())
COMPOUND = frozenset(_COMPOUND.split())

BLANK = re.compile(r"[ \t]+")
OPERATOR = re.compile(r"&&|\|\||\||;")
REDIRECTION = re.compile(r"[0-9]*(?:>>|>&|>\||<&|<>|&>>|&>|>|<(?!<))[ \t]*")
# One word: literal text, escapes, quotes, $NAME, ${…} and $(…) without anything nested. `#` may not begin a word, and
# `{`, `}`, `~`, `*`, `?`, `[`, `!` are harmless in words that are only passed on. Parentheses and backquotes are not.
DOLLAR = r"""\$(?:[A-Za-z_][A-Za-z0-9_]*|[0-9?$!#@*-]|\{[^{}'"\\`$()]*\}|\([^()'"\\`#$<>|&;]*\))"""
WORD = re.compile(
    rf"""(?: [^\s|&;<>()$`\\"'\#] | (?<=[^\s|&;<>()])\# | \\[^\n] | '[^']*' | {DOLLAR} | \$(?=["'\s]|$)
         | "(?: [^"$`\\] | \\[^\n] | {DOLLAR} | \$(?=["\s]) )*" )+""",
    re.VERBOSE,
)
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
# A word that means exactly itself to every shell, or is quoted so that shlex and the shell agree on it.
PLAIN_WORD = re.compile(r"""(?:[\w./:,@%+=-]|'[^']*'|"[^"$`\\!]*")+""")
STATIC_WORD = re.compile(r"[\w./:,@%+-]+")

PORT_REFERENCE = re.compile(r"(?<!\\)(?:\$PORT(?![A-Za-z0-9_])|\$\{PORT(?::-[^{}]*)?\})")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandPlan:
    """What to execute. `argv[0]` is looked up on the dyno's PATH unless it holds a slash, as execvp(3) does."""

    argv: tuple[str, ...]
    through_shell: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Simple:
    """One simple command of a list: the operator before it, its assignments, and its words with their offsets."""

    operator: str
    assignments: tuple[str, ...]
    words: tuple[tuple[int, str], ...]


def analyse(command: str, *, shell: str) -> CommandPlan:
    """Decide how to start `command`. `shell` is the path of bash if there is one, else of a POSIX sh."""
    words = _plain_words(command)
    if words is not None:
        return CommandPlan(argv=words, through_shell=False)
    return CommandPlan(argv=(shell, "-c", _with_exec(command)), through_shell=True)


def first_word(command: str) -> str | None:
    """The program without which the command cannot work: a name or a path, to be looked for before anything starts.

    None where that is not certain: the shell handles the word itself, it is computed (`$APP_BIN`), PATH is assigned
    before it, or another command could take its place (`a || b`, `a; b`).
    """
    plain = _plain_words(command)
    if plain is not None:
        return plain[0]
    commands = _simple_commands(command)
    if commands is None or any(simple.operator in {"||", ";"} for simple in commands):
        return None
    if any(assigned.startswith("PATH") for assigned in commands[0].assignments):
        return None
    words = [word for _, word in commands[0].words]
    if words[:1] == ["exec"]:
        words = words[1:]
    if not words or not STATIC_WORD.fullmatch(words[0]) or words[0].startswith("-"):
        return None
    return None if words[0] in SHELL_WORDS else words[0]


def expand_port_for_display(command: str, port: int | None) -> str:
    """The command as Heroku's "Starting process with command" shows it: PORT expanded, nothing else.

    Heroku expands every variable there; secrets would reach the log, so only `$PORT`, `${PORT}` and `${PORT:-5000}`
    are replaced (heroku-semantics 1.5). Without a port the command is shown as it is written.
    """
    return command if port is None else PORT_REFERENCE.sub(str(port), command)


def _plain_words(command: str) -> tuple[str, ...] | None:
    pieces = [match[0] for match in re.finditer(rf"(?:{PLAIN_WORD.pattern})|[^ \t]", command)]
    if not all(PLAIN_WORD.fullmatch(piece) for piece in pieces):
        return None
    words = shlex.split(command)
    if not words or not words[0] or words[0] in SHELL_WORDS or ASSIGNMENT.match(words[0]):
        return None
    return tuple(words)


def _with_exec(command: str) -> str:
    """The command with `exec` before the program that the shell would run last, if that is certainly one."""
    commands = _simple_commands(command)
    if commands is None or commands[-1].operator == "|" or not commands[-1].words:
        return command
    if any(word == "trap" for simple in commands for _, word in simple.words):
        return command  # the shell has to be there to run the trap
    offset, word = commands[-1].words[0]
    if word in SHELL_WORDS or not STATIC_WORD.fullmatch(word) or word.startswith("-"):
        return command
    return f"{command[:offset]}exec {command[offset:]}"


def _simple_commands(command: str) -> Sequence[_Simple] | None:
    """The simple commands of a list joined by && || | ;, or None where there is more of the grammar than that."""
    commands: list[_Simple] = []
    operator, assignments, words = "", list[str](), list[tuple[int, str]]()
    at = 0
    while at < len(command):
        if blank := BLANK.match(command, at):
            at = blank.end()
        elif redirection := REDIRECTION.match(command, at):
            target = WORD.match(command, redirection.end())
            if target is None:
                return None
            at = target.end()
        elif joint := OPERATOR.match(command, at):
            if not words and not assignments:
                return None
            commands.append(_Simple(operator=operator, assignments=tuple(assignments), words=tuple(words)))
            operator, assignments, words = joint[0], [], []
            at = joint.end()
        elif word := WORD.match(command, at):
            if not words and ASSIGNMENT.match(word[0]):
                assignments.append(word[0])
            else:
                words.append((at, word[0]))
            at = word.end()
        else:
            return None
    if words or assignments:
        commands.append(_Simple(operator=operator, assignments=tuple(assignments), words=tuple(words)))
    elif operator != ";":
        return None
    if any(simple.words and simple.words[0][1] in COMPOUND for simple in commands):
        return None
    return commands
