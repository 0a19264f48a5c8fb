"""What fills a disk is told largest first, with what may be done about it."""

from collections.abc import Mapping

import pytest

from dynod.core.disk_contents import largest


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
