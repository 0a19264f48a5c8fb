"""The Procfile grammar: text in, process types and faults out. The first stop of the flow.

The grammar is Heroku's as the tools around it have implemented it (foreman's `name: command`, the name length of the
Procfile buildpack's SPEC.md); what they skip in silence is a fault here. Pure: decoding is `app_folder`'s, what a
command means is `command`'s, how often a type runs is `formation`'s.

    line    = blanks [ "#" anything | name ":" blanks command blanks ]
    name    = 1 to 63 of A-Z a-z 0-9 _ -, and not run: one-off dynos are called so
    command = anything visible; a "#" in it is the shell's affair
"""

import re
from dataclasses import dataclass

from dynod.core.fault import Fault, quoted

LONGEST_NAME = 63  # SPEC.md of heroku/buildpacks-procfile; also what fits in one DNS label
ONE_OFF = "run"  # allowed by Heroku, to its maintainers' regret: heroku/buildpacks-procfile issue 281
BLANKS = " \t\v\f"
LINE_END = re.compile(r"\r\n|\n|\r")  # not str.splitlines: it also splits at U+2028 and others, which editors do not
DECLARATION = re.compile(r"([A-Za-z0-9_-]+):(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessType:
    """One line of a Procfile: `web: gunicorn app`, and the number (from 1) of the line."""

    name: str
    command: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Procfile:
    """The process types in the order of the file, and everything that is wrong with it."""

    types: tuple[ProcessType, ...]
    faults: tuple[Fault, ...] = ()


def parse_procfile(text: str, *, file: str = "Procfile") -> Procfile:
    """Read a whole Procfile. Never raises: each visible line that is no comment becomes a type or a fault.

    A byte order mark and CR LF line ends are accepted. Of two lines for one type the first is kept and the second is
    a fault. A Procfile without any type is no fault here: a build may have default types.
    """
    types: dict[str, ProcessType] = {}
    faults: list[Fault] = []
    for number, raw in enumerate(LINE_END.split(text.removeprefix("\ufeff")), start=1):
        line = raw.strip(BLANKS)
        if not line or line.startswith("#"):
            continue
        read = _declaration(line, number)
        if isinstance(read, ProcessType) and (first := types.get(read.name)) is not None:
            read = f'process type "{read.name}" is declared on line {first.line} already'
        if isinstance(read, ProcessType):
            types[read.name] = read
        else:
            faults.append(Fault(file=file, line=number, message=read))
    return Procfile(types=tuple(types.values()), faults=tuple(faults))


def _declaration(line: str, number: int) -> ProcessType | str:
    if "\0" in line:
        return "contains a NUL byte"
    match = DECLARATION.fullmatch(line)
    if match is None:
        message = f'expected "name: command", found {quoted(line)}'
        before_colon = line.partition(":")[0]
        if before_colon != line and len(before_colon.split()) == 1:
            message += ' (a name is made of letters, digits, "-" and "_")'
        return message
    name, command = match[1], match[2].strip(BLANKS)
    if name == ONE_OFF:
        return f'process type "{name}" is what one-off dynos are called ({name}.N): choose another name'
    if len(name) > LONGEST_NAME:
        return f"process type {quoted(name)} has a name of {len(name)} characters; {LONGEST_NAME} are allowed"
    if not command or command.startswith("#"):
        return f'process type "{name}" has no command'
    return ProcessType(name=name, command=command, line=number)
