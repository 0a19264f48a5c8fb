"""One drain of an app: takes lines, frames them, sends them, and accounts for every one.

Flow: supply → **drain** → transport → receiver. What to do after each attempt is `core/drain_policy`'s decision, what a
frame looks like `core/syslog_frame`'s. A drain that cannot keep up loses the oldest lines and says how many to its own
receiver (L10), to nobody else; neither the stream nor another drain notices.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from dynod.core.drain_ledger import Ledger
from dynod.core.drain_policy import DrainPolicy, Outcome, RetryRules, Step
from dynod.core.journal_json import json_lines
from dynod.core.log_codes import drain_overflow
from dynod.core.log_line import LOGPLEX_PS, LogBatch, platform_batch
from dynod.core.log_text import FullText
from dynod.core.syslog_frame import FrameForm, frame_batch, frame_loss
from dynod.logs.drain_supply import Portion, Supply
from dynod.logs.drain_transport import Frame, Transport

# Of text at once. Over HTTP what is about logplex' 102,400 bytes of frames (heroku-semantics 6.7); elsewhere more, as
# each portion costs a change of threads and a round trip: with that and the record written once, five syslog drains
# cost 5.8 us of CPU a line instead of 10.1 (loadtests/log_drains.py, three runs of each, in turns).
HTTP_TARGET_BYTES: Final = 80 * 1024
TARGET_BYTES: Final = 256 * 1024
LOCAL_TROUBLE_S: Final = 1.0  # between two looks at a history that cannot be read


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainHealth:
    """How a drain does. Times are seconds since the epoch."""

    sent: int
    dropped: int
    lag_lines: int
    lag_bytes: int
    failures: int  # attempts in a row
    last_error: str  # "" for none yet
    last_error_at: float
    delivered_at: float  # 0: never
    waits_until: float  # 0: it does not


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How a drain's lines are written, frames, JSON, or text, and about how many bytes of them at once."""

    app: str
    frames: FrameForm | None
    as_json: bool = False
    target_bytes: int = TARGET_BYTES

    def body(self, batches: tuple[LogBatch, ...]) -> bytes:
        """All of the batches' lines."""
        if self.frames is not None:
            form = self.frames
            return b"".join([frame_batch(form, batch) for batch in batches])
        if self.as_json:
            return b"".join([json_lines(self.app, batch) for batch in batches])
        text = FullText()
        return b"".join([text.format(batch) for batch in batches])

    def loss(self, lines: int, since: float) -> bytes:
        """L10, for this drain's eyes alone. The same whenever it is written, as is the frame that it stands in."""
        if self.frames is not None:
            return frame_loss(self.frames, lines=lines, since=since, at=since)
        message = drain_overflow(lines, since)
        batch = platform_batch(time=float(int(since)), source="heroku", ps=LOGPLEX_PS, messages=(message,))
        return self.body((batch,))


