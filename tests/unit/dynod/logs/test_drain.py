"""A drain's life on virtual time: receivers that refuse, are away for an hour, come back; cores that are killed.

What must hold through all of it: every line is delivered, or dropped and counted and the receiver told (L10), and what
is delivered is in order. Repeats are allowed after a crash, and carry the same frame id.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynod.core.drain_ledger import Ledger
from dynod.core.drain_policy import HTTP_RULES, SYSLOG_RULES, Outcome, RetryRules
from dynod.core.history_plan import START, Position
from dynod.core.log_line import LogBatch
from dynod.core.log_text import FullText
from dynod.core.syslog_frame import http_form
from dynod.logs.drain import Drain, Writing
from dynod.logs.drain_supply import HistorySupply, StreamSupply
from dynod.logs.drain_transport import DELIVERED, Delivery, Frame
from dynod.logs.history_folder import HistoryFolder
from dynod.logs.tail import Tail
from support.virtual_time import run_virtually

TOKEN: Final = "d.73ea7440-270a-435a-a0ea-adf50b4e5f5a"
NOW: Final = 1_700_000_000.0
HOUR_S: Final = 3600.0
LINE: Final = re.compile(rb"app web\.1 - line (\d+)\n")
LOSS: Final = re.compile(rb"heroku logplex - Error L10 \(output buffer overflow\): (\d+) messages dropped since ")

UNREACHABLE: Final = Delivery(outcome=Outcome.UNREACHABLE, error="connection refused")
FAILED: Final = Delivery(outcome=Outcome.FAILED, error="answered 500")
REFUSED: Final = Delivery(outcome=Outcome.REFUSED, error="answered 400")


class Receiver:
    """Answers as `answer` says; keeps what it has taken."""

    def __init__(self, answer: Callable[[int], Delivery] = lambda _number: DELIVERED) -> None:
        self.answer = answer
        self.attempts: list[tuple[float, Frame]] = []
        self.taken: list[Frame] = []

    async def send(self, frame: Frame) -> Delivery:
        self.attempts.append((asyncio.get_running_loop().time(), frame))
        delivery = self.answer(len(self.attempts))
        await asyncio.sleep(0.001)
        if delivery.outcome is Outcome.DELIVERED:
            self.taken.append(frame)
        return delivery

    async def close(self) -> None:
        pass

    @property
    def numbers(self) -> list[int]:
        return [int(number) for frame in self.taken for number in LINE.findall(frame.body)]

    @property
    def announced(self) -> int:
        return sum(int(count) for frame in self.taken for count in LOSS.findall(frame.body))


class MadeUpHistory:
    """A folder that is written to directly."""

    def __init__(self, path: Path, *, segment_bytes: int = 1 << 22, most_bytes: int | None = None) -> None:
        self.folder = HistoryFolder(path, clock=lambda: NOW, segment_bytes=segment_bytes, most_bytes=most_bytes)
        self.produced = self.folder.end.line
        self._grown = asyncio.Event()

    @property
    def end(self) -> Position:
        return self.folder.end

    async def grown(self, beyond: Position) -> None:
        while self.folder.end.offset <= beyond.offset:
            await self._grown.wait()

    def say(self, count: int) -> None:
        lines = b"".join(b"line %d\n" % number for number in range(self.produced, self.produced + count))
        view = memoryview(FullText().format(LogBatch(time=NOW, source="app", ps="web.1", text=lines)))
        while view:
            view = view[self.folder.append(view) :]
        self.produced += count
        self._grown.set()
        self._grown = asyncio.Event()


class Running:
    """A drain as the daemon runs it, with a receiver of the test's."""

    def __init__(self, drain: Drain, supply: HistorySupply | StreamSupply) -> None:
        self.drain = drain
        self.supply = supply

    @property
    def ledger(self) -> Ledger:
        return self.supply.ledger


@asynccontextmanager
async def running(
    supply: HistorySupply | StreamSupply, receiver: Receiver, *, rules: RetryRules = HTTP_RULES, chance: float = 1.0
) -> AsyncIterator[Running]:
    drain = Drain(
        supply=supply,
        transport=receiver,
        writing=Writing(app="shop", frames=http_form()),
        rules=rules,
        clock=lambda: NOW + asyncio.get_running_loop().time(),
        random=lambda: chance,
    )
    task = asyncio.create_task(drain.run())
    try:
        yield Running(drain, supply)
    finally:
        task.cancel()  # as a kill: nothing is written down at the end
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()


