"""The core's end of the keeper's socket, the keeper played by the test: nothing is lost, nothing comes too early."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest
import uvloop

from dynod.keeper.client import Events, KeeperClient, KeeperLostError, Launched, LaunchError, Snapshot
from dynod.keeper.protocol import (
    VERSION,
    Beat,
    Channel,
    Exited,
    Gone,
    Goodbye,
    Held,
    Hello,
    Instance,
    Killed,
    Message,
    Notify,
    ProtocolError,
    Signalled,
    SnapshotEnd,
    Spawn,
    Spawned,
    SpawnFailed,
    Stored,
    Welcome,
)

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


class Heard:
    """What the core was told, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []
        self.lost = asyncio.Event()
        self.changed = asyncio.Event()

    def add(self, *event: object) -> None:
        self.events.append(event)
        self.changed.set()

    @property
    def callbacks(self) -> Events:
        return Events(
            exited=lambda id_, code, _at: self.add("exited", id_, code),
            killed=lambda id_, count: self.add("killed", id_, count),
            gone=lambda id_: self.add("gone", id_),
            signalled=lambda number: self.add("signalled", number),
            lost=self.lost.set,
        )

    async def until(self, count: int) -> None:
        while len(self.events) < count:
            self.changed.clear()
            await self.changed.wait()


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[object], None]:
    def go(history: object) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(20):
                assert callable(history)
                await history()

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(bounded())

    return go


@asynccontextmanager
async def connected(*snapshot: tuple[Message, list[int]]) -> AsyncIterator[tuple[Channel, KeeperClient, Snapshot]]:
    """A keeper that has answered hello, and the client."""
    ours, theirs = socket.socketpair()
    keeper = Channel(ours)
    client = KeeperClient(theirs.detach(), asyncio.get_running_loop())
    for message, fds in [(Welcome(VERSION, 3, [15], ""), []), *snapshot, (SnapshotEnd(), [])]:
        keeper.send(message, fds)
    try:
        yield keeper, client, await client.connect()
    finally:
        client.close()
        keeper.close()


def said(keeper: Channel) -> list[Message]:
    return [received.message for received in keeper.receive()]


def launch_now(client: KeeperClient, instance_id: str = "a") -> Coroutine[None, None, Launched]:
    return client.launch(
        instance_id=instance_id, argv=["x"], env={}, cwd="/", marks=[], stop_signal=15, grace_s=30.0, state=""
    )


def launch(client: KeeperClient, instance_id: str = "a") -> asyncio.Task[Launched]:
    return asyncio.create_task(launch_now(client, instance_id))


def test_the_snapshot_is_what_the_keeper_holds(run: Callable[[object], None]) -> None:
    async def history() -> None:
        instance = Instance("a", 7, 1.0, "note", None, None, gone=False, killed=False, stopping=False)
        async with connected((instance, [0]), (Held("router"), [0, 1]), (Stored("k", "v"), [])) as (keeper, _, found):
            assert (found.generation, found.signals, found.stored) == (3, [15], {"k": "v"})
            assert [adopted.instance for adopted in found.adopted] == [instance]
            assert os.fstat(found.adopted[0].output).st_ino == os.fstat(0).st_ino
            assert len(found.held["router"]) == 2
            assert said(keeper) == [Hello(VERSION, os.getpid())]
            for fd in [found.adopted[0].output, *found.held["router"]]:
                os.close(fd)

    run(history)


def test_events_right_behind_the_snapshot_wait_for_somebody_to_listen(run: Callable[[object], None]) -> None:
    async def history() -> None:
        ours, theirs = socket.socketpair()
        keeper, heard = Channel(ours), Heard()
        client = KeeperClient(theirs.detach(), asyncio.get_running_loop())
        for message in (Welcome(VERSION, 1, [], ""), SnapshotEnd(), Exited("a", 1, 0.0), Signalled(signal.SIGTERM)):
            keeper.send(message)
        await client.connect()
        client.listen(heard.callbacks)
        await heard.until(2)
        assert heard.events == [("exited", "a", 1), ("signalled", signal.SIGTERM)]
        client.close()
        keeper.close()

    run(history)


