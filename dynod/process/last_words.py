"""A dyno's own last lines come before the line about its exit, the half one too.

Flow: slot (its process has ended) → **last words** → `Process exited with status …`. What is waited for is the reader
of the log, for as long as it takes anything: a burst of other dynos' lines may be before these. Not waited for is who
outlives the main process and may write on for its whole grace, nor a reader that is stuck, since crashes are to be
told, and dynos started again, all the same.
Imports its own package. What is read out, and how, is the pump's.
"""

import asyncio
import contextlib
from typing import Final

from dynod.process.instance import Instance
from dynod.process.placement import Output

READ_OUT_S: Final = 1.0  # for the processes that are left to end, and for one look at the reader
STUCK_S: Final = 5.0  # a reader that has taken nothing for so long does not read


async def heard_out(instance: Instance, output: Output) -> None:
    """Return once the instance's last lines are in the log, or are not to be waited for."""
    now = asyncio.get_running_loop().time
    handed_on, moved_at = output.handed_on, now()
    while not instance.finished.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READ_OUT_S):
                await instance.finished.wait()
        if not output.awaits_reader(instance.id):
            return
        if output.handed_on != handed_on:
            handed_on, moved_at = output.handed_on, now()
        elif now() - moved_at >= STUCK_S:
            return
