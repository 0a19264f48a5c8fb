"""Ranges as npm writes them (node-semver's README, "Ranges"): `engines.node`, and which yarn or pnpm. Pure.

^18.17 || 20.x     >=18 <21     18.0.0 - 20.4     ~20.1     lts/* is none of it: nvm's, and refused
"""

import re
from typing import Final

from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.core.version import Bound, Version, VersionRange, after, between, from_parts

_COMPARATOR: Final = re.compile(
    r"(>=|<=|>|<|=|\^|~>?)?\s*[vV]?(\d{1,9}|[xX*])(?:\.(\d{1,9}|[xX*]))?(?:\.(\d{1,9}|[xX*]))?"
    r"(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?"
)
_HYPHEN: Final = re.compile(r"\s*(\S+)\s+-\s+(\S+)\s*")
_NONE: Final = Bound(operator="<", version=Version(major=0))
LONGEST: Final = 256  # characters, node-semver's own limit


def read_npm_range(text: str) -> VersionRange:
    """Raises PackError for what is no range."""
    if len(text) > LONGEST:
        raise PackError(f"A version range of {len(text)} characters is too long: {LONGEST} are allowed.")
    return VersionRange(written=text.strip(), alternatives=tuple(_alternative(p, text) for p in text.split("||")))


def _alternative(text: str, whole: str) -> tuple[Bound, ...]:
    hyphen = _HYPHEN.fullmatch(text)
    if hyphen is not None:
        low, high = _parsed(hyphen[1], whole), _parsed(hyphen[2], whole)
        return (*_bounds(">=", *low[1:]), *_bounds("<=", *high[1:]))
    bounds: list[Bound] = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _COMPARATOR.match(text, position)
        if match is None:
            raise _unreadable(whole)
        bounds += _bounds(*_read(match))
        gap = re.compile(r"[\s,]*").match(text, match.end())
        position = gap.end() if gap else match.end()
        if position == match.end() and position < len(text):
            raise _unreadable(whole)
    return tuple(bounds)


def _parsed(word: str, whole: str) -> tuple[str, tuple[int, ...], str]:
    match = _COMPARATOR.fullmatch(word)
    if match is None:
        raise _unreadable(whole)
    return _read(match)


def _read(match: re.Match[str]) -> tuple[str, tuple[int, ...], str]:
    parts: list[int] = []
    for part in match.group(2, 3, 4):
        if part is None or not part.isdecimal():
            break
        parts.append(int(part))
    return match[1] or "", tuple(parts), (match[5] or "") if len(parts) == len(Version(major=0).release) else ""


def _bounds(operator: str, parts: tuple[int, ...], pre: str) -> tuple[Bound, ...]:
    if not parts:  # "*", and what says no more than it
        return (_NONE,) if operator in {"<", ">"} else ()
    version = from_parts(parts, pre=pre)
    whole = len(parts) == len(version.release)
    match operator:
        case ">=" | "<":
            return (Bound(operator=operator, version=version),)
        case ">":  # >20 begins at 21, >20.1.0 right behind it
            return (Bound(operator=">", version=version) if whole else Bound(operator=">=", version=after(parts)),)
        case "<=":
            return (Bound(operator="<=", version=version) if whole else Bound(operator="<", version=after(parts)),)
        case "^":
            significant = next((i for i, part in enumerate(parts) if part), len(parts) - 1)
            return between(version, after(parts[: significant + 1]))
        case "~" | "~>":
            return between(version, after(parts[:2]))
        case _ if whole:
            return (Bound(operator=">=", version=version), Bound(operator="<=", version=version))
        case _:
            return between(version, after(parts))


def _unreadable(text: str) -> PackError:
    return PackError(f'"{text.strip()}" is no range of versions: expected one such as 20.x, ^18.17 or >=20 <23.')
