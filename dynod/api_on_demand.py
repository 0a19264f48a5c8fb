"""The API of `dynod up`: imported and made when somebody first connects, who waits in the backlog meanwhile.

Flow: control socket → **API on demand** → platform_api. The API with aiohttp is half of what a core would import, and
most runs of an app in a folder end without a question. A service has it from the start: what it may need is tried
when another version of it rehearses, and is in memory before somebody changes what is installed.
"""

import asyncio
import gc
import importlib
import socket
from collections.abc import Callable, Sequence
from typing import Final, Protocol

PARTS: Final = "dynod.platform_api.server"


class Api(Protocol):
    """`PlatformApi`."""

    async def start(self, sockets: Sequence[socket.socket], /) -> None: ...
    async def start_tcp(self, sockets: Sequence[socket.socket], /) -> None: ...
    async def close(self) -> None: ...


class ApiOnDemand:
    """Owned by the composition root: `run` is a task of its, ended by cancelling; then `close`."""

    def __init__(self, control: socket.socket, make: Callable[[], Api]) -> None:
        """`control` listens, and stays the caller's; `make` is called once its parts are imported."""
        self._control = control
        self._make = make
        self._opening = asyncio.Lock()
        self._api: Api | None = None

    async def run(self) -> None:
        """Until somebody has asked."""
        await _readable(self._control)
        await self._opened()

    async def start_tcp(self, sockets: Sequence[socket.socket]) -> None:
        """Accept from these listening TCP sockets too, for which the API has to be there."""
        await (await self._opened()).start_tcp(sockets)

    async def close(self) -> None:
        """Accept no more; what was never asked for has nothing to close."""
        if self._api is not None:
            await self._api.close()

    async def _opened(self) -> Api:
        async with self._opening:
            if self._api is None:
                await self._import()
                self._api = self._make()
                await self._api.start([self._control])
        return self._api

    @staticmethod
    async def _import() -> None:
        """In a thread, so that dynos' requests and lines go on; without a garbage collector, as the daemon's parts."""
        gc.disable()
        try:
            await asyncio.to_thread(importlib.import_module, PARTS)
        finally:
            gc.freeze()
            gc.enable()


async def _readable(listening: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    loop.add_reader(listening.fileno(), asked.set)
    try:
        await asked.wait()
    finally:
        loop.remove_reader(listening.fileno())
