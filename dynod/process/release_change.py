"""From one release to the next: every dyno of the formation goes over, or all of them stay (contracts 7).

A web dyno of the new release boots beside the old one and gets no request; the other types are replaced, never
overlapped. When all have stayed up for the settling time the web dynos switch, `surge` at a time. The first dyno that
fails ends it, and `undo` brings back what was changed. Idempotent: a core that takes over begins anew, and what is
there already counts. Knows neither store nor log.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from dynod.core.dyno import SlotState
from dynod.process.slot import Slot
from dynod.process.supervisor import Supervisor
from dynod.process.surroundings import Command, Trial


class Order(StrEnum):
    """In which order dynos go over. The other two are Heroku's, where nothing that fails brings anything back."""

    SAFE = "safe"  # contracts 7
    CLASSIC = "classic"  # every dyno stops and starts at once
    PREBOOT = "preboot"  # all web dynos boot beside the old ones, and take over after a fixed time


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRules:
    """How careful a change is. `surge`: web dynos that may boot beside the old ones at once; 0: no memory for any."""

    settle_s: float
    surge: int = 1
    order: Order = Order.SAFE
    window_s: float = 180.0  # of preboot: the boot timeout and two minutes (Heroku)


class ReleaseChange:
    """One change of one app's dynos to `commands`, all of one release."""

    def __init__(self, supervisor: Supervisor, commands: Mapping[str, Command], rules: ChangeRules, why: str) -> None:
        """`why` goes into each dyno's history: "release v5 by me"."""
        self._supervisor = supervisor
        self._commands = commands
        self._rules = rules
        self._why = why

    async def go_live(self) -> str | None:
        """None when every dyno runs the new release, else the name of the one that failed to."""
        if self._rules.order is not Order.SAFE:
            await self._as_heroku(preboot=self._rules.order is Order.PREBOOT)
            return None
        begun: set[str] = set()
        while slots := [slot for slot in self._slots() if slot.name not in begun or not self._is_over(slot)]:
            web = sorted((slot for slot in slots if slot.web), key=_number)
            others = [slot for slot in slots if not slot.web]
            begun |= {slot.name for slot in slots}
            at_once = max(self._rules.surge, 1)
            groups = [web[at : at + at_once] for at in range(0, len(web), at_once)] or [[]]
            for group in groups:
                if (failed := await self._prove(group, others)) is not None:
                    return failed
                others = []
        return None

    async def undo(self, commands: Mapping[str, Command]) -> None:
        """Back to the old release's commands, wherever `go_live` has come; returns when each dyno is up or has failed.

        Dynos of a type that the old release does not know are left to the caller.
        """
        waits = [
            slot.keep_to(commands[_type_of(slot)], f"{self._why} undone")
            for slot in self._slots()
            if self._is_over(slot) and _type_of(slot) in commands
        ]
        if waits:
            await asyncio.wait(waits)

    async def _as_heroku(self, *, preboot: bool) -> None:
        """Whatever comes of it: a dyno that does not come up crashes, and is started again."""
        at_once = Trial(settle_s=0.0, beside=False)
        slots = [slot for slot in self._slots() if not self._is_over(slot) or slot.is_replaced]
        web = [slot for slot in slots if slot.web and preboot]
        for slot in slots:
            if slot not in web:
                self._change(slot, at_once)
        if not web:
            return
        window = Trial(settle_s=self._rules.window_s)
        waits = {self._change(slot, window): slot for slot in web}
        await asyncio.wait(waits)
        for wait, slot in waits.items():
            if not wait.result() and slot.wanted:
                self._change(slot, at_once)  # the old one goes all the same

    def _change(self, slot: Slot, trial: Trial) -> asyncio.Future[bool]:
        return slot.change(self._commands[_type_of(slot)], self._why, trial)

    def _slots(self) -> Collection[Slot]:
        """Those of the formation that the new release has as well."""
        return [
            slot
            for slot in self._supervisor.slots
            if slot.wanted and _type_of(slot) in self._commands and not slot.is_one_off
        ]

    def _is_over(self, slot: Slot) -> bool:
        return slot.command.release == self._commands[_type_of(slot)].release

    async def _prove(self, web: Collection[Slot], others: Collection[Slot]) -> str | None:
        """Change these; the web dynos switch when the others have proven themselves."""
        trial = Trial(settle_s=self._rules.settle_s, go=not others, beside=self._rules.surge > 0)
        waits: dict[asyncio.Future[bool], tuple[Slot, bool]] = {}
        for slot in (*others, *web):
            # What was not up before is no measure of the new release: it was broken already.
            counts = slot.state is SlotState.UP or slot.is_replaced or self._is_over(slot)
            own = trial if slot.web else Trial(settle_s=self._rules.settle_s)
            waits[self._change(slot, own)] = slot, counts
        while waits:
            if not trial.go and all(slot.web for slot, _ in waits.values()):
                trial.go = True
                for slot, _ in waits.values():
                    slot.changed()
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                slot, counts = waits.pop(each)
                if not each.result() and slot.wanted and counts:
                    return slot.name
        return None


def _type_of(slot: Slot) -> str:
    return slot.name.rpartition(".")[0]


def _number(slot: Slot) -> int:
    return int(slot.name.rpartition(".")[2])
