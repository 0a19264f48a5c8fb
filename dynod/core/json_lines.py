"""In which line of a JSON text each value stands, so that a fault in app.json can name its line. Pure.

Decoders give values without places. The text is known to be valid JSON here (a decoder has accepted it), so a walk over
its tokens is enough; it uses no recursion, since nesting is the writer's choice.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """`lines`: for each path, such as ("formation", "web", "quantity"), its line from 1; an object's member
    stands where its name stands. `repeated`: members that an object has had already; decoders drop the former one.
    """

    lines: Mapping[Path, int]
    repeated: tuple[tuple[Path, int], ...]


@dataclass(slots=True)
class _Open:
    """An object or array whose end has not come yet."""

    path: Path
    is_object: bool
    at_name: bool
    name: str = ""
    names: set[str] = field(default_factory=set)
    index: int = 0


def places_in(text: str) -> Places:
    """Walk over valid JSON."""
    lines: dict[Path, int] = {}
    repeated: list[tuple[Path, int]] = []
    containers: list[_Open] = []
    for symbol, line in _tokens(text):
        inside = containers[-1] if containers else None
        path: Path = ()
        if symbol in {"}", "]"}:
            containers.pop()
            continue
        if inside is not None:
            if symbol == ":":
                continue
            if symbol == ",":
                inside.at_name = inside.is_object
                continue
            if inside.at_name:
                inside.name, inside.at_name = json.loads(symbol), False
                path = (*inside.path, inside.name)
                if inside.name in inside.names:
                    repeated.append((path, line))
                inside.names.add(inside.name)
                lines[path] = line
                continue
            path = (*inside.path, inside.name if inside.is_object else inside.index)
            inside.index += 1
        if inside is None or not inside.is_object:
            lines[path] = line
        if symbol in {"{", "["}:
            containers.append(_Open(path=path, is_object=symbol == "{", at_name=symbol == "{"))
    return Places(lines=lines, repeated=tuple(repeated))


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    line, at = 1, 0
    for match in TOKEN.finditer(text):
        line += text.count("\n", at, match.start())
        at = match.start()
        yield match[0], line
