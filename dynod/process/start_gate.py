"""Bounds how many dynos boot at once: 500 that all start together would each boot too slowly for its boot timeout."""

import asyncio
from collections.abc import Callable
from typing import Final

SLOW_BOOT_S: Final = 15.0  # a dyno that takes longer no longer holds up the others


class StartGate:
    """At most `width` dynos between `enter` and leaving; waiters get in by order of arrival."""

    def __init__(self, width: int) -> None:
        self._room = asyncio.Semaphore(width)

    async def enter(self) -> Callable[[], None]:
        """Wait for room; returns what to call when the dyno is up or has ended. Calling it twice is harmless."""
        await self._room.acquire()
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                late.cancel()
                self._room.release()

        late = asyncio.get_running_loop().call_later(SLOW_BOOT_S, leave)
        return leave
