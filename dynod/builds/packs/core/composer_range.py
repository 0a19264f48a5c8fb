"""Ranges as Composer writes them ("Versions and constraints"): npm's but for `~`, `|` and the comma. Pure."""

import re
from typing import Final

from dynod.builds.packs.core.npm_range import read_npm_range
from dynod.builds.packs.core.version import VersionRange

_TILDE: Final = re.compile(r"~\s*(\d+(?:\.\d+)*)")


def read_composer_range(text: str) -> VersionRange:
    """`^8.1`, `>=8.1,<8.4`, `8.1.* || 8.3.*`, `~8.1`, which reaches up to 9. Raises PackError for what is no range."""
    written = text.strip()
    alternatives = re.sub(r"\|\|?", "||", re.sub(r"@\w+", "", written))
    read = read_npm_range(_TILDE.sub(lambda match: _tilde(match[1]), alternatives))
    return VersionRange(written=written, alternatives=read.alternatives)


def _tilde(version: str) -> str:
    """The last number named may grow: ~8.1 is >=8.1 <9, ~8.1.2 is >=8.1.2 <8.2."""
    parts = [int(part) for part in version.split(".")]
    kept = parts[:-1] or parts
    end = ".".join(str(part) for part in [*kept[:-1], kept[-1] + 1])
    return f">={version} <{end}"
