"""Counts what each dyno has written beside its code and in its /tmp, and says which has written more than it may.

Flow: sampler → **count** (in its thread) → the line in the log → the dyno goes, and what it wrote with it. How large
that may be is `core.discarded`'s. A folder has no quota on every file system that there is, so it is looked at: the
walk ends where the limit is passed, and comes less often where it takes long. Files that are open and have no name are
looked for where more room goes than those walks explain (`core.hidden_writes`). Ends no dyno by itself.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, Protocol

from dynod.core.discarded import excess_line
from dynod.core.hidden_writes import HiddenWrites

EVERY_S: Final = 5.0  # a fast disk takes some gigabytes meanwhile
BUDGET_SHARE: Final = 0.005  # of one core
SLICE: Final = 20  # dynos between two visits of the thread to the loop


class Dyno(Protocol):
    """One that runs."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...


class Journal(Protocol):
    """The platform's own lines in the app's log stream."""

    def platform(self, ps: str, message: str) -> None: ...


class DiskRules(NamedTuple):
    """`written`: of an instance, bytes, counted no further than once it is more than so many; `nameless`: bytes of
    files that such processes of it hold open and have removed; `free`: bytes. All of them block.
    """

    limit: int  # bytes
    written: Callable[[str, int], int]
    nameless: Callable[[str, Collection[int]], int]
    free: Callable[[], int]
    members: Callable[[Collection[str]], Mapping[str, Collection[int]]]  # instance ids → processes


class DiskWatch:
    """Of one app's dynos."""

    def __init__(self, rules: DiskRules, *, journal: Journal, full: Callable[[str, str], None]) -> None:
        """`full` hears once of an instance that must go, with the reason."""
        self._rules = rules
        self._journal = journal
        self._full = full
        self._told: set[str] = set()
        self._next_at = 0.0
        self._hidden = HiddenWrites(rules.limit)

    async def look(self, thread: ThreadPoolExecutor, at: float, dynos: Sequence[Dyno]) -> None:
        """Once, if it is time by the caller's steady clock."""
        if at < self._next_at:
            return
        self._told &= {dyno.id for dyno in dynos}
        waiting = [dyno for dyno in dynos if dyno.id not in self._told]
        cost_s = 0.0
        counted = 0
        loop = asyncio.get_running_loop()
        for first in range(0, len(waiting), SLICE):
            some = waiting[first : first + SLICE]
            try:
                counting = loop.run_in_executor(thread, self._count, [dyno.id for dyno in some])
            except RuntimeError:
                return  # no thread can be started, the machine being at its limit of processes: perhaps next time
            sizes, slice_cost_s = await counting
            cost_s += slice_cost_s
            counted += sum(sizes)
            for dyno, size in zip(some, sizes, strict=True):
                self._judge(dyno, size)
            if first + SLICE >= len(waiting):
                left = [dyno for dyno in waiting if dyno.id not in self._told]
                hidden, more_s = await loop.run_in_executor(thread, self._count_hidden, counted, left)
                cost_s += more_s
                for dyno in left:
                    self._judge(dyno, hidden.get(dyno.id, 0))
        self._next_at = at + max(EVERY_S, cost_s / BUDGET_SHARE) - EVERY_S / 2

    def _judge(self, dyno: Dyno, size: int) -> None:
        line = excess_line(size, self._rules.limit)
        if line is not None:
            self._told.add(dyno.id)
            self._journal.platform(dyno.name, line)
            self._full(dyno.id, line)

    def _count_hidden(self, counted: int, dynos: Sequence[Dyno]) -> tuple[dict[str, int], float]:
        """In the thread: what each has written with and without names, if it is time to look for the latter."""
        began = time.thread_time()
        try:
            free = self._rules.free()
        except OSError:
            return {}, 0.0
        found: dict[str, int] = {}
        if self._hidden.may_be(free, counted):
            for id_, pids in self._rules.members([dyno.id for dyno in dynos]).items():
                nameless = self._rules.nameless(id_, pids)
                found[id_] = nameless and nameless + self._rules.written(id_, self._rules.limit)
        return found, time.thread_time() - began

    def _count(self, instance_ids: Sequence[str]) -> tuple[list[int], float]:
        """In the thread. With the CPU seconds that it took."""
        began = time.thread_time()
        sizes = [self._rules.written(each, self._rules.limit) for each in instance_ids]
        return sizes, time.thread_time() - began
