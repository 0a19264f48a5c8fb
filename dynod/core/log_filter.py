"""Which lines of a stream somebody wants to see, and how many of those that have been.

Flow: history, stream → **filter** → tail, `dynod logs`. First filtered, then counted: whoever asks for 100 lines of
`web.1` gets 100 where there are so many (Heroku takes the last 100 of all and filters those; heroku-semantics 6.4).
Pure. Text is searched for as it is, not as a regular expression: one that takes for ever would stop the daemon.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from dynod.core.line_condition import Condition
from dynod.core.log_history import HISTORY_LINES
from dynod.core.log_line import ROUTER_PS, LogBatch, Source

DEFAULT_LINES: Final = 100  # heroku-semantics 6.4
MOST_LINES: Final = HISTORY_LINES


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Everything that is said must hold. `process` is a dyno (`web.1`) or a process type (`web`)."""

    source: Source | None = None
    process: str | None = None
    since: float | None = None  # epoch seconds, inclusive
    until: float | None = None  # exclusive
    text: bytes = b""
    where: tuple[Condition, ...] = ()  # of the fields of router lines

    def pick(self, batch: LogBatch) -> LogBatch | None:
        """What of the batch is wanted, if anything."""
        if not self._may_want(batch):
            return None
        if not self.text and not self.where:
            return batch
        lines = [line for line in batch.text[:-1].split(b"\n") if self._wants(line)]
        if not lines:
            return None
        return LogBatch(time=batch.time, source=batch.source, ps=batch.ps, text=b"\n".join([*lines, b""]))

    def pick_all(self, batches: Iterable[LogBatch]) -> list[LogBatch]:
        """The same of many."""
        return [picked for batch in batches if (picked := self.pick(batch)) is not None]

    def _may_want(self, batch: LogBatch) -> bool:
        return (
            (self.source is None or batch.source == self.source)
            and (self.process is None or self.process in {batch.ps, batch.ps.partition(".")[0]})
            and (self.since is None or batch.time >= self.since)
            and (self.until is None or batch.time < self.until)
            and (not self.where or (batch.source == "heroku" and batch.ps == ROUTER_PS))
        )

    def _wants(self, line: bytes) -> bool:
        return self.text in line and all(condition.holds(line) for condition in self.where)


EVERYTHING: Final = LogFilter()


def newest(batches: Iterable[LogBatch], count: int) -> list[LogBatch]:
    """The last `count` lines of the batches, oldest first."""
    found: list[LogBatch] = []
    for batch in reversed(list(batches)):
        if count <= 0:
            break
        lines = batch.line_count
        found.append(batch if lines <= count else batch.last_lines(count))
        count -= lines
    found.reverse()
    return found
