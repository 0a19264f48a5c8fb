"""The trace of a request, out of its router line, for logs that are JSON: there it is a field of its own. Pure.

Flow: router lines → **trace fields** → `logs --json`, JSON drains. The names are those of OpenTelemetry's log records.
Where `log_traceparent` asks for nothing, no line ends so, and one look at its end is all that it costs. The router puts
nothing there that is unsound, and its line is the only one that is looked at: no app can write one.
"""

import re
from typing import Final, NamedTuple

from dynod.core.log_line import ROUTER_PS, LogBatch

_MARK: Final = b" traceparent="
_LENGTH: Final = len(_MARK) + 55  # Trace Context, 3.2: version, trace id, parent id and flags
_SOUND: Final = re.compile(rb" traceparent=[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Trace(NamedTuple):
    """In hexadecimal digits, as `traceparent` has them. `span_id` is the caller's span, whose child the request is."""

    trace_id: str
    span_id: str
    trace_flags: str


def may_have_traces(batch: LogBatch) -> bool:
    """Whether its lines are the router's."""
    return batch.ps == ROUTER_PS and batch.source == "heroku"


def trace_of(line: bytes) -> Trace | None:
    """Of a router line, without its end; None where it has none."""
    if not line.startswith(_MARK, -_LENGTH):
        return None
    match = _SOUND.fullmatch(line[-_LENGTH:])
    return Trace(*(part.decode("ascii") for part in match.groups())) if match is not None else None
