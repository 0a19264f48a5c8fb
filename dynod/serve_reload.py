"""SIGHUP to `dynod serve`: its settings are read again, and no dyno is restarted for it.

A file that cannot be used is refused with its line, and the old settings stay. One reload at a time; of those asked for
meanwhile the last counts. What was asked for while no core lived is done by the next one: the keeper has the signals.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import msgspec

from dynod.core.service_notice import reloaded, reloading
from dynod.errors import DynodError
from dynod.settings import Settings
from dynod.stderr import say

DONE: Final = "reloads"  # the key under which the keeper has how many were answered

# What a daemon that runs holds on to: sockets, folders, buffers. By section.
FIXED: Final[Mapping[str, tuple[str, ...]]] = {
    "serve": (
        *("listen", "socket", "state", "api", "insecure_api", "api_calls_per_hour"),
        *("metrics", "metrics_token_file"),
    ),
    "dynos": ("starts_at_once", "await_client_s", "reconnect_s", "hangup_s"),
    "logs": ("stall_s", "buffer_bytes", "history_lines"),
}


class Keeper(Protocol):
    """As far as reloads go."""

    def notify(self, text: str, /) -> None: ...
    def put(self, key: str, value: str | None, /) -> None: ...


class Reload:
    """Made by each core; `run` is a task of the daemon."""

    def __init__(
        self,
        keeper: Keeper,
        stored: Mapping[str, str],
        *,
        read: Callable[[], Settings],
        current: Callable[[], Settings],
        apply: Callable[[Settings], Awaitable[None]],
    ) -> None:
        """`read` raises DynodError for what cannot be used."""
        self._keeper = keeper
        self._asked = 0
        self._done = int(stored.get(DONE, "0"))
        self._read = read
        self._current = current
        self._apply = apply
        self._wake = asyncio.Event()

    def ask(self) -> None:
        """A SIGHUP, or one that an earlier core was told of: those come first, in the same order."""
        self._asked += 1
        self._wake.set()

    async def run(self) -> None:
        """For as long as the daemon runs."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._asked > self._done:
                asked = self._asked
                await self._reload()
                self._done = asked
                self._keeper.put(DONE, str(asked))

    async def _reload(self) -> None:
        self._keeper.notify(reloading(time.clock_gettime_ns(time.CLOCK_MONOTONIC)))
        try:
            wanted = await asyncio.to_thread(self._read)
            taken, later = taken_now(self._current(), wanted)
            await self._apply(taken)
        except DynodError as error:
            for line in str(error).splitlines():
                say(f"reload refused, the old settings stay: {line}")
            self._keeper.notify(reloaded(str(error)))
            return
        say("settings read again")
        if later:
            say(f"from the next start of dynod on: {', '.join(later)}")
        self._keeper.notify(reloaded(None))


def taken_now(old: Settings, new: Settings) -> tuple[Settings, list[str]]:
    """What a daemon that runs can go by, and the names of the settings that have to wait for its next start."""
    later = []
    sections = {}
    for section, names in FIXED.items():
        before, after = getattr(old, section), getattr(new, section)
        kept = {name: getattr(before, name) for name in names}
        later += [f"{section}.{name}" for name in names if kept[name] != getattr(after, name)]
        sections[section] = msgspec.structs.replace(after, **kept)
    return msgspec.structs.replace(new, **sections), later
