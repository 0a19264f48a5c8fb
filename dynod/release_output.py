"""What an app's release commands print, kept with each release and streamed while one runs.

Flow: stream → **release output** → kept output; kept output → platform_api. A batch counts as handed on once it is in
the app's history and here, so that a core that is killed repeats lines in both and loses none. May import core and
logs.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable

from dynod.core.formation import RELEASE
from dynod.kept_stream import News, follow
from dynod.logs.kept_output import KeptOutput


class ReleaseOutput:
    """Of one app. Owned by the loop."""

    def __init__(self, kept: KeptOutput) -> None:
        self._kept = kept
        self._running: int | None = None  # the version whose command runs, or is the next to
        self._news = News()

    def goes_to(self, version: int | None) -> None:
        """What a release command writes from now on is this version's; None: none runs, what is streamed ends."""
        self._running = version
        self._news.tell()

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
            self._news.tell()
            done()

        # The pump has one batch of a dyno under way: they come here one after the other, and are bounded by that.
        writing = asyncio.get_running_loop().run_in_executor(None, self._kept.append, version, lines)
        writing.add_done_callback(written)
        return done

    def stream(self, version: int) -> AsyncGenerator[bytes, None]:
        """All that there is of it, and while its command runs what comes; an empty piece wherever it waits."""
        return follow(self._kept, version, news=self._news, is_live=lambda: self._running == version)
