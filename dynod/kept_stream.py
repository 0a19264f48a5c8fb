"""Output that is kept and may still grow, as a stream: that of release commands, and that of builds.

Flow: kept output → **stream** → platform_api. May import logs.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable
from typing import Final

from dynod.logs.kept_output import KeptOutput

PIECE_BYTES: Final = 256 * 1024
SILENCE_S: Final = 15.0  # after it, whoever streams is given a chance to see that nobody reads


class News:
    """Wakes whoever waits for more, now and only now."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        """There is more, or there will be none."""
        self._event.set()
        self._event = asyncio.Event()

    @property
    def next(self) -> asyncio.Event:
        """To be taken before looking: what comes after that sets it."""
        return self._event


async def follow(
    kept: KeptOutput, number: int, *, news: News, is_live: Callable[[], bool]
) -> AsyncGenerator[bytes, None]:
    """All that there is of it, and while it is live what comes; an empty piece wherever it waits."""
    segment, descriptor = -1, -1
    try:
        while True:
            more, live = news.next, is_live()  # before looking: what comes after is news
            data = b""
            if descriptor >= 0:
                data = await asyncio.to_thread(os.read, descriptor, PIECE_BYTES)
            if data:
                yield data
                continue
            later = [each for each in await asyncio.to_thread(kept.segments, number) if each > segment]
            if later:
                if descriptor >= 0 and (rest := await asyncio.to_thread(os.read, descriptor, PIECE_BYTES)):
                    yield rest  # written between the two looks
                    continue
                opened = await asyncio.to_thread(kept.open, number, later[0])
                if descriptor >= 0:
                    os.close(descriptor)
                descriptor = opened if opened is not None else -1
                segment = later[0]
            elif not live:
                return
            else:
                yield b""
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SILENCE_S):
                        await more.wait()
    finally:
        if descriptor >= 0:
            os.close(descriptor)
