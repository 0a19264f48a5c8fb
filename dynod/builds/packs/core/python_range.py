"""Ranges as Python's tools write them: PEP 440 (`>=3.11,<3.13`, `~=3.11`, `==3.12.*`) and poetry's `^3.11`. Pure."""

import re
from typing import Final

from dynod.builds.packs.core.npm_range import read_npm_range
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.core.version import Bound, Version, VersionRange, after, between, from_parts

_CLAUSE: Final = re.compile(r"(===|==|~=|!=|>=|<=|>|<)\s*(\d+(?:\.\d+)*)(\.\*)?((?:a|b|rc)\d+)?")


def read_python_range(text: str) -> VersionRange:
    """`requires-python`, or poetry's `python = …`. Raises PackError for what is no range."""
    if any(mark in text for mark in ("^", "|", "*")) and "=" not in text:
        return read_npm_range(text.replace("||", "|").replace("|", "||"))
    if re.fullmatch(r"~?\s*\d+(\.\d+)*", text.strip()):  # poetry's 3.11 and ~3.11
        return read_npm_range(text)
    bounds: list[Bound] = []
    for clause in filter(None, (part.strip() for part in text.split(","))):
        if clause.startswith("^"):
            bounds += read_npm_range(clause).alternatives[0]
            continue
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise PackError(f'"{text}" is no range of Python versions: expected one such as >=3.11,<3.14.')
        parts = tuple(int(part) for part in match[2].split("."))
        bounds += _bounds(match[1], parts, starred=bool(match[3]), pre=match[4] or "")
    return VersionRange(written=text.strip(), alternatives=(tuple(bounds),))


def _bounds(operator: str, parts: tuple[int, ...], *, starred: bool, pre: str) -> tuple[Bound, ...]:
    version = from_parts(parts, pre=pre)
    match operator:
        case "==" | "===" if starred:
            return between(version, after(parts))
        case "==" | "===":  # 3.11 is 3.11.0 to PEP 440; nobody means that
            full = len(parts) >= len(version.release)
            return (Bound(operator=">=", version=version), _up_to(version)) if full else between(version, after(parts))
        case "!=":
            return (Bound(operator="!=", version=version, until=after(parts) if starred else None),)
        case "~=":
            return between(version, after(parts[:-1] or parts))
        case "<=" if len(parts) < len(version.release):  # <=3.12 leaves 3.12.1 out, which nobody means either
            return (Bound(operator="<", version=after(parts)),)
        case ">" if len(parts) < len(version.release):
            return (Bound(operator=">=", version=after(parts)),)
        case _:
            return (Bound(operator=operator, version=version),)


def _up_to(version: Version) -> Bound:
    return Bound(operator="<=", version=version)
