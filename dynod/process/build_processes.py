"""The processes of builds: each an instance of the keeper, so that it outlives the core and ends as a whole.

Flow: build → **its processes** → placement; what they print → output pump → the build's output. Which build, what it
may take and what follows from its end is decided elsewhere. The id of a build is that of its instance, so that asking
for one that runs already starts nothing.
"""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from dynod.process.container import Enclosed
from dynod.process.placement import Output, Placement

MARK: Final = "DYNOD_BUILD"  # a variable by which its processes are found again
GRACE_S: Final = 5.0  # from SIGTERM to SIGKILL, for a build that is ended
_NOTE_KEY: Final = "build"


@dataclass(slots=True)
class _Run:
    pid: int
    exit_code: int | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class BuildProcesses:
    """Those of all builds of a daemon. The caller passes the keeper's events on: `exited` and `gone`."""

    def __init__(
        self, placement: Placement, output: Output, *, limits: Callable[[], Mapping[str, int] | None] = lambda: None
    ) -> None:
        """`limits`: what a build may take, as `core.dyno_limits` has it; None: nobody limits it."""
        self._placement = placement
        self._output = output
        self._limits = limits
        self._runs: dict[str, _Run] = {}

    @property
    def known(self) -> AbstractSet[str]:
        """Builds that were started, and are not forgotten."""
        return self._runs.keys()

    async def start(self, build_id: str, enclosed: Enclosed) -> None:
        """Raises OSError where it cannot be started."""
        try:
            launched = await self._placement.launch(
                instance_id=build_id,
                argv=enclosed.argv,
                env={**enclosed.env, MARK: build_id},
                cwd=enclosed.cwd,
                marks=[f"{MARK}={build_id}"],
                stop_signal=signal.SIGTERM,
                grace_s=GRACE_S,
                state=json.dumps({_NOTE_KEY: build_id}),
                watches=enclosed.watches,
                owner=enclosed.owner,
                as_owner=enclosed.as_owner,
                confined=enclosed.confined,
                filtered=enclosed.filtered,
                shown_as=enclosed.shown_as,
                files=enclosed.files,
                limits=self._limits(),
            )
        finally:
            for fd in enclosed.files:
                os.close(fd)
        self._runs[build_id] = _Run(launched.pid)
        self._output.add(build_id, build_id, launched.output)

    def adopt(self, build_id: str, *, pid: int, output: int, exit_code: int | None, gone: bool) -> None:
        """One that an earlier core has started; takes `output` over."""
        run = self._runs[build_id] = _Run(pid, exit_code)
        if gone:
            run.gone.set()
        self._output.add(build_id, build_id, output, has_written=True)

    async def ended(self, build_id: str) -> int:
        """Wait until none of its processes is left and all that they wrote is handed on; returns the exit status."""
        run = self._runs[build_id]
        await run.gone.wait()
        await self._output.finish(build_id)
        return run.exit_code if run.exit_code is not None else -signal.SIGKILL

    def stop(self, build_id: str, *, grace_s: float = GRACE_S) -> None:
        """End every process of it; `ended` says when that is done."""
        if build_id in self._runs:
            self._placement.stop(build_id, number=signal.SIGTERM if grace_s else signal.SIGKILL, grace_s=grace_s)

    def forget(self, build_id: str) -> None:
        """What has followed from its end is written down."""
        if self._runs.pop(build_id, None) is not None:
            self._placement.forget(build_id)

    def owners(self) -> dict[str, tuple[int, str]]:
        """Of each that runs, its main process and its mark, by which its processes are found without a keeper."""
        return {id_: (run.pid, f"{MARK}={id_}") for id_, run in self._runs.items() if not run.gone.is_set()}

    def exited(self, build_id: str, exit_code: int) -> bool:
        """The main process of an instance ended; whether that was a build's. What it left behind ends with it."""
        run = self._runs.get(build_id)
        if run is None:
            return False
        run.exit_code = exit_code
        self.stop(build_id, grace_s=0.0)
        return True

    def gone(self, build_id: str) -> bool:
        """No process of an instance is left; whether that was a build's."""
        run = self._runs.get(build_id)
        if run is None:
            return False
        run.gone.set()
        return True


def is_build_note(note: str) -> bool:
    """Whether an instance that an earlier core left behind is a build's."""
    return _NOTE_KEY in json.loads(note)