def test_a_dyno_that_ends_at_once_is_heard_of_after_its_launch(run: Callable[[object], None]) -> None:
    """The answer and the end come in one batch; whoever launched has had no turn between them."""

    async def history() -> None:
        async with connected() as (keeper, client, _):
            heard = Heard()
            client.listen(heard.callbacks)

            async def start() -> Launched:
                launched = await launch_now(client)
                heard.add("launched")
                return launched

            task = asyncio.create_task(start())
            await asyncio.sleep(0)
            for message, fds in ((Spawned("a", 7, 1.0), [0]), (Exited("a", 1, 2.0), []), (Gone("a"), [])):
                keeper.send(message, fds)
            launched = await task
            await heard.until(3)
            assert heard.events == [("launched",), ("exited", "a", 1), ("gone", "a")]
            os.close(launched.output)

    run(history)


def test_a_refusal_is_an_os_error_that_names_the_step(run: Callable[[object], None]) -> None:
    async def history() -> None:
        async with connected() as (keeper, client, _):
            client.listen(Heard().callbacks)
            task = launch(client)
            await asyncio.sleep(0)
            assert isinstance(said(keeper)[-1], Spawn)
            keeper.send(SpawnFailed("a", 2, "chdir"))
            with pytest.raises(LaunchError, match="No such file") as caught:
                await task
            assert (caught.value.errno, caught.value.during) == (2, "chdir")

    run(history)


def test_the_output_of_a_launch_that_nobody_waits_for_is_closed(run: Callable[[object], None]) -> None:
    async def history() -> None:
        async with connected() as (keeper, client, _):
            heard = Heard()
            client.listen(heard.callbacks)
            task = launch(client)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            reading, writing = os.pipe()
            keeper.send(Spawned("a", 7, 1.0), [reading])
            keeper.send(Killed("b", 1))
            os.close(reading)
            await heard.until(1)
            with pytest.raises(BrokenPipeError):
                os.write(writing, b"x")  # nobody has the reading end
            os.close(writing)

    run(history)


def test_a_dead_keeper_is_told_once_and_a_launch_under_way_never_returns(run: Callable[[object], None]) -> None:
    """An exception would end the core before it has ended the dynos."""

    async def history() -> None:
        async with connected() as (keeper, client, _):
            heard = Heard()
            client.listen(heard.callbacks)
            task = launch(client)
            await asyncio.sleep(0)
            keeper.close()
            await heard.lost.wait()
            later = launch(client, "b")
            client.stop("a", number=15, grace_s=1.0)
            client.goodbye(0)
            for _ in range(10):
                await asyncio.sleep(0)
            assert not task.done()
            assert not later.done()
            task.cancel()
            later.cancel()
            await asyncio.wait([task, later])

    run(history)


def test_a_keeper_that_dies_during_hello_is_lost(run: Callable[[object], None]) -> None:
    async def history() -> None:
        ours, theirs = socket.socketpair()
        client = KeeperClient(theirs.detach(), asyncio.get_running_loop())
        ours.close()
        with pytest.raises(KeeperLostError):
            await client.connect()
        client.close()

    run(history)


@pytest.mark.parametrize("answer", [Welcome(VERSION + 1, 1, [], ""), None])
def test_a_keeper_of_another_language_is_refused(run: Callable[[object], None], answer: Message | None) -> None:
    async def history() -> None:
        ours, theirs = socket.socketpair()
        keeper = Channel(ours)
        client = KeeperClient(theirs.detach(), asyncio.get_running_loop())
        if answer is None:
            ours.send(b"\0\0\0\2{}")
        else:
            keeper.send(answer)
            keeper.send(SnapshotEnd())
        with pytest.raises(ProtocolError):
            await client.connect()
        client.close()
        keeper.close()

    run(history)


def test_a_core_that_listens_beats_and_what_does_not_fit_follows(run: Callable[[object], None]) -> None:
    async def history() -> None:
        async with connected() as (keeper, client, _):
            client.listen(Heard().callbacks)
            assert said(keeper)[-1] == Beat()
            texts = [f"{number} {'x' * 50_000}" for number in range(50)]
            for text in texts:
                client.notify(text)
            found: list[Message] = []
            while len(found) < 50:
                found += [message for message in said(keeper) if isinstance(message, Notify)]
                await asyncio.sleep(0.001)  # the client's turn to write on
            assert found == [Notify(text) for text in texts]
            client.goodbye(3)
            assert said(keeper)[-1] == Goodbye(3)

    run(history)
