"""On which line of a TOML file a setting stands, for messages: the library that reads TOML keeps no places. Pure.

Finds what people write: tables, dotted and quoted keys. What it does not find has no line in its message.
"""

import re
from typing import Final

_HEADER: Final = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?")
_KEY: Final = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_SETTING: Final = re.compile(r"(?:^|: )(?P<section>[a-z]+)(?:\.|: )(?P<key>[\w.-]+):")


def line_of(text: str, section: str, key: str = "") -> int | None:
    """The first line, from 1, that sets `key` of `section`; without a key, that begins the section."""
    wanted = f"{section}.{key}" if key else section
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if (header := _HEADER.fullmatch(line)) is not None:
            table = _plain(header[1])
            if table == wanted:
                return number
        elif (found := _KEY.match(line)) is not None:
            name = f"{table}.{_plain(found[1])}" if table else _plain(found[1])
            if name == wanted:
                return number
    return None


def with_line(fault: str, text: str) -> str:
    """A fault such as `dynod.toml: dynos.grace_s: expected …`, with the line of the file's `text` at its end."""
    named = _SETTING.search(fault)
    if named is None:
        return fault
    number = line_of(text, named["section"], named["key"])
    return fault if number is None else f"{fault} (at line {number})"


def _plain(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))
