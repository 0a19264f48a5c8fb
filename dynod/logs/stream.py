"""The one place where everything that an app, the router, the dyno manager and the API say comes together.

Flow: pump, routing, supervisor → **stream** → sink (in `up`: stdout), history. Stamps the time of arrival, keeps the
newest lines, hands every batch to the sink in the order of arrival. When a batch counts as handed on is the sink's to
say (contracts 3). Formats nothing. Tails get the same batches; drains in `serve` read the history on disk instead.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from dynod.core.log_filter import EVERYTHING, LogFilter
from dynod.core.log_history import LogHistory
from dynod.core.log_line import API_PS, LOGPLEX_PS, ROUTER_PS, LogBatch, Source, platform_batch
from dynod.core.log_mask import LogMask
from dynod.logs.tail import Tail


class Sink(Protocol):
    """Where the stream's word is kept."""

    def accept(self, batch: LogBatch, on_handed_on: Callable[[], None] | None, /) -> bool:
        """Take the batch, call `on_handed_on` when it is written, or dropped and counted. False: no more for now.

        A batch without `on_handed_on` comes from somebody who cannot wait.
        """
        ...


# Told of a dyno's lines, and of whom to call once they are handed on; says whom the sink is to call instead.
Copy = Callable[[str, bytes, Callable[[], None]], Callable[[], None]]

Witness = Callable[[str, str], None]  # of a dyno's name, and what is said about it


class LogStream:
    """One app's stream. Owned by the loop; everything is synchronous."""

    def __init__(self, sink: Sink, *, clock: Callable[[], float], history: LogHistory | None = None) -> None:
        """`clock` gives seconds since the epoch."""
        self._sink = sink
        self._clock = clock
        self._history = history or LogHistory()
        self._tails: dict[Tail, None] = {}  # in the order in which they came
        self._mask: LogMask | None = None
        self._copy: Copy | None = None
        self.lines = 0  # so far, as of `bytes`
        self.bytes = 0
        self._witness: Witness | None = None

    def show_dynos_to(self, witness: Witness) -> None:
        """Somebody hears, besides, what the dyno manager says about dynos."""
        self._witness = witness

    def copy_to(self, copy: Copy) -> None:
        """Let somebody keep what dynos print besides the sink, as exactly: it counts as handed on once both have it."""
        self._copy = copy

    def mask(self, mask: LogMask | None) -> None:
        """From now on, hide these values in everything that is said."""
        self._mask = mask

    def follow(self, wanted: LogFilter = EVERYTHING) -> Tail:
        """Somebody wants what is published from now on, until `leave`."""
        tail = Tail(wanted)
        self._tails[tail] = None
        return tail

    def leave(self, tail: Tail) -> None:
        """It wants no more."""
        self._tails.pop(tail, None)

    def end_tails(self) -> None:
        """The app is gone, or dynod ends: nobody is left to wait for a next line."""
        for tail in self._tails:
            tail.end()

    def publish_app(self, ps: str, lines: bytes, on_handed_on: Callable[[], None]) -> bool:
        """A dyno's own output, framed. The pump's `publish`."""
        batch = self._masked(LogBatch(time=self._clock(), source="app", ps=ps, text=lines))
        self._keep(batch)
        if self._copy is not None:
            on_handed_on = self._copy(ps, batch.text, on_handed_on)
        return self._sink.accept(batch, on_handed_on)

    def platform(self, ps: str, *messages: str) -> None:
        """What the dyno manager says about a dyno: `heroku[web.1]: State changed from starting to up`."""
        said = self._say("heroku", ps, messages)
        if self._witness is not None and said is not None:
            for line in said.text.decode("utf-8", "backslashreplace").splitlines():
                self._witness(ps, line)

    def api(self, *messages: str) -> None:
        """What an operator did: `app[api]: Release v5 created by user …`."""
        self._say("app", API_PS, messages)

    def logplex(self, *messages: str) -> None:
        """What the log stream says about itself: `heroku[logplex]: Error L14 …`."""
        self._say("heroku", LOGPLEX_PS, messages)

    def router_lines(self, lines: Sequence[tuple[float, str]]) -> None:
        """Requests as `heroku[router]` lines, each with the time (epoch seconds) at which it ended."""
        for time, text in lines:
            self._add(platform_batch(time=time, source="heroku", ps=ROUTER_PS, messages=(text,)))

    def newest(self, count: int | None = None) -> tuple[LogBatch, ...]:
        """The newest `count` lines that are kept (None: all), oldest first."""
        return self._history.newest(count)

    def _say(self, source: Source, ps: str, messages: Sequence[str]) -> LogBatch | None:
        if not messages:
            return None
        return self._add(platform_batch(time=self._clock(), source=source, ps=ps, messages=messages))

    def _add(self, batch: LogBatch) -> LogBatch:
        batch = self._masked(batch)  # a path with a key in it, a command with a password
        self._keep(batch)
        self._sink.accept(batch, None)
        return batch

    def _masked(self, batch: LogBatch) -> LogBatch:
        return batch if self._mask is None else replace(batch, text=self._mask.hide(batch.text))

    def _keep(self, batch: LogBatch) -> None:
        self.lines += batch.line_count
        self.bytes += len(batch.text)
        self._history.add(batch)
        for tail in self._tails:
            tail.offer(batch)
