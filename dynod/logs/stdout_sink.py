"""The stream's sink in `dynod up`: batches as text on stdout.

Flow: stream → **stdout sink** (text, writer) → terminal, file or pipe. Joins log_text and StdoutWriter, nothing more;
which form and which colours are the caller's decision.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

from dynod.core.log_buffer import BUFFER_BYTES, STALL_S
from dynod.core.log_codes import tail_overflow
from dynod.core.log_line import LOGPLEX_PS, LogBatch, platform_batch
from dynod.core.log_text import FullText, LogText, TerminalText
from dynod.logs.stdout_writer import StdoutWriter
from dynod.logs.write_mark import WriteMark


def local_text(*, colour: bool, name_width: int = 0, full: bool = False) -> TerminalText:
    """The terminal form in this machine's time zone; `full`: with Heroku's full time stamps."""
    return TerminalText(
        colour=colour, utc_offset_s=lambda at: time.localtime(at).tm_gmtoff, name_width=name_width, full=full
    )


class StdoutSink:
    """Formats and writes. `flush_and_close` at the end, from whoever called `start`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        text: LogText | None = None,
        fd: int = 1,
        on_room: Callable[[], None],
        on_closed: Callable[[OSError], None],
        stall_s: float = STALL_S,
        limit: int = BUFFER_BYTES,
        mark: WriteMark | None = None,
        ends_broken_line: bool = False,
    ) -> None:
        """`text` None: the full form. The rest as StdoutWriter's."""
        self._text = text or FullText()
        self._writer = StdoutWriter(
            loop,
            fd=fd,
            announce=self._announcement,
            on_room=on_room,
            on_closed=on_closed,
            stall_s=stall_s,
            limit=limit,
            mark=mark,
            ends_broken_line=ends_broken_line,
        )

    def start(self) -> None:
        self._writer.start()

    @property
    def dropped(self) -> Mapping[str, int]:
        """Lines dropped because nobody took them, by process name."""
        return self._writer.dropped

    def accept(self, batch: LogBatch, on_handed_on: Callable[[], None] | None) -> bool:
        return self._writer.write(self._text.format(batch), batch.ps, on_handed_on, patient=on_handed_on is not None)

    async def flush_and_close(self, timeout_s: float) -> bool:
        """False: something was left unwritten after `timeout_s`."""
        return await self._writer.flush_and_close(timeout_s)

    def _announcement(self, lines: int, since: float) -> bytes:
        message = tail_overflow(lines, since)
        gap = platform_batch(time=time.time(), source="heroku", ps=LOGPLEX_PS, messages=(message,))
        return self._text.format(gap)
