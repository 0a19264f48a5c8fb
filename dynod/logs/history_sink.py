"""The stream's sink in `dynod serve`: batches as text on disk, where drains and `dynod logs` read them.

Flow: stream → **history sink** (text, writer) → history folder → drains, log sessions. Handed on means that write(2)
has returned (contracts 3). A disk that is full, or fails, costs lines, which are counted and announced in the history
itself (L12) once it can be written again; it costs the dynos nothing, and the stream no exception.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from dynod.core.history_plan import Position
from dynod.core.log_buffer import BUFFER_BYTES, STALL_S
from dynod.core.log_codes import messages_dropped
from dynod.core.log_line import LogBatch, platform_batch
from dynod.core.log_text import FullText
from dynod.logs.history_folder import HistoryFolder
from dynod.logs.stdout_writer import StdoutWriter

HOUSE_S: Final = 3600.0  # between two looks at what has grown too old; growth is looked at as it happens


class HistorySink:
    """Owns the folder's writing side. `start`, then `flush_and_close`, both from the loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        folder: HistoryFolder,
        *,
        on_room: Callable[[], None],
        say: Callable[[str], None],
        stall_s: float = STALL_S,
        limit: int = BUFFER_BYTES,
    ) -> None:
        """`say` is told, in words for people, when the disk gives trouble and when it is over."""
        self.folder = folder
        self._loop = loop
        self._text = FullText()
        self._say = say
        self._start = folder.end.offset
        self._growth = asyncio.Event()
        self._segments_seen = 0
        self._house: asyncio.Future[None] | None = None
        self._house_again = False
        self._timer: asyncio.TimerHandle | None = None
        self._dropped_before = 0
        self._is_closed = False
        self._writer = StdoutWriter(
            loop,
            target=self,
            announce=self._announcement,
            on_room=on_room,
            on_closed=lambda _error: None,
            stall_s=stall_s,
            limit=limit,
        )

    def start(self) -> None:
        self._writer.start()
        self._keep_house()

    @property
    def dropped(self) -> Mapping[str, int]:
        """Lines that are in no history, by process name."""
        return self._writer.dropped

    @property
    def end(self) -> Position:
        """Behind the newest line on disk."""
        return self.folder.end

    def accept(self, batch: LogBatch, on_handed_on: Callable[[], None] | None) -> bool:
        return self._writer.write(self._text.format(batch), batch.ps, on_handed_on, patient=on_handed_on is not None)

    @property
    def is_stalled(self) -> bool:
        """The disk takes nothing now."""
        return self._writer.is_stalled

    async def grown(self, beyond: Position) -> None:
        """Wait until there is a line behind `beyond`."""
        while self.folder.end.offset <= beyond.offset:
            await self._growth.wait()

    async def settled(self) -> int:
        """Wait until all that was accepted before this call is on disk; returns the offset where that ends.

        Not for a disk that takes nothing: then what is there is all that there is.
        """
        offset = self._start + self._writer.accepted
        while self.folder.end.offset < offset and not self._writer.is_stalled and not self._is_closed:
            await self._growth.wait()
        return min(offset, self.folder.end.offset)

    async def flush_and_close(self, timeout_s: float) -> bool:
        """False: something was left unwritten after `timeout_s`."""
        flushed = await self._writer.flush_and_close(timeout_s)
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._house is not None:
            await asyncio.wait({self._house})
        self.folder.close()
        self._tell()
        return flushed

    # --- the writer's target ----------------------------------------------------------------------------------------

    def append(self, data: memoryview, /) -> int:
        return self.folder.append(data)

    def wrote(self) -> None:
        self._tell()
        if self.folder.segment_count != self._segments_seen:
            self._segments_seen = self.folder.segment_count
            self._keep_house()

    def troubled(self, error: OSError | None, /) -> None:
        self._tell()
        lost = sum(self.dropped.values()) - self._dropped_before
        if error is not None:
            self._dropped_before += lost
            self._say(
                f"the log history in {self.folder.path} cannot be written ({error.strerror or error}): "
                "lines that find no room in memory are dropped and counted; it goes on by itself"
            )
        else:
            self._say(f"the log history in {self.folder.path} is written again; {lost} lines were dropped")

    def _tell(self) -> None:
        """Wake whoever waits for lines, now and only now."""
        self._growth.set()
        self._growth = asyncio.Event()

    # --- keeping house ----------------------------------------------------------------------------------------------

    def _keep_house(self) -> None:
        """In a thread, one at a time; whatever it finds in its way is looked at again next time."""
        if self._is_closed:
            return
        if self._house is not None and not self._house.done():
            self._house_again = True
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(HOUSE_S, self._keep_house)
        self._house = self._loop.run_in_executor(None, self._tidy)
        self._house.add_done_callback(self._tidied)

    def _tidied(self, _house: asyncio.Future[None]) -> None:
        if self._house_again:
            self._house_again = False
            self._keep_house()

    def _tidy(self) -> None:
        try:
            self.folder.keep_house()
        except OSError as error:
            self._loop.call_soon_threadsafe(
                self._say, f"the log history in {self.folder.path} cannot be tidied ({error.strerror or error})"
            )

    def _announcement(self, lines: int, since: float) -> bytes:
        message = messages_dropped(lines, since)
        gap = platform_batch(time=time.time(), source="app", ps="log-shuttle", messages=(message,))
        return self._text.format(gap)
