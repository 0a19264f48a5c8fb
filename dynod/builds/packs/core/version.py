"""Versions, and ranges of them, as all of the languages have them. Pure.

How a language writes a range is read by `npm_range`, `python_range` and `composer_range`; here is what it means.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_VERSION: Final = re.compile(
    r"[vV=]?\s*(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?(?:[-.]?([A-Za-z][0-9A-Za-z.-]*))?(?:\+[0-9A-Za-z.-]+)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """`major.minor.patch`; `pre` is what stands behind it in one that is no release yet: `rc.1`."""

    major: int
    minor: int = 0
    patch: int = 0
    pre: str = ""

    @property
    def release(self) -> tuple[int, int, int]:
        return (self.major, self.minor, self.patch)

    @property
    def order(self) -> tuple[tuple[int, int, int], bool, tuple[tuple[bool, int, str], ...]]:
        """What versions are compared by (Semantic Versioning 2.0.0, 11): 1.0.0-rc.2 < 1.0.0-rc.10 < 1.0.0."""
        parts = re.findall(r"\d+|[A-Za-z-]+", self.pre)
        identifiers = tuple((not p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in parts)
        return (self.release, not self.pre, identifiers)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}" + (f"-{self.pre}" if self.pre else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One condition: `>=`, `>`, `<`, `<=`, or `!=`, which leaves out all from `version` up to, not with, `until`."""

    operator: str
    version: Version
    until: Version | None = None

    def allows(self, version: Version) -> bool:
        mine, theirs = self.version.order, version.order
        match self.operator:
            case ">=":
                return theirs >= mine
            case ">":
                return theirs > mine
            case "<":
                return theirs < mine
            case "<=":
                return theirs <= mine
            case "!=":
                return not mine <= theirs < self.until.order if self.until else theirs != mine
            case _:
                raise ValueError(self.operator)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRange:
    """What a file asks for: any of the alternatives, each of them bounds that all hold. `written`: in its own words."""

    written: str
    alternatives: tuple[tuple[Bound, ...], ...]

    def allows(self, version: Version) -> bool:
        """Pre-releases only where a bound names one of the very version, as npm has it."""
        return any(
            all(bound.allows(version) for bound in bounds)
            and (not version.pre or any(b.version.pre and b.version.release == version.release for b in bounds))
            for bounds in self.alternatives
        )

    def best_of(self, versions: Iterable[Version]) -> Version | None:
        """The first, which is the machine's own, if it will do; else the newest that will."""
        versions = list(versions)
        if versions and self.allows(versions[0]):
            return versions[0]
        return max((v for v in versions if self.allows(v)), key=lambda v: v.order, default=None)


def read_version(text: str) -> Version | None:
    """`20.1.2`, `v20.1`, `1.22.0-rc.1`, `3.14.0rc1`; None for what is no version."""
    match = _VERSION.fullmatch(text.strip())
    if match is None:
        return None
    major, minor, patch, pre = match.groups()
    return Version(major=int(major), minor=int(minor or 0), patch=int(patch or 0), pre=pre or "")


def after(parts: tuple[int, ...]) -> Version:
    """The first version beyond all that begin with `parts`: 1.2 → 1.3.0."""
    padded = (*parts[:-1], parts[-1] + 1)
    return from_parts(padded)


def from_parts(parts: tuple[int, ...], *, pre: str = "") -> Version:
    """A version of which only the first numbers are given; more than three are not told apart."""
    major, minor, patch = (*parts, 0, 0, 0)[:3]
    return Version(major=major, minor=minor, patch=patch, pre=pre)


def between(low: Version, end: Version) -> tuple[Bound, ...]:
    """From `low`, up to and not with `end`."""
    return (Bound(operator=">=", version=low), Bound(operator="<", version=end))