class Drain:
    """`run` it as a task, until it is cancelled or its supply ends."""

    def __init__(
        self,
        *,
        supply: Supply,
        transport: Transport,
        writing: Writing,
        rules: RetryRules,
        clock: Callable[[], float],
        random: Callable[[], float],
        distrusts: Callable[[], None] = lambda: None,
    ) -> None:
        """`clock` gives seconds since the epoch; `distrusts` is called when the receiver's certificate is not trusted,
        once until it is.
        """
        self._supply = supply
        self._transport = transport
        self._writing = writing
        self._policy = DrainPolicy(rules)
        self._clock = clock
        self._random = random
        self._distrusts = distrusts
        self._has_distrusted = False
        self._last_error = ""
        self._last_error_at = 0.0
        self._delivered_at = 0.0
        self._waits_until = 0.0
        self._nudge = asyncio.Event()
        self._moved = asyncio.Event()
        self._is_over = False

    def rename(self, app: str) -> None:
        """Lines that name their app name this one from now on."""
        self._writing = replace(self._writing, app=app)

    @property
    def health(self) -> DrainHealth:
        ledger = self._supply.ledger
        lag_lines, lag_bytes = self._supply.lag()
        return DrainHealth(
            sent=ledger.sent,
            dropped=ledger.dropped,
            lag_lines=lag_lines,
            lag_bytes=lag_bytes,
            failures=self._policy.failures,
            last_error=self._last_error,
            last_error_at=self._last_error_at,
            delivered_at=self._delivered_at,
            waits_until=self._waits_until,
        )

    def hasten(self) -> None:
        """Try again now, instead of when the waiting is over."""
        self._nudge.set()

    async def emptied(self) -> None:
        """Wait until everything is sent or dropped; not for a receiver that takes nothing now."""
        while self._supply.lag()[0] > 0 and self._waits_until == 0 and not self._is_over:
            await self._moved.wait()

    async def run(self) -> None:
        try:
            while True:
                try:
                    portion = await self._supply.take(self._writing.target_bytes)
                    if portion is None:
                        return
                    await self._carry(portion)
                except OSError as error:  # of the history or the ledger: a disk's trouble passes
                    self.note(f"the log history cannot be read: {error.strerror or error}")
                    await self._wait(LOCAL_TROUBLE_S)
        finally:
            self._is_over = True
            self._tell()
            self._supply.close()
            with contextlib.suppress(OSError):
                await self._transport.close()

    async def _carry(self, portion: Portion) -> None:
        """Send a portion, or give it up."""
        supply = self._supply
        if portion.lost:
            # Written down before anything is sent, so that the same frame tells of it after a crash.
            lost = supply.ledger.was_dropped(portion.lost, end=portion.start, now=portion.lost_since)
            await self._settle(lost.began(portion.end.offset), at_once=True)
        if not portion.batches:
            return
        announces = supply.ledger.unsaid > 0
        frame = self._frame(portion)
        while True:
            delivery = await self._transport.send(frame)
            verdict = self._policy.after(
                delivery.outcome, now=asyncio.get_running_loop().time(), chance=self._random(), asked_s=delivery.asked_s
            )
            self._take_note(delivery.outcome, delivery.error, distrusted=delivery.distrusted)
            if verdict.step is Step.GO_ON:
                await self._settle(supply.ledger.was_sent(portion.lines, end=portion.end, announced=announces))
                return
            if verdict.step is Step.LET_GO:
                await self._settle(supply.ledger.was_dropped(portion.lines, end=portion.end, now=self._clock()))
                await self._wait(verdict.wait_s)
                return
            await self._wait(verdict.wait_s)
            if supply.is_behind():
                self._policy.let_go()
                await self._settle(supply.ledger.was_dropped(portion.lines, end=portion.end, now=self._clock()))
                return

    async def _settle(self, ledger: Ledger, *, at_once: bool = False) -> None:
        await self._supply.settle(ledger, at_once=at_once)
        self._tell()

    def _tell(self) -> None:
        """Wake whoever waits for this drain to have nothing left, now and only now."""
        self._moved.set()
        self._moved = asyncio.Event()

    def _frame(self, portion: Portion) -> Frame:
        body = self._writing.body(portion.batches)
        ledger = self._supply.ledger
        messages = portion.lines
        if ledger.unsaid:
            body = self._writing.loss(ledger.unsaid, ledger.unsaid_since) + body
            messages += 1
        return Frame(body=body, messages=messages)

    def _take_note(self, outcome: Outcome, error: str, *, distrusted: bool) -> None:
        if outcome is Outcome.DELIVERED:
            self._delivered_at = self._clock()
            self._has_distrusted = False
            return
        self.note(error)
        if distrusted and not self._has_distrusted:
            self._has_distrusted = True
            self._distrusts()

    def note(self, error: str) -> None:
        """What went wrong, for whoever asks how the drain does."""
        self._last_error = error
        self._last_error_at = self._clock()

    async def _wait(self, seconds: float) -> None:
        if seconds <= 0:
            return
        self._waits_until = self._clock() + seconds
        self._tell()
        self._nudge.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._nudge.wait()
        except TimeoutError:
            pass
        finally:
            self._waits_until = 0.0
