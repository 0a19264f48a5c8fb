"""SIGHUP to `dynod serve`: its settings are read again, and no dyno is restarted for it.

Where another version of dynod is installed, it takes over first, and reads them; where it cannot, this one goes on.

A file that cannot be used is refused with its line, and the old settings stay. One reload at a time; of those asked for
meanwhile the last counts. What was asked for while no core lived is done by the next one: the keeper has the signals.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec

from dynod import __version__
from dynod.core.service_notice import not_upgraded, reloaded, reloading, upgrading
from dynod.errors import DynodError
from dynod.settings import Settings
from dynod.stderr import say

DONE: Final = "reloads"  # the keys under which the keeper has how many were answered,
OWED: Final = "reload-owed"  # and that a core which takes over is to read the settings

# What a daemon that runs holds on to: sockets, folders, buffers. By section.
FIXED: Final[Mapping[str, tuple[str, ...]]] = {
    "serve": (
        *("listen", "socket", "state", "api", "insecure_api", "api_calls_per_hour"),
        *("metrics", "metrics_token_file", "close_dyno_ports"),
    ),
    "dynos": ("starts_at_once", "total_memory_mb", "await_client_s", "reconnect_s", "hangup_s"),
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
        other_version: Callable[[], Path | None] = lambda: None,
        upgrade: Callable[[Path], Awaitable[str]] | None = None,
    ) -> None:
        """`read` raises DynodError for what cannot be used.

        `other_version` is where another one is installed; `upgrade` has it take over, and says why it does not.
        """
        self._keeper = keeper
        self._asked = 0
        self._done = int(stored.get(DONE, "0"))
        self._is_owed = OWED in stored
        self._other_version = other_version
        self._upgrade = upgrade
        self._read = read
        self._current = current
        self._apply = apply
        self._wake = asyncio.Event()
        self._in_control = asyncio.Event()

    def begin(self) -> None:
        """Do what is asked: the core is in control now."""
        self._in_control.set()
        if self._is_owed:
            self._wake.set()

    def ask(self) -> None:
        """A SIGHUP, or one that an earlier core was told of: those come first, in the same order."""
        self._asked += 1
        self._wake.set()

    async def run(self) -> None:
        """For as long as the daemon runs."""
        await self._in_control.wait()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._asked > self._done or self._is_owed:
                refused = await self._upgraded() if self._asked > self._done else None
                asked = self._asked
                await self._reload(refused)
                self._done = asked
                self._keeper.put(DONE, str(asked))
                if self._is_owed or refused is not None:
                    self._is_owed = False
                    self._keeper.put(OWED, None)

    async def _upgraded(self) -> str | None:
        """Why the other version did not take over; None where there is none. Where it does, this core ends meanwhile.

        It counts as answered from its beginning: a version that takes over and fails is not tried again for it.
        """
        there = self._other_version()
        if there is None or self._upgrade is None:
            return None
        self._done = self._asked
        self._keeper.put(DONE, str(self._done))
        self._keeper.put(OWED, "")
        say(f"another version is installed, in {there}: it takes over")
        self._keeper.notify(upgrading(there.name))
        why = await self._upgrade(there)
        say(f"upgrade refused, dynod {__version__} goes on: {why}")
        return f"upgrade to {there.name} refused: {why}"

    async def _reload(self, refused: str | None) -> None:
        """`refused`: why it is no upgrade, for the status."""
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
        self._keeper.notify(reloaded(None) if refused is None else not_upgraded(refused))


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
