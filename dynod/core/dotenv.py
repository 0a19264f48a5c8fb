"""What a `.env` file may say: statements in, variables and faults out.

The file is cut into statements by python-dotenv (`app_folder` calls it and fills `Statement`), so that a value is what
everyone else reads; this module decides what is acceptable. Pure.

Two decisions:
- `${OTHER}` in a value stays as it is written. `heroku local` (node foreman) and Heroku's config vars take values
  verbatim; python-dotenv interpolates only by default (`interpolate=False` is what is matched here). A password with a
  `$` in it means itself.
- A name without `=` is a fault. python-dotenv yields None for it and then sets nothing, which is a variable that is
  lost in silence (`export NAME` after `NAME=value` even unsets it).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dynod.core.fault import Fault, quoted

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # POSIX, "Environment Variable Definition": what every shell can pass on
# As the names of variables look, and a mistyped one too, but hardly ever a password or a line of base64.
SHOWN_NAME = re.compile(r"(?:export\s+)?[A-Z0-9_][A-Z0-9_ .-]{0,39}")
_NO_EQUALS = 'expected "NAME=value", found no "="'


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement of a `.env` file as the parser saw it. Blank lines and comments have no name and no `malformed`."""

    name: str | None
    value: str | None
    line: int
    text: str
    malformed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """`NAME=value` and the number (from 1) of the line where it starts."""

    name: str
    value: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dotenv:
    """One `.env` file: its variables in order (a later one of the same name wins) and everything wrong with it."""

    file: str
    variables: tuple[Variable, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def values(self) -> Mapping[str, str]:
        return {variable.name: variable.value for variable in self.variables}


def read_dotenv(statements: Iterable[Statement], *, file: str = ".env") -> Dotenv:
    """Judge the statements of one file. Never raises; a statement is a variable, a fault, or blank.

    Messages never repeat a value, because values are secrets: of a line that is wrong, nothing is shown but a name, and
    that only where it looks as names do. The lines of a key that lacks its quotes are no names.
    """
    variables: list[Variable] = []
    faults: list[Fault] = []
    for statement in statements:
        message = _objection(statement)
        if message is not None:
            faults.append(Fault(file=file, line=statement.line, message=message))
        elif statement.name is not None and statement.value is not None:
            variables.append(Variable(name=statement.name, value=statement.value, line=statement.line))
    return Dotenv(file=file, variables=tuple(variables), faults=tuple(faults))


def _objection(statement: Statement) -> str | None:
    name, value = statement.name, statement.value
    if statement.malformed:
        return _malformed(statement.text)
    if name is None:
        return None
    if not NAME.fullmatch(name):
        return f'{_shown(name)} is no variable name: letters, digits and "_", not starting with a digit'
    if value is None:
        if not SHOWN_NAME.fullmatch(name):
            return _NO_EQUALS
        return f'expected "NAME=value", found {quoted(name)} alone; write "{name}=" for an empty value'
    if "\0" in value:
        return f"the value of {name} contains a NUL byte"
    return None


def _malformed(text: str) -> str:
    name, equals, value = text.strip().partition("=")
    if not equals:
        return _NO_EQUALS
    value = value.strip()
    if value[:1] in {"'", '"'}:
        return f"the value of {_shown(name)} has an unmatched {value[0]} quote, or text after the closing one"
    return f'expected "NAME=value", found {_shown(name, "=…")}'


def _shown(name: str, behind: str = "") -> str:
    """A name in a message; "…" for what may as well be a piece of a secret."""
    name = name.strip()
    return quoted((name if SHOWN_NAME.fullmatch(name) or not name else "…") + behind)
