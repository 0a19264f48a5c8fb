"""What a dyno wrote and loses, in a line."""

import pytest

from dynod.core.discarded import Discarded, Written, excess_line


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ([], None),
        ([Written("__pycache__/a.pyc", 4096)], None),
        ([Written("x", 4096)], "1 file (4 KB) discarded: x"),
        ([Written("x", 0)], "1 file (1 KB) discarded: x"),
        ([Written("b", 4096), Written("a", 4096)], "2 files (8 KB) discarded: a, b"),
        (
            [Written(f"media/{number}.jpg", 1024 * 1024) for number in range(9)],
            "9 files (9 MB) discarded: media/0.jpg, media/1.jpg, media/2.jpg, …",
        ),
        ([Written("evil\nname", 4096)], "1 file (4 KB) discarded: evil\\nname"),
    ],
)
def test_the_line(written: list[Written], line: str | None) -> None:
    assert Discarded.of(written, names=3).line == line


@pytest.mark.parametrize(
    ("written", "line"),
    [
        (2 << 20, None),
        ((2 << 20) + 1, "Error (Disk limit exceeded): wrote 2 MB, limit 2 MB"),
        (5 << 20, "Error (Disk limit exceeded): wrote 5 MB, limit 2 MB"),
    ],
)
def test_more_than_it_may(written: int, line: str | None) -> None:
    assert excess_line(written, 2 << 20) == line
