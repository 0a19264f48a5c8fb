"""The core in charge and the ones before it: dynos that are drained, lines that are handed on, and ends in between."""

import asyncio
from collections.abc import Callable

from dynod.core.boot import Address
from dynod.core.core_word import Done, Here, Lines, written
from dynod.core.losses import Loss
from dynod.retired_cores import RetiredCores
from dynod.retirement import IN_CHARGE, MOST_WAITING, Retirement
from dynod.routing import Routing

APP, DYNO = "app-id", "an-instance"


class Between:
    """The keeper, as far as words go: both ends in one process, each word delivered in the next turn of the loop."""

    def __init__(self) -> None:
        self.old_routing = Routing({}, secret=b"x")
        self.old = Retirement(self.old_routing, lambda _pid, text: self._later(lambda: self.new.passed(7, text)))
        self.new = RetiredCores(lambda _pid, text: self._later(lambda: self.old.passed(text)), [7])
        self.new_routing = Routing({}, secret=b"x", elsewhere=self.new)

    @staticmethod
    def _later(do: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_soon(do)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_dynos_come_and_go_with_the_old_core_as_with_the_new_one() -> None:
    async def run() -> None:
        both = Between()
        old, new = both.old_routing.add_app(APP), both.new_routing.add_app(APP)
        both.old.begin()
        both.new.begin(both.new_routing.apps)
        new.join(DYNO, "web.1", Address("127.0.0.1", 1))
        await turns()
        assert old.in_pool(DYNO)
        await new.drain(DYNO)  # returns: the old one has said that it has nothing for it
        new.leave(DYNO)
        await turns()
        assert not old.in_pool(DYNO)
        await new.drain("one that the new core never had")
        both.new_routing.add_app("new").join(DYNO, "web.1", Address("127.0.0.1", 1))  # the old one does not know it
        await turns()

    asyncio.run(run())


def test_a_core_that_has_ended_is_waited_for_no_more() -> None:
    async def run() -> None:
        silent = RetiredCores(lambda _pid, _text: None, [7, 8])
        drained = asyncio.ensure_future(silent.drained(APP, DYNO, 1000.0))
        finished = asyncio.ensure_future(silent.finished(1000.0))
        await turns()
        silent.passed(7, written(Done(number=1)))
        silent.passed(7, written(Done(number=2)))
        silent.passed(7, written(Done(number=2)))  # twice is once
        await turns()
        assert not drained.done()
        silent.gone(8)
        await asyncio.gather(drained, finished)
        silent.forget()
        await silent.finished(1000.0)
        await silent.drained(APP, DYNO, 1000.0)

    asyncio.run(run())


def test_nobody_is_waited_for_longer_than_was_said() -> None:
    async def run() -> None:
        silent = RetiredCores(lambda _pid, _text: None, [7])
        await silent.drained(APP, DYNO, 0.01)

    asyncio.run(run())


def test_lines_of_the_old_core_are_the_new_ones_once_it_is_there() -> None:
    async def run() -> None:
        both = Between()
        old, new = both.old_routing.add_app(APP), both.new_routing.add_app(APP)
        lines, said = list[tuple[float, str]](), list[tuple[str, str]]()
        new.lines, new.says = lines.extend, lambda dyno, message: said.append((dyno, message))
        both.old.begin()
        old.lines([(1.0, "first"), (2.0, "second")])
        await turns()
        assert lines == []
        both.new.begin(both.new_routing.apps)
        await turns()
        old.lines([(3.0, "third")])
        old.says("web.1", "Error H12")
        await turns()
        assert (lines, said) == ([(1.0, "first"), (2.0, "second"), (3.0, "third")], [("web.1", "Error H12")])

    asyncio.run(run())


def test_a_core_does_not_end_with_lines_that_nobody_has_heard() -> None:
    async def run() -> None:
        both = Between()
        old, new = both.old_routing.add_app(APP), both.new_routing.add_app(APP)
        lines = list[tuple[float, str]]()
        new.lines = lines.extend
        both.old.begin()
        old.lines([(1.0, "the last")])
        seen_out = asyncio.ensure_future(both.old.see_out(1000.0))
        await turns()
        assert not seen_out.done()
        both.new.begin(both.new_routing.apps)
        await seen_out
        await turns()
        assert lines == [(1.0, "the last")]

    asyncio.run(run())


def test_lines_that_found_no_room_are_told_of_by_the_new_core() -> None:
    lost: list[tuple[Loss, int]] = []
    new = RetiredCores(lambda _pid, _text: None, [7], lose=lambda what, count: lost.append((what, count)))
    new.passed(7, written(Lines(app=APP, lines=(), lost=3)))
    new.passed(7, written(Lines(app=APP, lines=((1.0, "a line"),))))
    assert lost == [(Loss.ROUTER_LINES, 3)]


def test_lines_that_wait_for_too_long_are_bounded_and_counted() -> None:
    told: list[tuple[int, str]] = []
    routing = Routing({}, secret=b"x")

    async def run() -> None:
        traffic = routing.add_app(APP)
        old = Retirement(routing, lambda pid, text: told.append((pid, text)))
        old.begin()
        traffic.lines([(0.0, "old")] * MOST_WAITING)
        traffic.lines([(1.0, "new")] * 2)
        old.passed("what no version says")
        old.passed(written(Here()))

    asyncio.run(run())
    kept = ((0.0, "old"),) * (MOST_WAITING - 2) + ((1.0, "new"),) * 2
    assert told == [(IN_CHARGE, written(Lines(app=APP, lines=kept, lost=2)))]
