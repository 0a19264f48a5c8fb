"""Runs a health check's command beside a dyno: an instance of its own in the dyno's folder and environment.

Flow: `probes` → **command** → placement → exit code back. Placed as dynos are, so that it is reaped, bounded and ended
like one, and runs wherever its dyno runs. What it writes stays out of the log; the end of it explains a failure.
"""

import asyncio
import contextlib
import json
import os
import signal
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from dynod.process.container import Enclosed, Wanted, not_enclosed
from dynod.process.placement import Placement
from dynod.process.probes import CommandResult

OUTPUT_KEPT: Final = 4096  # bytes, the last ones
MARK: Final = "DYNOD_CHECK"  # a variable of its own: with the dyno's marks alone, the end of one would end the other
_READ_BYTES: Final = 65_536
_NOTE_KEY: Final = "check_of"


class Place(NamedTuple):
    """Where a dyno runs."""

    cwd: str
    env: Mapping[str, str]
    enter: Callable[[Wanted], Enclosed] | None = None  # how to get into its container
    limits: Mapping[str, int] | None = None  # what a command may take, as `core.dyno_limits` has it


@dataclass(slots=True)
class _Run:
    exit_code: asyncio.Future[int]
    output: bytearray = field(default_factory=bytearray)


class CheckCommands:
    """The `Commands` of `probes`. The caller passes the keeper's events on: `exited` and `gone`."""

    def __init__(self, placement: Placement, place: Callable[[str], Place | None]) -> None:
        """`place` tells where an instance runs; None: it has gone."""
        self._placement = placement
        self._place = place
        self._runs: dict[str, _Run] = {}

    async def run_command(self, instance_id: str, argv: Sequence[str], timeout_s: float) -> CommandResult:
        """Run it, and end it when its time is up. Raises OSError where it cannot be started."""
        place = self._place(instance_id)
        if place is None:
            raise ProcessLookupError(0, "the dyno has ended")
        loop = asyncio.get_running_loop()
        run_id = str(uuid.uuid4())
        run = self._runs[run_id] = _Run(loop.create_future())
        output: int | None = None
        files: list[int] = []
        try:
            wanted = Wanted(argv, {**place.env, MARK: run_id}, of_app=True)
            inside = place.enter(wanted) if place.enter is not None else not_enclosed(wanted, place.cwd)
            files += inside.files
            launched = await self._placement.launch(
                instance_id=run_id,
                argv=inside.argv,
                env=inside.env,
                cwd=inside.cwd,
                marks=[f"{MARK}={run_id}"],
                stop_signal=signal.SIGKILL,
                grace_s=0.0,
                state=json.dumps({_NOTE_KEY: instance_id}),
                watches=inside.watches,
                owner=inside.owner,
                as_owner=inside.as_owner,
                confined=inside.confined,
                filtered=inside.filtered,
                limits=place.limits,
                files=inside.files,
            )
            output = launched.output
            os.set_blocking(output, False)
            loop.add_reader(output, self._read, output, run)
            async with asyncio.timeout(timeout_s):
                exit_code = await run.exit_code
            self._read(output, run)  # what it wrote last
            return CommandResult(exit_code, bytes(run.output))
        except TimeoutError:
            return CommandResult(None, bytes(run.output))
        except OSError:
            if output is None:
                del self._runs[run_id]  # it never was: nobody will say that it is gone
            raise
        finally:
            for fd in files:
                os.close(fd)
            if output is not None:
                loop.remove_reader(output)
                os.close(output)
            if run_id in self._runs:  # also what a command has left running behind it
                self._placement.stop(run_id, number=signal.SIGKILL, grace_s=0.0)

    def exited(self, instance_id: str, exit_code: int) -> bool:
        """The main process of an instance ended; whether that was a check's command."""
        run = self._runs.get(instance_id)
        if run is not None and not run.exit_code.done():
            run.exit_code.set_result(exit_code)
        return run is not None

    def gone(self, instance_id: str) -> bool:
        """No process of an instance is left; whether that was a check's command."""
        if self._runs.pop(instance_id, None) is None:
            return False
        self._placement.forget(instance_id)
        return True

    def _read(self, output: int, run: _Run) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(output, _READ_BYTES)
            run.output += data
            del run.output[:-OUTPUT_KEPT]
            if not data:
                asyncio.get_running_loop().remove_reader(output)  # the end: it would be ready for ever


def is_check_note(note: str) -> bool:
    """Whether an instance that an earlier core left behind was a check's command: to be ended, not adopted."""
    return _NOTE_KEY in json.loads(note)
