"""One boot of a web dyno, from launch until it listens on its PORT; what is wrong meanwhile is said.

Flow: kernel's sockets → `boot_watch` → **boot** → slot. It ends no dyno, but tells the slot why it must go.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from dynod.core.boot import ElsewhereOnly, Listening, PortTaken, TimedOut, Verdict, Waiting
from dynod.process.instance import Ending, Instance, Progress
from dynod.process.surroundings import Rules, Surroundings


class Boot:
    """The instance is watched inside the `with` block; `news` is called whenever `progress` may say something else."""

    def __init__(
        self,
        instance: Instance,
        rules: Rules,
        shared: Surroundings,
        *,
        say: Callable[[str], None],
        news: Callable[[], None],
    ) -> None:
        self._instance = instance
        self._rules = rules
        self._shared = shared
        self._say = say
        self._news = news
        self._verdicts: list[Verdict] = []

    def __enter__(self) -> Self:
        instance = self._instance
        assert instance.port is not None  # noqa: S101 (web dynos have one)
        self._shared.boots.watch(
            instance.id,
            port=instance.port,
            launched=instance.launched,
            timeout_s=self._rules.boot_timeout_s,
            tell=self._judged,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shared.boots.forget(self._instance.id)

    def progress(self) -> Progress | Ending:
        """What has been seen since the last time; the instance's address is set once it is up."""
        instance = self._instance
        while self._verdicts:
            match self._verdicts.pop(0):
                case Listening(address, everything):
                    instance.address = address
                    self._shared.listens(instance.name, everything)
                    return Progress.UP
                case ElsewhereOnly(addresses):
                    places = ", ".join(str(address) for address in addresses)
                    self._say(f"{instance.name} listens on {places}, PORT is {instance.port}")
                case PortTaken():
                    return Ending.PORT_TAKEN
                case TimedOut():
                    self._say(
                        "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within "
                        f"{self._rules.boot_timeout_s:.0f} seconds of launch"
                    )
                    if self._rules.enforce:
                        return Ending.BOOT_TIMEOUT
                case Waiting():
                    pass
        return Progress.WAITING

    def _judged(self, verdict: Verdict) -> None:
        self._verdicts.append(verdict)
        self._news()
