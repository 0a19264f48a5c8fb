"""How config vars are written: for people, for shells, and as a file to edit. Pure: values in, text out.

Quoting for shells: heroku/cli `lib/config/quote.ts`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

_NEEDS_QUOTES: Final = re.compile(r"[\s\"#!$&'()*,:;<=>?@\[\\\]^`{|}]")
_ESCAPED: Final = re.compile(r'(["\\$`!])')
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:@%+,=-]+")

Parse = Callable[[str], Mapping[str, str]]  # of a file in the syntax of `.env`


@dataclass(frozen=True, slots=True, kw_only=True)
class Editable:
    """A file to edit. `left_out`: names whose values the syntax cannot hold; they stay as they are."""

    text: str
    left_out: tuple[str, ...]


def shell_value(value: str) -> str:
    """As a shell reads it back, one line."""
    if not _NEEDS_QUOTES.search(value):
        return value
    if "'" in value or "\n" in value:
        escaped = _ESCAPED.sub(r"\\\1", value).replace("\n", "\\n")
        return f'"{escaped}"'
    return f"'{value}'"


def config_lines(config: Mapping[str, str]) -> list[str]:
    """`FOO:  bar`, values aligned."""
    width = max((len(name) + 1 for name in config), default=0)
    return [f"{name + ':':<{width}} {value}".rstrip() for name, value in sorted(config.items())]


def shell_lines(config: Mapping[str, str]) -> list[str]:
    """`FOO=bar`, quoted as a shell needs it."""
    return [f"{name}={shell_value(value)}" for name, value in sorted(config.items())]


def editable(app: str, config: Mapping[str, str], parse: Parse) -> Editable:
    """The config vars in the syntax of `.env`; `parse` is asked whether each comes back as it is."""
    lines = [f"# Config vars of {app}. A line that is removed is a config var that is unset.", ""]
    left_out = []
    for name, value in sorted(config.items()):
        written = next((each for each in _ways(name, value) if parse(each) == {name: value}), None)
        if written is not None:
            lines.append(written)
        else:
            left_out.append(name)
            lines.append(f"# {name} cannot be written here, and stays as it is.")
    return Editable(text="\n".join([*lines, ""]), left_out=tuple(left_out))


def _ways(name: str, value: str) -> list[str]:
    escaped = value.replace("\\", "\\\\")
    quoted = escaped.replace("'", "\\'")
    double = escaped.replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    plain = [f"{name}={value}"] if _PLAIN.fullmatch(value) else []
    return [*plain, f"{name}='{quoted}'", f'{name}="{double}"']
