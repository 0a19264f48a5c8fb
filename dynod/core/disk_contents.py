"""Whether the disk of the state is full, and what fills it, in words for people. Pure: measured elsewhere."""

from collections.abc import Mapping
from typing import Final

SHOWN: Final = 4
LEAST: Final = 1_000_000  # bytes: what is less is not worth a word

# What lies in a state folder, and what may be done about it.
_KNOWN: Final[Mapping[str, str]] = {
    "cache": "caches of builds, which may be removed",
    "built": "sources for `dynod rebuild`, which may be removed",
    "sources": "uploaded sources that wait for their build",
    "work": "builds that run",
    "builds": "output of builds",
    "slugs": "code of releases: goes with `dynod apps:destroy`",
    "git": "what was pushed: goes with `dynod apps:destroy`",
    "logs": "logs, whose *.gz may be removed",
    "dynos": "what running dynos have written: goes with `dynod ps:restart`",
    "storage": "files of apps",
}


LOW_SHARE: Final = 0.05  # of the disk that is free


def low(*, free: int, total: int) -> str | None:
    """What is said of a disk that has little room left, both in bytes; None where it has enough."""
    share = free / total if total else 1.0
    return f"{free // 1_000_000:,} MB are free, {share:.1%}" if share < LOW_SHARE else None


def largest(sizes: Mapping[str, int]) -> str:
    """The largest entries of the state folder with what each is; "" where none is worth a word.

    `sizes`: bytes by name, of everything that is directly in it.
    """
    found = sorted(((size, name) for name, size in sizes.items() if size >= LEAST), reverse=True)[:SHOWN]
    return ", ".join(f"{name} ({size // 1_000_000:,} MB{_about(name)})" for size, name in found)


def _about(name: str) -> str:
    about = _KNOWN.get(name)
    return f", {about}" if about else ""
