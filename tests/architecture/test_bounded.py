"""Whoever has a queue is in ARCHITECTURE's table of what is bounded, with what becomes of what it has no room for."""

import re
from typing import Final

from dynod.core.losses import Loss
from support.source_tree import REPOSITORY, modules

SECTION: Final = (REPOSITORY / "ARCHITECTURE.md").read_text().partition("## What is bounded")[2].partition("\n## ")[0]
METRICS: Final = (REPOSITORY / "config/prometheus/metrics.md").read_text()
QUEUE: Final = re.compile(r"\b(?:deque|Queue)\(")


def test_each_module_with_a_queue_is_in_the_table() -> None:
    queued = {
        each.name.removeprefix("dynod.").replace(".", "/") for each in modules() if QUEUE.search(each.path.read_text())
    }
    assert queued
    assert not {name for name in queued if f"`{name}`" not in SECTION}


def test_what_the_table_names_is_there() -> None:
    rows = [line.strip("| ").split(" | ") for line in SECTION.splitlines() if line.startswith("| `")]
    assert {len(row) for row in rows} == {4}
    there = {each.name.removeprefix("dynod.").replace(".", "/") for each in modules()}
    assert {row[0].strip("`") for row in rows} <= there
    for name in re.findall(r"`(dynod_\w+_total)", SECTION):
        assert f"`{name}`" in METRICS


def test_each_loss_of_the_daemons_own_is_in_the_table() -> None:
    assert set(re.findall(r'dynod_lost_total{what="(\w+)"}', SECTION)) == {each.value for each in Loss}
