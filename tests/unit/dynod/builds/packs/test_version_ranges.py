"""What npm's, Python's and Composer's ranges allow: tables after each one's own documentation."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.builds.packs.core.composer_range import read_composer_range
from dynod.builds.packs.core.npm_range import read_npm_range
from dynod.builds.packs.core.python_range import read_python_range
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.core.version import Version, VersionRange, read_version

NPM = [
    ("20", "20.20.2 20.0.0", "19.9.9 21.0.0"),
    ("20.x", "20.0.0 20.20.2", "21.0.0"),
    ("20.1.x", "20.1.0 20.1.9", "20.2.0"),
    ("v20.1.2", "20.1.2", "20.1.3"),
    ("=20.1.2", "20.1.2", "20.1.1"),
    ("", "0.0.1 20.1.2", ""),
    ("*", "0.0.1 20.1.2", ""),
    ("x", "20.1.2", ""),
    ("^18.17.0 || >=20", "18.17.0 18.99.0 20.0.0 24.1.0", "18.16.9 19.0.0"),
    ("^0.2.3", "0.2.3 0.2.9", "0.2.2 0.3.0"),
    ("^0.0.3", "0.0.3", "0.0.4"),
    ("^0.0", "0.0.0 0.0.9", "0.1.0"),
    ("^0", "0.0.0 0.9.9", "1.0.0"),
    ("~20.1", "20.1.0 20.1.9", "20.2.0"),
    ("~20", "20.0.0 20.9.0", "21.0.0"),
    ("~20.1.2", "20.1.2 20.1.9", "20.1.1 20.2.0"),
    (">20", "21.0.0", "20.20.2"),
    (">20.1", "20.2.0", "20.1.9"),
    (">20.1.0", "20.1.1", "20.1.0"),
    (">=20", "20.0.0", "19.9.9"),
    ("<20", "19.9.9", "20.0.0"),
    ("<=20", "20.20.2", "21.0.0"),
    ("<=20.1.2", "20.1.2", "20.1.3"),
    (">=18 <21", "18.0.0 20.9.9", "17.9.9 21.0.0"),
    (">= 18, < 21", "18.0.0", "21.0.0"),
    ("18.0.0 - 20.4", "18.0.0 20.4.9", "20.5.0"),
    ("18 - 20", "18.0.0 20.9.9", "21.0.0"),
    ("<*", "", "0.0.0 20.0.0"),
    (">=20.0.0", "20.0.0", "20.0.0-rc.1 21.0.0-rc.1"),
    (">=20.0.0-rc.1", "20.0.0-rc.2 20.0.0", "20.1.0-rc.1 20.0.0-beta.1"),
]
PYTHON = [
    (">=3.11", "3.11.0 3.14.1", "3.10.13"),
    (">=3.11,<3.13", "3.12.9", "3.13.0 3.10.0"),
    (">= 3.11, < 3.13", "3.12.9", "3.13.0"),
    ("~=3.11", "3.11.0 3.12.0", "4.0.0 3.10.0"),
    ("~=3.11.2", "3.11.2 3.11.9", "3.12.0 3.11.1"),
    ("==3.12.*", "3.12.0 3.12.9", "3.11.0 3.13.0"),
    ("==3.12.4", "3.12.4", "3.12.5"),
    ("==3.12", "3.12.0 3.12.9", "3.13.0"),
    (">=3.9,!=3.11.*,!=3.12.3", "3.10.1 3.12.2", "3.11.7 3.12.3"),
    ("<=3.12", "3.12.9", "3.13.0"),
    (">3.11", "3.12.0", "3.11.9"),
    ("^3.11", "3.11.0 3.13.0", "3.10.0 4.0.0"),
    ("^3.11,<3.13", "3.12.0", "3.13.0"),
    ("~3.11", "3.11.9", "3.12.0"),
    ("3.11", "3.11.9", "3.12.0"),
    ("3.11.*", "3.11.9", "3.12.0"),
    ("^3.9 || ^4.0", "3.9.1 4.1.0", "3.8.0"),
    (">=3.14.0rc1", "3.14.0", "3.13.9"),
]
COMPOSER = [
    ("^8.1", "8.1.0 8.4.2", "8.0.9 9.0.0"),
    ("~8.1", "8.1.0 8.4.2", "9.0.0"),
    ("~8.1.2", "8.1.2 8.1.9", "8.2.0"),
    (">=8.1,<8.4", "8.1.0 8.3.9", "8.4.0"),
    (">=7.4 <8.0 || ^8.2", "7.4.3 8.2.1", "8.1.0"),
    ("7.4.*|8.2.*", "7.4.3 8.2.1", "8.1.0"),
    ("8.2.*@stable", "8.2.1", "8.3.0"),
]


@pytest.mark.parametrize(
    ("reader", "text", "allowed", "refused"),
    [
        *((read_npm_range, *row) for row in NPM),
        *((read_python_range, *row) for row in PYTHON),
        *((read_composer_range, *row) for row in COMPOSER),
    ],
)
def test_a_range_allows_what_its_language_says(
    reader: Callable[[str], VersionRange], text: str, allowed: str, refused: str
) -> None:
    read = reader(text)
    assert [v for v in allowed.split() if not read.allows(_version(v))] == []
    assert [v for v in refused.split() if read.allows(_version(v))] == []


@pytest.mark.parametrize("text", ["lts/*", "latest", "20..1", ">=", "^", "20 ||| 21", "1.2.3.4", "a" * 300, ">=20 foo"])
def test_what_is_no_range_of_npm_is_refused(text: str) -> None:
    with pytest.raises(PackError):
        read_npm_range(text)


@pytest.mark.parametrize("text", ["latest", ">=three", "3.11;3.12", "=>3.11"])
def test_what_is_no_range_of_python_is_refused(text: str) -> None:
    with pytest.raises(PackError):
        read_python_range(text)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v20.20.2\n", "20.20.2"),
        ("3.14.0rc1", "3.14.0-rc1"),
        ("1.22", "1.22.0"),
        ("8.2.36", "8.2.36"),
        ("1.2.3-beta.4+build.5", "1.2.3-beta.4"),
        ("nothing", None),
        ("", None),
    ],
)
def test_versions_are_read(text: str, version: str | None) -> None:
    read = read_version(text)
    assert (str(read) if read else None) == version


def test_pre_releases_come_before_their_release_and_count_as_numbers() -> None:
    names = ["1.0.0-alpha", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1"]
    backwards = [_version(name) for name in reversed(names)]
    assert [str(version) for version in sorted(backwards, key=lambda v: v.order)] == names


NUMBERS = st.integers(min_value=0, max_value=30)
VERSIONS = st.builds(lambda a, b, c: Version(major=a, minor=b, patch=c), NUMBERS, NUMBERS, NUMBERS)


@given(VERSIONS, VERSIONS)
def test_caret_and_tilde_never_leave_what_they_promise(asked: Version, other: Version) -> None:
    caret, tilde = read_npm_range(f"^{asked}"), read_npm_range(f"~{asked}")
    assert caret.allows(asked)
    assert tilde.allows(asked)
    if caret.allows(other):
        assert other.order >= asked.order
        assert other.major == asked.major
    if tilde.allows(other):
        assert (other.major, other.minor) == (asked.major, asked.minor)


@given(VERSIONS, VERSIONS)
def test_a_bound_and_its_opposite_part_all_versions(bound: Version, other: Version) -> None:
    assert read_npm_range(f">={bound}").allows(other) is not read_npm_range(f"<{bound}").allows(other)
    assert read_python_range(f">={bound}").allows(other) is read_npm_range(f">={bound}").allows(other)


@given(st.text(max_size=40))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    for reader in (read_npm_range, read_python_range, read_composer_range):
        with suppress(PackError):
            reader(text).allows(Version(major=20))


def _version(text: str) -> Version:
    read = read_version(text)
    assert read is not None
    return read
