"""The API of `dynod up` is there for the first who asks, and nothing of it before."""

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

from dynod.api_on_demand import ApiOnDemand

TIMEOUT_S = 30.0


class MadeUpApi:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.made = 0
        self.started = asyncio.Event()

    def make(self) -> "MadeUpApi":
        self.made += 1
        return self

    async def start(self, sockets: Sequence[socket.socket], /) -> None:
        self.calls.append(f"start {len(sockets)}")
        self.started.set()

    async def start_tcp(self, sockets: Sequence[socket.socket], /) -> None:
        self.calls.append(f"start_tcp {len(sockets)}")

    async def close(self) -> None:
        self.calls.append("close")


def control(folder: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "s"))
    listening.listen()
    return listening


def test_it_is_made_when_somebody_connects_and_once(tmp_path: Path) -> None:
    async def scene(listening: socket.socket, client: socket.socket) -> None:
        api = MadeUpApi()
        on_demand = ApiOnDemand(listening, api.make)
        task = asyncio.create_task(on_demand.run())
        await asyncio.sleep(0)
        assert api.made == 0
        client.connect(str(tmp_path / "s"))
        async with asyncio.timeout(TIMEOUT_S):
            await task
        accepted, _ = listening.accept()  # whoever connected is the API's to accept
        accepted.close()
        await on_demand.start_tcp([])
        await on_demand.close()
        assert (api.made, api.calls) == (1, ["start 1", "start_tcp 0", "close"])

    with control(tmp_path) as listening, socket.socket(socket.AF_UNIX) as client:
        asyncio.run(scene(listening, client))


def test_whoever_wants_it_on_tcp_has_it_at_once_and_but_once(tmp_path: Path) -> None:
    async def scene(listening: socket.socket, client: socket.socket) -> None:
        api = MadeUpApi()
        on_demand = ApiOnDemand(listening, api.make)
        task = asyncio.create_task(on_demand.run())
        await on_demand.start_tcp([listening])
        client.connect(str(tmp_path / "s"))
        async with asyncio.timeout(TIMEOUT_S):
            await task
        assert (api.made, api.calls) == (1, ["start 1", "start_tcp 1"])

    with control(tmp_path) as listening, socket.socket(socket.AF_UNIX) as client:
        asyncio.run(scene(listening, client))


def test_two_who_ask_at_the_same_time_have_one(tmp_path: Path) -> None:
    async def scene(listening: socket.socket) -> None:
        api = MadeUpApi()
        on_demand = ApiOnDemand(listening, api.make)
        await asyncio.gather(on_demand.start_tcp([]), on_demand.start_tcp([]))
        assert (api.made, api.calls) == (1, ["start 1", "start_tcp 0", "start_tcp 0"])

    with control(tmp_path) as listening:
        asyncio.run(scene(listening))


def test_what_nobody_asked_for_ends_without_a_trace(tmp_path: Path) -> None:
    async def scene(listening: socket.socket) -> None:
        api = MadeUpApi()
        on_demand = ApiOnDemand(listening, api.make)
        task = asyncio.create_task(on_demand.run())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        await on_demand.close()
        assert task.cancelled()
        assert (api.made, api.calls) == (0, [])
        assert not asyncio.get_running_loop().remove_reader(listening.fileno()), "it is still watched"

    with control(tmp_path) as listening:
        asyncio.run(scene(listening))
