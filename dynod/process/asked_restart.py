"""A restart of one slot that somebody has asked for, and who waits to hear whether the new process came up.

slot.py does it; this remembers what was asked, and answers once. May import `core`.
"""

import asyncio

from dynod.core.dyno import RestartCause


class AskedRestart:
    """`asked` until the slot begins with it; whoever waits goes on waiting until `answer`."""

    def __init__(self) -> None:
        self.asked = False
        self.word = ""  # Heroku's for the cause
        self.cause = RestartCause.ASKED
        self._waits: asyncio.Future[bool] | None = None

    def ask(self, word: str, cause: RestartCause) -> asyncio.Future[bool]:
        """Ask for one that begins after now."""
        self.word, self.cause, self.asked = word, cause, True
        return self.awaited()

    def awaited(self) -> asyncio.Future[bool]:
        """The future of all who wait for the next answer: did the new process come up?"""
        if self._waits is None:
            self._waits = asyncio.get_running_loop().create_future()
        return self._waits

    def answer(self, *, up: bool) -> None:
        """Whoever waits hears of it, unless another restart has been asked for meanwhile."""
        if self._waits is not None and not self.asked:
            if not self._waits.done():
                self._waits.set_result(up)
            self._waits = None
