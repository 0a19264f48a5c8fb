"""What fills a disk is told largest first, with what may be done about it."""

from collections.abc import Mapping

import pytest

from dynod.core.disk_contents import largest, low


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({}, ""),
        ({"cache": 999_999}, ""),
        ({"filler": 3_100_000_000, "state.db": 40_000}, "filler (3,100 MB)"),
        (
            {"logs": 5_000_000, "cache": 210_000_000},
            "cache (210 MB, caches of builds, which may be removed), logs (5 MB, logs, whose *.gz may be removed)",
        ),
        (dict.fromkeys("abcdef", 1000000), "f (1 MB), e (1 MB), d (1 MB), c (1 MB)"),
    ],
    ids=["empty", "little", "foreign", "known", "many"],
)
def test_the_largest_are_named(sizes: Mapping[str, int], told: str) -> None:
    assert largest(sizes) == told


@pytest.mark.parametrize(
    ("free", "total", "told"),
    [
        (0, 3_000_000_000, "0 MB are free, 0.0%"),
        (49_000_000, 1_000_000_000, "49 MB are free, 4.9%"),
        (50_000_000, 1_000_000_000, None),
        (0, 0, None),
    ],
)
def test_a_disk_with_little_room_is_told(free: int, total: int, told: str | None) -> None:
    assert low(free=free, total=total) == told
