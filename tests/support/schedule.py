"""In which order tests are begun, and which stay together, where several processes run them (pytest-xdist).

Most integration tests wait. What is long and begins last is waited for by all processes but one, so that the dear ones
begin first: files that share a fixture, whole; then integration tests one by one, those with the longest limit first;
then all that starts nothing. Within each of these the order is as random as it was.
"""

from functools import cache
from pathlib import Path
from typing import Final

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it ships no types

TESTS: Final = Path(__file__).parent.parent
GUEST: Final = "support.service_guest"  # whoever imports it shares one guest, which is booted once a process
USUAL_LIMIT_S: Final = 60  # pyproject.toml


@cache
def _text(file: str) -> str:
    return (TESTS.parent / file).read_text()


def shares(file: str) -> bool:
    """Whether the tests of a file, `tests/…`, have a fixture in common that is dear to make."""
    text = _text(file)
    return on_the_guest(file) or 'scope="module"' in text or 'scope="session"' in text


def on_the_guest(file: str) -> bool:
    """Whether its tests need the fixture `vm` of tests/integration/conftest.py."""
    return f"from {GUEST} import" in _text(file)


def starts_something(file: str) -> bool:
    """Whether its tests run real children and real servers."""
    return file.startswith("tests/integration/") or file.endswith("/test_wheel.py")


def dear_first(items: list[pytest.Item]) -> None:
    """Put the tests in the order in which they are to begin; equals stay as they are."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> tuple[int, int]:
    file = item.nodeid.partition("::")[0]
    if not starts_something(file):
        return 2, 0
    if shares(file):
        return 0, 0
    limit = item.get_closest_marker("timeout")
    return 1, -int(limit.args[0]) if limit is not None and limit.args else -USUAL_LIMIT_S


class SharedTogether(LoadScopeScheduling):  # type: ignore[misc]  # see the import
    """xdist's way to keep a file together, for the files that gain by it; tests of others go wherever one is idle."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if on_the_guest(file):
            return GUEST
        return nodeid if starts_something(file) and not shares(file) else file