def on_disk(history: MadeUpHistory, *, most_lag_bytes: int = 1 << 28) -> HistorySupply:
    return HistorySupply(
        history, history.folder.path / "drain.ledger", begin=START, clock=lambda: NOW, most_lag_bytes=most_lag_bytes
    )


def assert_accounted(running: Running, receiver: Receiver, produced: int) -> None:
    """Nothing waits any more: every line was sent or dropped, and each drop told, or noted to be told."""
    ledger = running.ledger
    assert ledger.sent + ledger.dropped == produced
    assert len(set(receiver.numbers)) == ledger.sent
    assert receiver.announced + ledger.unsaid == ledger.dropped
    assert receiver.numbers == sorted(set(receiver.numbers)), "in order, and once"


def test_lines_arrive_in_order_as_they_are_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        history, receiver = MadeUpHistory(tmp_path / "log"), Receiver()
        async with running(on_disk(history), receiver) as drain:
            for _ in range(10):
                history.say(7)
                await drain.drain.emptied()
            assert receiver.numbers == list(range(70))
            assert [frame.messages for frame in receiver.taken] == [7] * 10
            health = drain.drain.health
            assert (health.sent, health.dropped, health.lag_lines, health.failures) == (70, 0, 0, 0)

    run_virtually(scenario())


def test_a_receiver_that_comes_back_after_an_hour_gets_every_line(tmp_path: Path) -> None:
    async def scenario() -> None:
        history = MadeUpHistory(tmp_path / "log")
        loop = asyncio.get_running_loop()
        receiver = Receiver(lambda _number: DELIVERED if loop.time() > HOUR_S else UNREACHABLE)
        async with running(on_disk(history), receiver) as drain:
            for _minute in range(70):
                history.say(100)
                await asyncio.sleep(60)
            await drain.drain.emptied()
            assert receiver.numbers == list(range(7000))
            assert (drain.ledger.dropped, receiver.announced) == (0, 0)
            waits = [
                later - earlier
                for (earlier, _), (later, _) in zip(receiver.attempts, receiver.attempts[1:], strict=False)
            ]
            assert max(waits) <= HTTP_RULES.longest_s + 1
            assert len({frame.body for at, frame in receiver.attempts if at < HOUR_S}) == 1, (
                "the same frame all the time"
            )

    run_virtually(scenario())


@pytest.mark.parametrize("rules", [HTTP_RULES, SYSLOG_RULES])
def test_an_hour_of_errors_costs_counted_lines_at_most(tmp_path: Path, rules: RetryRules) -> None:
    async def scenario() -> None:
        history = MadeUpHistory(tmp_path / "log")
        loop = asyncio.get_running_loop()
        receiver = Receiver(lambda _number: DELIVERED if loop.time() > HOUR_S else FAILED)
        async with running(on_disk(history), receiver, rules=rules) as drain:
            for _minute in range(70):
                history.say(100)
                await asyncio.sleep(60)
            await drain.drain.emptied()
            assert_accounted(drain, receiver, 7000)
            assert drain.ledger.unsaid == 0
            if rules.tries is None:
                assert drain.ledger.dropped == 0
            else:
                assert 0 < drain.ledger.dropped < 7000

    run_virtually(scenario())


def test_a_frame_is_tried_three_times_with_one_id_and_the_next_tells_of_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        history, receiver = (
            MadeUpHistory(tmp_path / "log"),
            Receiver(lambda number: FAILED if number <= 3 else DELIVERED),
        )
        async with running(on_disk(history), receiver) as drain:
            history.say(5)
            await asyncio.sleep(30)
            assert len(receiver.attempts) == 3
            history.say(2)
            await drain.drain.emptied()
            assert len({frame.body for _, frame in receiver.attempts[:3]}) == 1
            assert receiver.numbers == [5, 6]
            assert receiver.taken[0].messages == 3, "the notice counts"
            assert receiver.taken[0].body.startswith(b"142 <172>1 ")
            assert_accounted(drain, receiver, 7)

    run_virtually(scenario())


