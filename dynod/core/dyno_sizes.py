"""Dyno sizes: Heroku's names with the limits that a VM can keep, and the one that has none.

Contracts 8: no memory quota unless a size is chosen. Figures: Dev Center "Dyno Types", "Dyno Memory Behavior".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dynod.core.suggest import did_you_mean, there_are

MB: Final = 1024 * 1024
GB: Final = 1024 * MB


@dataclass(frozen=True, slots=True, kw_only=True)
class DynoSize:
    """A named set of limits. `kill_share` times the quota is where R15 ends a dyno."""

    name: str
    memory: int | None  # bytes, the quota of R14; None: no quota
    kill_share: float = 2.0
    cpu_share: int = 1  # relative weight
    processes: int | None = None  # processes and threads together
    dedicated: bool = False


UNSIZED: Final = DynoSize(name="Unsized", memory=None)

SIZES: Final[Mapping[str, DynoSize]] = {
    size.name: size
    for size in (
        UNSIZED,
        DynoSize(name="Eco", memory=512 * MB, processes=256),
        DynoSize(name="Basic", memory=512 * MB, processes=256),
        DynoSize(name="Standard-1X", memory=512 * MB, processes=256),
        DynoSize(name="Standard-2X", memory=GB, cpu_share=2, processes=512),
        DynoSize(name="Performance-M", memory=2560 * MB, cpu_share=12, processes=16_384, dedicated=True),
        DynoSize(name="Performance-L", memory=14 * GB, cpu_share=50, processes=32_768, dedicated=True),
        DynoSize(name="Performance-L-RAM", memory=30 * GB, kill_share=1.2, cpu_share=24, dedicated=True),
        DynoSize(name="Performance-XL", memory=62 * GB, kill_share=1.2, cpu_share=50, dedicated=True),
        DynoSize(name="Performance-2XL", memory=126 * GB, kill_share=1.2, cpu_share=100, dedicated=True),
    )
}

_BY_LOWER: Final = {name.lower(): size for name, size in SIZES.items()}


def size_named(name: str) -> DynoSize | None:
    """The size of this name, in any case; None if there is none. Heroku's legacy 1X and 2X are understood."""
    legacy = {"1x": "standard-1x", "2x": "standard-2x", "hobby": "basic", "free": "eco"}
    lower = name.lower()
    return _BY_LOWER.get(legacy.get(lower, lower))


def no_such_size(typed: str) -> str:
    """What to say where `size_named` finds none."""
    return f"No such size as {typed[:100]}{did_you_mean(typed, SIZES) or there_are(list(SIZES))}"
