"""Regular expressions that mean the same on every Python that dynod runs on."""

import importlib
import re
from collections.abc import Iterator

import pytest

from support.source_tree import Module, modules

# The parser behind `re`, which typeshed and the public module leave out.
codes = importlib.import_module("re._constants")
parser = importlib.import_module("re._parser")


@pytest.mark.parametrize("module", modules(), ids=str)
def test_no_possessive_quantifier_stands_over_a_group(module: Module) -> None:
    """`(?:…)*+` fails to match what it should before CPython 3.11.5 (gh-106052); Debian 12 has 3.11.2.

    Write `(?>(?:…)*)`, which is right everywhere, or make what is inside the group possessive instead.
    """
    namespace = vars(importlib.import_module(module.name))
    patterns = {name: value for name, value in namespace.items() if isinstance(value, re.Pattern)}
    assert [name for name, pattern in patterns.items() if any(_possessive_groups(pattern))] == []


def _possessive_groups(pattern: re.Pattern[str] | re.Pattern[bytes]) -> Iterator[object]:
    def walk(parsed: object) -> Iterator[object]:
        if isinstance(parsed, parser.SubPattern):
            for code, argument in parsed:
                if code is codes.POSSESSIVE_REPEAT and not _is_one_character(argument[2]):
                    yield argument
                yield from walk(argument)
        elif isinstance(parsed, tuple | list):
            for part in parsed:
                yield from walk(part)

    return walk(parser.parse(pattern.pattern, pattern.flags))


def _is_one_character(parsed: list[tuple[object, object]]) -> bool:
    single = {codes.LITERAL, codes.NOT_LITERAL, codes.IN, codes.ANY}
    return len(parsed) == 1 and parsed[0][0] in single