def test_a_frame_that_is_refused_for_good_is_dropped_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        history, receiver = (
            MadeUpHistory(tmp_path / "log"),
            Receiver(lambda number: REFUSED if number == 1 else DELIVERED),
        )
        async with running(on_disk(history), receiver) as drain:
            history.say(5)
            await drain.drain.emptied()
            history.say(1)
            await drain.drain.emptied()
            assert len(receiver.attempts) == 2
            assert_accounted(drain, receiver, 6)
            assert drain.drain.health.last_error == "answered 400"

    run_virtually(scenario())


def test_who_is_too_far_behind_loses_the_oldest_and_keeps_the_newest(tmp_path: Path) -> None:
    async def scenario() -> None:
        history = MadeUpHistory(tmp_path / "log", segment_bytes=10_000)
        loop = asyncio.get_running_loop()
        receiver = Receiver(lambda _number: DELIVERED if loop.time() > HOUR_S else UNREACHABLE)
        async with running(on_disk(history, most_lag_bytes=50_000), receiver) as drain:
            for _minute in range(70):
                history.say(100)
                await asyncio.sleep(60)
            await drain.drain.emptied()
            assert_accounted(drain, receiver, 7000)
            assert drain.ledger.dropped > 4000
            assert receiver.numbers[-1] == 6999
            assert receiver.numbers == list(range(receiver.numbers[0], 7000)), "one gap, at the beginning"

    run_virtually(scenario())


def test_lines_that_the_history_has_removed_are_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        history = MadeUpHistory(tmp_path / "log", segment_bytes=5_000, most_bytes=8_000)
        loop = asyncio.get_running_loop()
        receiver = Receiver(lambda _number: DELIVERED if loop.time() > HOUR_S else UNREACHABLE)
        async with running(on_disk(history), receiver) as drain:
            for _minute in range(70):
                history.say(100)
                history.folder.keep_house()
                await asyncio.sleep(60)
            await drain.drain.emptied()
            assert_accounted(drain, receiver, 7000)
            assert drain.ledger.dropped > 0

    run_virtually(scenario())


def test_a_drain_in_memory_keeps_the_newest_and_tells_of_the_rest() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        receiver = Receiver(lambda _number: DELIVERED if loop.time() > HOUR_S else UNREACHABLE)
        tail = Tail()
        async with running(StreamSupply(tail), receiver) as drain:
            for number in range(5000):
                tail.offer(LogBatch(time=NOW, source="app", ps="web.1", text=b"line %d\n" % number))
                await asyncio.sleep(1)
            await drain.drain.emptied()
            assert_accounted(drain, receiver, 5000)

    run_virtually(scenario())


def test_a_drain_in_memory_drops_by_messages() -> None:
    async def scenario() -> None:
        receiver = Receiver(lambda _number: UNREACHABLE)
        tail = Tail()
        wide = b" " + b"x" * 1000
        async with running(StreamSupply(tail), receiver) as drain:
            tail.offer(LogBatch(time=NOW, source="app", ps="web.1", text=b"line 0\n"))
            await asyncio.sleep(1)  # it is in a frame now
            for number in range(1, 5001):
                tail.offer(LogBatch(time=NOW, source="app", ps="web.1", text=b"line %d%b\n" % (number, wide)))
            assert drain.drain.health.lag_lines == 1024 + 1
            assert tail.dropped == 5000 - 1024

    run_virtually(scenario())


outcomes = st.sampled_from([DELIVERED, DELIVERED, DELIVERED, UNREACHABLE, FAILED, REFUSED])


