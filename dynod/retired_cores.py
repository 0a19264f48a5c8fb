"""Cores that are retired, as the one in charge sees them: told which dynos there are, and waited for.

Flow: routing → **retired cores** → keeper → `retirement` of each. A dyno that such a core still sends requests to is
not stopped before those are answered (contracts 1), and what it tells of its requests comes to the app's log here.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from dynod.core.boot import Address
from dynod.core.core_word import Done, Drain, Finish, Here, Joined, Left, Lines, Says, Word, read, written
from dynod.core.losses import Lose, Loss, unheeded

MOST_SAID: Final = 4096  # characters of a line; the keeper's own bound is far above


class Traffic(Protocol):
    """An app's share of the router, as far as its log goes."""

    def take_lines(self, lines: list[tuple[float, str]], /) -> None: ...
    def take_word(self, dyno: str, message: str, /) -> None: ...


class RetiredCores:
    """Made by each core that is in charge. What is asked of one that has ended is done."""

    def __init__(
        self,
        pass_on: Callable[[int, str], None],
        pids: Iterable[int],
        *,
        generation: int = 0,
        lose: Lose = unheeded,
    ) -> None:
        """`pass_on` takes words to a process id. `generation`: of this core, for numbers of its own."""
        self._pass_on = pass_on
        self._lose = lose
        self._pids = set(pids)
        self._apps: Mapping[str, Traffic] = {}
        self._number = generation << 32
        self._awaited: dict[int, tuple[set[int], asyncio.Event]] = {}

    def begin(self, apps: Mapping[str, Traffic]) -> None:
        """From now on their lines come here; `apps` by their ids, as they are at any time."""
        self._apps = apps
        self._tell_all(Here())

    def passed(self, pid: int, text: str) -> None:
        """One of them has said something."""
        match read(text):
            case Done(number=number):
                self._is_done(number, pid)
            case Lines(app=app, lines=lines, lost=lost):
                if lost:
                    self._lose(Loss.ROUTER_LINES, lost)
                if (traffic := self._apps.get(app)) is not None:
                    traffic.take_lines([(at, line[:MOST_SAID]) for at, line in lines])
            case Says(app=app, dyno=dyno, message=message):
                if (traffic := self._apps.get(app)) is not None:
                    traffic.take_word(dyno, message[:MOST_SAID])
            case _:
                pass

    def forget(self) -> None:
        """They are another core's to talk to: the one that has them is retired itself."""
        for pid in tuple(self._pids):
            self.gone(pid)

    def gone(self, pid: int) -> None:
        """One of them has ended."""
        self._pids.discard(pid)
        for number in tuple(self._awaited):
            self._is_done(number, pid)

    # --- what routing tells -----------------------------------------------------------------------------------------

    def joined(self, app: str, instance_id: str, dyno: str, address: Address) -> None:
        """A web dyno is up."""
        self._tell_all(Joined(app=app, instance=instance_id, dyno=dyno, host=address.host, port=address.port))

    def left(self, app: str, instance_id: str) -> None:
        """A web dyno is gone."""
        self._tell_all(Left(app=app, instance=instance_id))

    async def drained(self, app: str, instance_id: str, within_s: float) -> None:
        """Once none of them has a request for this dyno, at the latest after so long."""
        await self._ask(lambda number: Drain(number=number, app=app, instance=instance_id), within_s)

    async def finished(self, within_s: float) -> None:
        """Once none of them has a request at all, at the latest after so long."""
        await self._ask(lambda number: Finish(number=number), within_s)

    async def _ask(self, word: Callable[[int], Word], within_s: float) -> None:
        if not self._pids:
            return
        self._number += 1
        number, done = self._number, asyncio.Event()
        self._awaited[number] = (set(self._pids), done)
        self._tell_all(word(number))
        try:
            async with asyncio.timeout(within_s):
                await done.wait()
        except TimeoutError:
            pass
        finally:
            del self._awaited[number]

    def _is_done(self, number: int, pid: int) -> None:
        if number in self._awaited:
            left, done = self._awaited[number]
            left.discard(pid)
            if not left:
                done.set()

    def _tell_all(self, word: Word) -> None:
        for pid in self._pids:
            self._pass_on(pid, written(word))
