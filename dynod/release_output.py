"""What an app's release commands print, kept with each release and streamed while one runs.

Flow: stream → **release output** → kept output; kept output → platform_api. A batch counts as handed on once it is in
the app's history and here, so that a core that is killed repeats lines in both and loses none. May import core and
logs.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable
from typing import Final

from dynod.core.formation import RELEASE
from dynod.logs.kept_output import KeptOutput

PIECE_BYTES: Final = 256 * 1024
SILENCE_S: Final = 15.0  # after it, whoever streams is given a chance to see that nobody reads


class ReleaseOutput:
    """Of one app. Owned by the loop."""

    def __init__(self, kept: KeptOutput) -> None:
        self._kept = kept
        self._running: int | None = None  # the version whose command runs, or is the next to
        self._news = asyncio.Event()

    def goes_to(self, version: int | None) -> None:
        """What a release command writes from now on is this version's; None: none runs, what is streamed ends."""
        self._running = version
        self._tell()

    def copy(self, ps: str, lines: bytes, on_handed_on: Callable[[], None]) -> Callable[[], None]:
        """From the stream, lines of a dyno: what is to be called in the place of `on_handed_on`."""
        version = self._running
        if version is None or not ps.startswith(f"{RELEASE}."):
            return on_handed_on
        missing = 2  # the other place, and this one

        def done() -> None:
            nonlocal missing
            missing -= 1
            if not missing:
                on_handed_on()

        def written(_future: asyncio.Future[None]) -> None:
            self._tell()
            done()

        # The pump has one batch of a dyno under way: they come here one after the other, and are bounded by that.
        writing = asyncio.get_running_loop().run_in_executor(None, self._kept.append, version, lines)
        writing.add_done_callback(written)
        return done

    async def stream(self, version: int) -> AsyncGenerator[bytes, None]:
        """All that there is of it, and while its command runs what comes; an empty piece wherever it waits."""
        segment, descriptor = -1, -1
        try:
            while True:
                news, is_live = self._news, self._running == version  # before looking: what comes after is news
                data = b""
                if descriptor >= 0:
                    data = await asyncio.to_thread(os.read, descriptor, PIECE_BYTES)
                if data:
                    yield data
                    continue
                later = [each for each in await asyncio.to_thread(self._kept.segments, version) if each > segment]
                if later:
                    if descriptor >= 0 and (rest := await asyncio.to_thread(os.read, descriptor, PIECE_BYTES)):
                        yield rest  # written between the two looks
                        continue
                    opened = await asyncio.to_thread(self._kept.open, version, later[0])
                    if descriptor >= 0:
                        os.close(descriptor)
                    descriptor = opened if opened is not None else -1
                    segment = later[0]
                elif not is_live:
                    return
                else:
                    yield b""
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(SILENCE_S):
                            await news.wait()
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _tell(self) -> None:
        """Wake whoever waits for more, now and only now."""
        self._news.set()
        self._news = asyncio.Event()
