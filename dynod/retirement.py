"""A core that is no more in charge: it sees out the connections that it has, and does as the one in charge says.

Flow: keeper → **retirement** → routing, and the router's records back the same way. Nothing else of this core runs any
more: its dynos, logs and store are another's. Made when it lets go; its last act is to end.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

from dynod.core.boot import Address
from dynod.core.core_word import Done, Drain, Finish, Here, Joined, Left, Lines, Says, Word, read, written
from dynod.routing import AppTraffic, Routing

IN_CHARGE: Final = 0  # the process id that stands for whichever core that is
HEARD_WITHIN_S: Final = 30.0  # as long as a new core may take to be ready (contracts 1)
MOST_WAITING: Final = 10_000  # lines that wait for the next core to be there; above that the oldest go, counted


class Retirement:
    """`begin` when the store is about to be another's, `see_out` when it is."""

    def __init__(self, routing: Routing, pass_on: Callable[[int, str], None]) -> None:
        """`pass_on` takes words to the core in charge."""
        self._routing = routing
        self._pass_on = pass_on
        self._heard = asyncio.Event()  # somebody is in charge, who takes lines
        self._waiting: deque[tuple[str, float, str]] = deque()
        self._lost: Counter[str] = Counter()
        self._doing: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """What is said of requests goes to whoever is in charge."""
        for traffic in self._routing.apps.values():
            traffic.lines, traffic.says = self._takes_lines(traffic.app), self._takes_words(traffic.app)

    async def see_out(self, within_s: float) -> None:
        """Until the last connection has ended; what is left after so long is cut."""
        await self._routing.retire(within_s)
        if self._waiting:
            # Its last connection may end before the next core has come so far, and these lines would end with it.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARD_WITHIN_S):
                    await self._heard.wait()
        for task in tuple(self._doing):
            task.cancel()
        await asyncio.gather(*self._doing, return_exceptions=True)

    def passed(self, text: str) -> None:
        """The core in charge has said something."""
        match read(text):
            case Here():
                self._heard.set()
                self._hand_on()
            case Joined(app=app, instance=instance, dyno=dyno, host=host, port=port):
                if (traffic := self._traffic(app)) is not None:
                    traffic.join(instance, dyno, Address(host, port))
            case Left(app=app, instance=instance):
                if (traffic := self._traffic(app)) is not None:
                    traffic.leave(instance)
            case Drain(number=number, app=app, instance=instance):
                self._do(self._drain(number, app, instance))
            case Finish(number=number):
                self._do(self._finish(number))
            case _:
                pass

    def _traffic(self, app: str) -> AppTraffic | None:
        return self._routing.apps.get(app)

    # --- what is asked of it ----------------------------------------------------------------------------------------

    def _do(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="retirement")
        self._doing.add(task)
        task.add_done_callback(self._doing.discard)

    async def _drain(self, number: int, app: str, instance: str) -> None:
        if (traffic := self._traffic(app)) is not None:
            await traffic.drain(instance)
        self._tell(Done(number=number))

    async def _finish(self, number: int) -> None:
        await self._routing.finish()
        self._tell(Done(number=number))

    # --- records ----------------------------------------------------------------------------------------------------

    def _takes_lines(self, app: str) -> Callable[[Sequence[tuple[float, str]]], None]:
        def take(lines: Sequence[tuple[float, str]]) -> None:
            if self._heard.is_set():
                self._tell(Lines(app=app, lines=tuple(lines)))
                return
            self._waiting.extend((app, at, line) for at, line in lines)
            while len(self._waiting) > MOST_WAITING:
                self._lost[self._waiting.popleft()[0]] += 1

        return take

    def _takes_words(self, app: str) -> Callable[[str, str], None]:
        return lambda dyno, message: self._tell(Says(app=app, dyno=dyno, message=message))

    def _hand_on(self) -> None:
        by_app: dict[str, list[tuple[float, str]]] = {app: [] for app in self._lost}
        for app, at, line in self._waiting:
            by_app.setdefault(app, []).append((at, line))
        for app, lines in by_app.items():
            self._tell(Lines(app=app, lines=tuple(lines), lost=self._lost[app]))
        self._waiting.clear()
        self._lost.clear()

    def _tell(self, word: Word) -> None:
        self._pass_on(IN_CHARGE, written(word))
