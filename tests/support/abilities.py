"""What this run of the tests has of the operating system: all of it, or less, as on another one.

`pytest --without all` switches off for every dynod that a test starts what only Linux has (ARCHITECTURE.md, "Other
systems"); `--without tee,epoll` a part of it. What cannot hold then is marked where it is tested:

    @pytest.mark.needs_ability("tee", "epoll", reason="what a core held in memory ends with it")

and skipped, for as long as one of them is not there and no longer. A real macOS is without them all by itself.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import pytest

from dynod.keeper.features import NAMES, WITHOUT, detect

ALL: Final = "all"
MARK: Final = "needs_ability"


def switch_off(wanted: str) -> None:
    """For this process, which is how the option reaches those that start dynod; "" leaves nothing switched off."""
    os.environ.pop(WITHOUT, None)
    if wanted:
        os.environ[WITHOUT] = ",".join(NAMES) if wanted == ALL else wanted
    detect(os.environ)  # refuses unknown names


def environment(own: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables `own` of a dynod that is to be started, with what this run switches off added to theirs."""
    merged = dict(own or {})
    if without := joined(merged.get(WITHOUT, "")):
        merged[WITHOUT] = without
    return merged


def joined(own: str) -> str:
    """What a test that switches off `own` is without in this run, in the order of `NAMES`, unknown names last."""
    both = {name for names in (own, os.environ.get(WITHOUT, "")) for name in names.split(",") if name}
    return ",".join([*(name for name in NAMES if name in both), *sorted(both.difference(NAMES))])


def in_hand(most: int) -> int:
    """`most` lines that killed cores may have held, where they must take them out of a pipe to see them; else none."""
    features = detect(os.environ)
    return 0 if features.tee and features.epoll else most


def reasons_to_skip(marks: Iterable[pytest.Mark], environ: Mapping[str, str]) -> Iterator[str]:
    """Of a test's `needs_ability` marks those that are not met."""
    features = detect(environ)
    for mark in marks:
        missing = [name for name in mark.args if not getattr(features, name)]
        if missing:
            yield f"needs {' and '.join(missing)}: {mark.kwargs['reason']}"


def same_tests(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Those that are another's twin in this run: what their parameter `without` switches off is off anyway."""
    seen: set[tuple[str, ...]] = set()
    twins = []
    for item in items:
        parameters = dict(item.callspec.params) if isinstance(item, pytest.Function) and "[" in item.name else {}
        own = parameters.pop("without", None)
        if own is None:
            continue
        without = joined(own[WITHOUT] if isinstance(own, dict) and WITHOUT in own else str(own or ""))
        key = (item.nodeid.partition("[")[0], without, *sorted(map(repr, parameters.items())))
        if key in seen:
            twins.append(item)
        seen.add(key)
    return twins
