"""What travels in an app's log stream: batches of whole lines, each with its time, source and process name.

Flow: dyno's pipe → log_frame → **log line** → stream → stdout, later tails and drains.
Heroku's model is one message a line; a batch is many consecutive lines of one process that arrived together, because
every step after the pipe then costs one operation for thousands of lines instead of one each.
Pure: values only. Formatting is log_text's, cutting is log_frame's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Source = Literal["app", "heroku"]  # Heroku: the name of the producer's token; code's own output, or the platform

API_PS: Final = "api"
ROUTER_PS: Final = "router"
LOGPLEX_PS: Final = "logplex"  # L errors on the stream itself


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBatch:
    """Consecutive lines of one process that arrived at the same moment."""

    time: float  # seconds since the epoch, when the bytes arrived
    source: Source
    ps: str  # "web.1", "router", "api"
    text: bytes  # one or more whole lines, each ending in b"\n" and already cut at log_frame.LINE_LIMIT

    @property
    def line_count(self) -> int:
        return self.text.count(b"\n")

    def last_lines(self, count: int) -> "LogBatch":
        """The newest `count` lines of this batch; the batch itself where it has no more than that."""
        end = len(self.text)
        for _ in range(count):
            end = self.text.rfind(b"\n", 0, max(end - 1, 0)) + 1
            if end == 0:
                return self
        return LogBatch(time=self.time, source=self.source, ps=self.ps, text=self.text[end:])


def platform_batch(*, time: float, source: Source, ps: str, messages: Sequence[str]) -> LogBatch:
    """A batch of messages that dynod itself writes; a message with line breaks becomes as many lines.

    An empty message is an empty line, as in Heroku's text format (heroku-semantics 6.2). What UTF-8 cannot express
    (a lone surrogate, as Python makes of undecodable file names) is shown escaped rather than refused.
    """
    whole = "\n".join(messages).encode("utf-8", "backslashreplace")
    return LogBatch(time=time, source=source, ps=ps, text=whole.removesuffix(b"\n") + b"\n")
