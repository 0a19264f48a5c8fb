"""Events and incidents for which there is no room: bounded, and told of."""

import asyncio
from collections import Counter

from dynod.core.incidents import MOST_OPEN, Trouble
from dynod.core.losses import Loss
from dynod.errors import DynodError
from dynod.happenings import WAITING, Happenings


class World:
    """Happenings whose store takes what it is told to take."""

    def __init__(self) -> None:
        self.lost: Counter[Loss] = Counter()
        self.kept: list[str] = []
        self.is_full = False
        self.happenings = Happenings(
            keep=self.keep,
            apps=list,
            name_of=lambda _id: "shop",
            state=None,
            lose=lambda what, count: self.lost.update({what: count}),
        )

    async def keep(self, action: str, app: tuple[str, str] | None, detail: str, by: str) -> None:
        del app, detail, by
        if self.is_full:
            raise DynodError("no room")
        self.kept.append(action)


def test_events_beyond_the_bound_and_those_that_the_store_refuses_are_told_of() -> None:
    world = World()
    for _ in range(WAITING + 3):
        world.happenings.note("shop", "ps.scale", "web=2")
    assert world.lost == {Loss.EVENTS: 3}
    asyncio.run(world.happenings.write())
    assert len(world.kept) == WAITING
    world.is_full = True
    world.happenings.note("shop", "ps.scale", "web=1")
    asyncio.run(world.happenings.write())
    assert world.lost == {Loss.EVENTS: 4}


def test_an_incident_that_is_forgotten_is_told_of() -> None:
    async def run() -> Counter[Loss]:
        world = World()
        for number in range(MOST_OPEN + 2):
            world.happenings.failed("shop", Trouble.CRASHED, f"web.{number}", "")
            await world.happenings.write()
        return world.lost

    assert asyncio.run(run()) == {Loss.INCIDENTS: 2}
