"""Conditions on the fields of router lines: `status>=500`, `service>1s`, `method=POST`, `path~/api`.

Flow: `dynod logs --where` → **condition** → filter. Router lines are `key=value` pairs (heroku-semantics 5.12); times
are compared in milliseconds, sizes in bytes, whatever unit either side is written in. A line that has no such field, or
an empty one, fulfils no condition on it, not even `!=`. Pure.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from dynod.core.fault import quoted
from dynod.errors import UsageError

UNITS: Final[Mapping[str, float]] = {
    "": 1.0,
    "us": 0.001,
    "ms": 1.0,  # what router lines are in
    "s": 1000.0,
    "m": 60_000.0,
    "kb": 1024.0,
    "mb": 1024.0**2,
    "gb": 1024.0**3,
}
COMPARED: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
CONTAINS: Final = "~"

_CONDITION: Final = re.compile(r"([a-z_]+)(>=|<=|!=|==|=|>|<|~)(.*)", re.DOTALL)
_NUMBER: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([a-z]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """`field`, how it is compared, and with what: a number in its base unit, or a text."""

    field: str
    comparison: str
    text: str
    number: float | None

    def holds(self, line: bytes) -> bool:
        """Is it so of this router line, without its prefix?"""
        found = field_of(line, self.field.encode())
        if not found:
            return False
        if self.comparison == CONTAINS:
            return self.text in found
        there = _number(found)
        if self.number is not None and there is not None:
            return COMPARED[self.comparison](there, self.number)
        # Not a number on both sides: only the same or not the same can be said.
        return {"=": found == self.text, "!=": found != self.text}.get(self.comparison, False)


def parse_conditions(text: str) -> tuple[Condition, ...]:
    """Read `status>=500 service>1s`: all must hold. Raises UsageError."""
    found = []
    for word in text.split():
        condition = _CONDITION.fullmatch(word)
        if condition is None or not condition[3]:
            raise UsageError(f"expected a condition such as status>=500 or service>1s, found {quoted(word)}")
        field, comparison, value = condition.groups()
        comparison = "=" if comparison == "==" else comparison
        number = _number(value)
        if number is None and comparison in {">", "<", ">=", "<="}:
            raise UsageError(f"expected a number, with ms, s, kB or MB behind it if you like, found {quoted(word)}")
        found.append(Condition(field=field, comparison=comparison, text=value, number=number))
    if not found:
        raise UsageError("expected a condition such as status>=500 or service>1s, found nothing")
    return tuple(found)


def field_of(line: bytes, name: bytes) -> str | None:
    """The value of a field; quotes around it are not part of it."""
    start = 0
    while True:
        at = line.find(name + b"=", start)
        if at < 0:
            return None
        # Not within another field's name, or within quotes (a path may hold `status=500`).
        if (at == 0 or line[at - 1 : at] == b" ") and line.count(b'"', 0, at) % 2 == 0:
            break
        start = at + 1
    value = line[at + len(name) + 1 :]
    value = value[1:].partition(b'"')[0] if value.startswith(b'"') else value.partition(b" ")[0]
    return value.decode("utf-8", "backslashreplace")


def _number(text: str) -> float | None:
    found = _NUMBER.fullmatch(text.lower())
    if found is None or found[2] not in UNITS:
        return None
    return float(found[1]) * UNITS[found[2]]
