"""An attached dyno's other end on virtual time: who is waited for and how long, what goes where, and in which order."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine

import pytest

from dynod.process.attachment import HANGUP, HEROKU, R16, Attachment
from support.virtual_time import run_virtually


class Somebody:
    """A client with as much room as it is given."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.room = room
        self.output = b""
        self.taken = 0
        self.exit: tuple[int, str] | None = None
        self.hung_up = False

    def has_room(self) -> bool:
        return self.room > 0

    def send_output(self, data: bytes) -> None:
        assert self.exit is None, "nothing follows the exit"
        self.output += data
        self.room -= len(data)

    def send_taken(self, total: int) -> None:
        self.taken = total

    def send_exit(self, status: int, reason: str) -> None:
        self.exit = status, reason

    def hang_up(self) -> None:
        self.hung_up = True


class Stage:
    """The supervisor and the dyno of one attachment: a dyno's ends of two pipes, and what is said about it."""

    def __init__(self, *, stays: bool = False) -> None:
        self.events: list[tuple[float, str]] = []
        self.logged = b""
        self.tasks: set[asyncio.Task[None]] = set()
        self.attachment = Attachment("run.1", "secret", None, self, HEROKU, stays=stays)
        self._output, self.dyno_out = os.pipe()
        self.dyno_in, self._input = os.pipe()

    def open(self) -> None:
        self.attachment.open("id", self._output, self._input)

    def end(self) -> None:
        for fd in (self.dyno_out, self.dyno_in):
            os.close(fd)

    def in_background(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        return task

    def client_came(self, name: str) -> None:
        assert name == "run.1"

    def say(self, name: str, message: str) -> None:
        assert name == "run.1"
        self._happened(message)

    def send_signal(self, instance_id: str, number: int) -> None:
        assert instance_id == "id"
        self._happened(signal.Signals(number).name)

    def end_input(self, instance_id: str) -> None:
        assert instance_id == "id"
        self._happened("end of input")

    def publish(self, ps: str, lines: bytes, on_handed_on: Callable[[], None], /) -> bool:
        assert ps == "run.1"
        self.logged += lines
        asyncio.get_running_loop().call_soon(on_handed_on)
        return True

    def _happened(self, what: str) -> None:
        self.events.append((round(asyncio.get_running_loop().time(), 3), what))


def play(history: Callable[[Stage], Coroutine[None, None, None]], *, stays: bool = False) -> Stage:
    stages: list[Stage] = []

    async def whole() -> None:
        stage = Stage(stays=stays)
        stages.append(stage)
        await history(stage)
        stage.end()
        for task in stage.tasks:
            task.cancel()
        await asyncio.gather(*stage.tasks, return_exceptions=True)

    run_virtually(whole())
    return stages[0]


HEROKUS_WAY = [
    (10, HANGUP),
    (10, "SIGHUP"),
    (15, HANGUP),
    (15, "SIGHUP"),
    (20, HANGUP),
    (20, "SIGHUP"),
    (25, R16),
]


def test_three_hangups_five_seconds_apart_then_it_is_detached() -> None:
    async def history(stage: Stage) -> None:
        client = Somebody()
        stage.attachment.connect(client)
        stage.open()
        stage.attachment.disconnect(client)
        await asyncio.sleep(100)
        os.write(stage.dyno_out, b"one\r\ntwo")
        await asyncio.sleep(1)
        finish = asyncio.ensure_future(stage.attachment.finish(0))
        await finish

    stage = play(history)
    assert stage.events == HEROKUS_WAY
    assert stage.logged == b"one\ntwo\n", "whole lines as they come, the half one at the end"


def test_nobody_hangs_up_on_what_has_exited() -> None:
    async def history(stage: Stage) -> None:
        stage.open()
        await asyncio.sleep(12)
        os.write(stage.dyno_out, b"bye\n")
        stage.attachment.exited()
        await asyncio.sleep(100)
        assert stage.logged == b"bye\n"
        await stage.attachment.finish(129)

    assert play(history).events == HEROKUS_WAY[:2]


@pytest.mark.parametrize("back_after_s", [0.0, 9.9, 10.1, 24.0])
def test_who_comes_back_is_missed_no_more(back_after_s: float) -> None:
    again = Somebody()

    async def history(stage: Stage) -> None:
        client = Somebody()
        stage.attachment.connect(client)
        stage.open()
        stage.attachment.disconnect(client)
        os.write(stage.dyno_out, b"meanwhile")
        await asyncio.sleep(back_after_s)
        stage.attachment.connect(again)
        await asyncio.sleep(100)
        await stage.attachment.finish(7)

    stage = play(history)
    assert stage.events == [event for event in HEROKUS_WAY if event[0] <= back_after_s]
    assert again.output == b"meanwhile"
    assert (again.exit, again.hung_up) == ((7, ""), True)
    assert stage.logged == b""


def test_an_adopted_dyno_waits_for_its_client_as_one_whose_client_has_just_gone() -> None:
    async def history(stage: Stage) -> None:
        stage.open()
        await asyncio.sleep(100)
        await stage.attachment.finish(0)

    assert play(history).events == HEROKUS_WAY


def test_what_ended_meanwhile_waits_for_its_client_and_then_is_logged() -> None:
    ended = 0.0

    async def history(stage: Stage) -> None:
        nonlocal ended
        stage.open()
        os.write(stage.dyno_out, b"last words\n")
        await stage.attachment.finish(0)
        ended = asyncio.get_running_loop().time()

    stage = play(history)
    assert ended == pytest.approx(10)
    assert stage.events == [], "there is nobody to hang up on"
    assert stage.logged == b"last words\n"


def test_the_exit_comes_after_the_last_byte_however_slow_the_client() -> None:
    client = Somebody(room=1)

    async def history(stage: Stage) -> None:
        stage.attachment.connect(client)
        stage.open()
        os.write(stage.dyno_out, b"x" * 50_000)
        finish = asyncio.ensure_future(stage.attachment.finish(3))
        while not finish.done():
            await asyncio.sleep(1)
            client.room = 1
            stage.attachment.resume()
        await finish

    play(history)
    assert len(client.output) == 50_000
    assert client.exit == (3, "")


def test_input_is_taken_as_the_dyno_takes_it_and_then_it_ends() -> None:
    client = Somebody()
    read = b""

    async def history(stage: Stage) -> None:
        nonlocal read
        stage.attachment.connect(client)
        waiting = stage.attachment.feed(b"early,")
        assert waiting == 6, "nothing runs yet"
        stage.open()
        assert client.taken == 6
        waiting = stage.attachment.feed(b"x" * 200_000)
        stage.attachment.end_input()
        assert 0 < waiting < 200_000
        assert client.taken + waiting == 200_006
        assert stage.events == [], "not before it has all of it"
        while data := os.read(stage.dyno_in, 65_536):
            read += data
            await asyncio.sleep(0.01)
        await stage.attachment.finish(0)

    stage = play(history)
    assert read == b"early," + b"x" * 200_000
    assert client.taken == 200_006
    assert [what for _, what in stage.events] == ["end of input"]


def test_a_dyno_that_stays_is_not_hung_up_on_and_always_logged() -> None:
    client = Somebody()

    async def history(stage: Stage) -> None:
        stage.open()
        os.write(stage.dyno_out, b"alone\n")
        await asyncio.sleep(50)
        stage.attachment.connect(client)
        os.write(stage.dyno_out, b"seen\n")
        await asyncio.sleep(1)
        stage.attachment.disconnect(client)
        await asyncio.sleep(50)
        await stage.attachment.finish(0)

    stage = play(history, stays=True)
    assert stage.events == []
    assert client.output == b"seen\n"
    assert stage.logged == b"alone\nseen\n"


def test_at_the_end_of_dynod_a_client_that_reads_nothing_is_not_waited_for() -> None:
    client = Somebody(room=0)

    async def history(stage: Stage) -> None:
        stage.attachment.connect(client)
        stage.open()
        os.write(stage.dyno_out, b"unread")
        stage.attachment.hurry(5.0)
        await stage.attachment.finish(0)
        assert asyncio.get_running_loop().time() == pytest.approx(5)

    play(history)
    assert client.exit == (0, "")


@pytest.mark.parametrize("stays", [True, False], ids=["logged", "read by a client"])
def test_what_was_handed_over_to_another_core_is_neither_read_nor_written(stays: bool) -> None:
    """Whoever reads a pipe takes what is in it: what this core would read, the other one would never see."""

    async def history(stage: Stage) -> None:
        stage.open()
        client = Somebody()
        if not stays:
            stage.attachment.connect(client)
        os.write(stage.dyno_out, b"before\n")
        await asyncio.sleep(1)
        os.set_blocking(stage._input, False)
        stage.attachment.feed(b"x" * 100_000)  # more than a pipe takes
        stage.attachment.hand_over()
        os.write(stage.dyno_out, b"after\n")
        taken = len(os.read(stage.dyno_in, 200_000))
        stage.attachment.feed(b"more")
        stage.attachment.disconnect(client)
        await asyncio.sleep(1)
        os.set_blocking(stage.dyno_in, False)
        with pytest.raises(BlockingIOError):
            os.read(stage.dyno_in, 1)
        assert taken < 100_000
        assert os.read(stage._output, 100) == b"after\n"
        assert (stage.logged if stays else client.output) == b"before\n"

    play(history, stays=stays)
