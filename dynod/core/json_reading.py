"""Reading a decoded JSON document member by member, collecting every fault with its path and line. Pure.

Each method reads one member of an object (`owner`, which stands at path `at`), returns what is there, and where it is
not of the kind asked for notes a fault and returns as if it were absent. `app_manifest` says which members there are.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from dynod.core.fault import Fault
from dynod.core.json_lines import Path, Places

KINDS: Final[Mapping[type, str]] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "an array",
    type(None): "null",
}

Json = Mapping[str, object]


class JsonReading:
    """One pass over one document. Members that a name has twice are faults from the start."""

    def __init__(self, file: str, places: Places) -> None:
        self._file = file
        self._places = places
        self._faults: list[Fault] = []
        for path, line in places.repeated:
            self._faults.append(Fault(file=file, line=line, message=f"{dotted(path)} is there twice"))

    @property
    def faults(self) -> tuple[Fault, ...]:
        """All that was found so far, by line."""
        return tuple(sorted(self._faults, key=lambda fault: fault.line or 0))

    def members(self, document: Json, key: str) -> Iterator[tuple[Path, object]]:
        value = document.get(key, {})
        if isinstance(value, dict):
            yield from (((key, name), entry) for name, entry in value.items())
        else:
            self.expected((key,), dict, value)

    def objects(self, document: Json, key: str) -> Iterator[tuple[Path, Json]]:
        for path, entry in self.members(document, key):
            if isinstance(entry, dict):
                yield path, entry
            else:
                self.expected(path, dict, entry)

    def elements(self, owner: Json, at: Path, key: str) -> Iterator[tuple[Path, object]]:
        value = owner.get(key, [])
        if isinstance(value, list):
            yield from (((*at, key, index), entry) for index, entry in enumerate(value))
        else:
            self.expected((*at, key), list, value)

    def texts(self, owner: Json, at: Path, key: str) -> tuple[str, ...]:
        texts = []
        for path, entry in self.elements(owner, at, key):
            if isinstance(entry, str):
                texts.append(entry)
            else:
                self.expected(path, str, entry)
        return tuple(texts)

    def text(self, owner: Json, at: Path, key: str, *, required: bool = False) -> str | None:
        if key not in owner:
            if required:
                self.fault(at, f'expected a member "{key}"')
            return None
        value = owner[key]
        if isinstance(value, str):
            return value
        self.expected((*at, key), str, value)
        return None

    def flag(self, owner: Json, at: Path, key: str, *, default: bool) -> bool:
        value = owner.get(key, default)
        if isinstance(value, bool):
            return value
        self.expected((*at, key), bool, value)
        return default

    def number(
        self,
        owner: Json,
        at: Path,
        key: str,
        *,
        default: int | None = None,
        least: int = 0,
        most: int | None = None,
    ) -> int | None:
        if key not in owner:
            return default
        value = owner[key]
        if not isinstance(value, int) or isinstance(value, bool):
            self.expected((*at, key), int, value)
        elif value < least or (most is not None and value > most):
            bounds = f"at least {least}" if most is None else f"{least} to {most}"
            self.fault((*at, key), f"expected {bounds}, found {value}")
        else:
            return value
        return default

    def without_nul(self, value: str, path: Path) -> str:
        if "\0" in value:
            self.fault(path, "contains a NUL byte")
        return value

    def expected(self, path: Path, kind: type, found: object) -> None:
        self.fault(path, f"expected {KINDS[kind]}, found {kind_of(found)}")

    def fault(self, path: Path, message: str) -> None:
        self._faults.append(Fault(file=self._file, line=self.line(path), message=f"{dotted(path)}: {message}"))

    def line(self, path: Path) -> int | None:
        return self._places.lines.get(path)


def dotted(path: Path) -> str:
    """`formation.web.quantity`, `addons[1].plan`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def kind_of(value: object) -> str:
    return KINDS.get(type(value), "something else")
