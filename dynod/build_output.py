"""What builds say: kept with each build, streamed while it grows, handed on from its pipe once it is on disk.

Flow: build's pipe → pump → **build output** → kept output → platform_api. A core that is killed repeats lines of it and
loses none. What dynod itself says of a build is appended here too, before its processes start and after they have
ended. May import core, logs.
"""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Callable, Collection
from functools import partial
from pathlib import Path
from typing import Final

from dynod.core.build import Build
from dynod.kept_stream import News, follow
from dynod.logs.kept_output import KeptOutput

SECOND: Final = 1_000_000  # microseconds, in which the store has its times


class BuildOutput:
    """Of every build of every app. Owned by the loop."""

    def __init__(self, folder: Path) -> None:
        """`folder`: below it one for each app."""
        self._folder = folder
        self._growing: dict[str, Build] = {}  # by id
        self._outputs: dict[str, KeptOutput] = {}  # by app
        self._news = News()

    def begin(self, build: Build) -> None:
        """It is under way, and says more until `end`."""
        self._growing[build.id] = build

    def end(self, build: Build) -> None:
        """It has said all."""
        self._growing.pop(build.id, None)
        self._news.tell()

    async def say(self, build: Build, text: str) -> None:
        """Append whole lines."""
        data = text.encode("utf-8", "backslashreplace")
        await asyncio.to_thread(self._kept(build.app_id).append, _number(build), data)
        self._news.tell()

    def publish(self, build_id: str, lines: bytes, on_handed_on: Callable[[], None]) -> bool:
        """From the pump, as its `Publish`; one batch of a build is under way at a time."""
        build = self._growing.get(build_id)
        if build is None:
            on_handed_on()  # one that is not known any more
            return True
        append = partial(self._kept(build.app_id).append, _number(build), lines)
        writing = asyncio.get_running_loop().run_in_executor(None, append)

        def written(_future: asyncio.Future[None]) -> None:
            self._news.tell()
            on_handed_on()

        writing.add_done_callback(written)
        return True

    def stream(self, build: Build) -> AsyncGenerator[bytes, None]:
        """All that it has said, and goes on to say; an empty piece wherever it waits."""
        kept = self._kept(build.app_id)
        return follow(kept, _number(build), news=self._news, is_live=lambda: build.id in self._growing)

    def remove_all(self, *, but: Collection[str]) -> None:
        """Those of apps that are no more. Blocks."""
        for left in list(self._folder.iterdir()) if self._folder.exists() else []:
            if left.name not in but:
                shutil.rmtree(left) if left.is_dir() else left.unlink()

    def _kept(self, app_id: str) -> KeptOutput:
        return self._outputs.setdefault(app_id, KeptOutput(self._folder / app_id))


def _number(build: Build) -> int:
    """Under which it is kept: the order of builds, in which the oldest go."""
    return int(build.created_at.timestamp() * SECOND)