@settings(max_examples=60, deadline=None)
@given(
    lives=st.lists(
        st.tuples(st.lists(outcomes, min_size=1, max_size=6), st.integers(0, 20_000)), min_size=1, max_size=5
    ),
    bursts=st.lists(st.integers(1, 400), min_size=1, max_size=8),
    segment_bytes=st.integers(2_000, 50_000),
    lag=st.sampled_from([20_000, 1 << 28]),
)
def test_no_line_is_unaccounted_for_however_often_the_core_is_killed(
    tmp_path_factory: pytest.TempPathFactory,
    lives: Sequence[tuple[Sequence[Delivery], int]],
    bursts: Sequence[int],
    segment_bytes: int,
    lag: int,
) -> None:
    """Killed at any moment of virtual time, between two steps; the last core lives until all is done."""
    path = tmp_path_factory.mktemp("drain") / "log"
    taken: list[Frame] = []
    waiting = list(bursts)
    produced = 0

    async def live(script: Sequence[Delivery], lasts_s: float, *, to_the_end: bool) -> None:
        nonlocal produced
        history = MadeUpHistory(path, segment_bytes=segment_bytes)
        receiver = Receiver(lambda number: script[(number - 1) % len(script)] if not to_the_end else DELIVERED)
        async with running(on_disk(history, most_lag_bytes=lag), receiver) as drain:
            start = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() - start < lasts_s:
                if waiting:
                    history.say(waiting.pop())
                await asyncio.sleep(lasts_s / 3)
            if to_the_end:
                while waiting:
                    history.say(waiting.pop())
                await drain.drain.emptied()
                history.say(1)  # with which the receiver is told of what was dropped last
                await drain.drain.emptied()
                assert drain.ledger.unsaid == 0
                ledger = drain.ledger
                assert ledger.sent + ledger.dropped == history.produced
                assert ledger.position == history.end
        produced = history.produced
        taken.extend(receiver.taken)
        history.folder.close()

    for script, lasts_ms in lives:
        run_virtually(live(script, lasts_ms / 1000, to_the_end=False))
    run_virtually(live([DELIVERED], 0.0, to_the_end=True))
    seen = [int(number) for frame in taken for number in LINE.findall(frame.body)]
    once = list({frame.body: frame for frame in taken}.values())
    kept = [int(number) for frame in once for number in LINE.findall(frame.body)]
    assert kept == sorted(set(kept)), "who drops frames of an id that it has seen has every line once, in order"
    announced = sum(int(count) for frame in once for count in LOSS.findall(frame.body))
    assert set(seen) == set(kept)
    assert produced == sum(bursts) + 1
    assert len(kept) + announced >= produced, "nothing is missing that was not told of"


def test_what_went_under_way_before_a_kill_is_the_same_frame_after_it(tmp_path: Path) -> None:
    frames: list[Frame] = []

    async def first() -> None:
        history = MadeUpHistory(tmp_path / "log")
        receiver = Receiver(lambda _number: UNREACHABLE)
        async with running(on_disk(history), receiver):
            history.say(10)
            await asyncio.sleep(0.01)
            history.say(10)  # more than the frame that is under way
        frames.extend(frame for _, frame in receiver.attempts[:1])
        history.folder.close()

    async def second() -> None:
        history, receiver = MadeUpHistory(tmp_path / "log"), Receiver()
        async with running(on_disk(history), receiver) as drain:
            await drain.drain.emptied()
        frames.extend(receiver.taken)
        history.folder.close()

    run_virtually(first())
    run_virtually(second())
    assert frames[0] == frames[1]
    assert [int(number) for number in LINE.findall(frames[2].body)] == list(range(10, 20))


def test_lines_that_follow_a_loss_of_power_are_not_taken_for_sent(tmp_path: Path) -> None:
    """The record of what was sent has outlived the end of the history that it is about."""

    async def sends(count: int, receiver: Receiver) -> None:
        history = MadeUpHistory(tmp_path / "log")
        async with running(on_disk(history), receiver) as drain:
            history.say(count)
            await drain.drain.emptied()
        history.folder.close()

    run_virtually(sends(20, Receiver()))
    (segment,) = (tmp_path / "log").glob("*.log")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:5]))
    receiver = Receiver()
    run_virtually(sends(7, receiver))
    assert receiver.numbers == list(range(5, 12))


def test_a_record_that_a_loss_of_power_has_spoilt_begins_where_the_drain_began(tmp_path: Path) -> None:
    async def scenario() -> None:
        history, receiver = MadeUpHistory(tmp_path / "log"), Receiver()
        history.say(3)
        (tmp_path / "log" / "drain.ledger").write_bytes(b"\0" * 256)
        async with running(on_disk(history), receiver) as drain:
            await drain.drain.emptied()
        assert receiver.numbers == [0, 1, 2]

    run_virtually(scenario())
