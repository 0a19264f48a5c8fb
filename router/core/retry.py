"""Whether a request that failed at one backend may be tried again. Pure.

design.md section 3: only where nothing was sent, or the method is idempotent and nothing was answered; to another
dyno; within one deadline and a budget. The one addition: a *kept* connection that the dyno had closed meanwhile is
not a failure of the dyno, so the same one may be asked again, on a fresh connection.
"""

from enum import Enum
from typing import Final

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})  # RFC 9110 section 9.2.2
MOST_ATTEMPTS: Final = 10  # Heroku: at most ten connection attempts a request, or one per dyno


class Verdict(Enum):
    """What to do with a request whose attempt failed."""

    GIVE_UP = "give_up"
    SAME_OR_OTHER = "same_or_other"
    OTHER = "other"


def verdict(
    *,
    method: bytes,
    request_sent: bool,
    has_body: bool,
    answered: bool,
    connection_reused: bool,
    attempts: int,
    others: int,
) -> Verdict:
    """What to do next.

    `request_sent`: at least one byte of this request was handed to the socket. `answered`: at least one byte came back.
    `has_body`: the request carries one; it is never kept, so what was sent cannot be sent again. `attempts` counts this
    one; `others` are the backends in rotation that this request has not failed at.
    """
    if answered or attempts >= MOST_ATTEMPTS:
        return Verdict.GIVE_UP
    if request_sent:
        if has_body or method not in IDEMPOTENT:
            return Verdict.GIVE_UP
        if connection_reused:
            return Verdict.SAME_OR_OTHER
    return Verdict.OTHER if others else Verdict.GIVE_UP


class RetryBudget:
    """Retries as a share of requests, so that a failing app is not asked twice as often. Owned by one pool."""

    __slots__ = ("_ceiling", "_share", "_tokens")

    def __init__(self, *, share: float = 0.2, ceiling: float = 20.0) -> None:
        self._share = share
        self._ceiling = ceiling
        self._tokens = ceiling

    def deposit(self) -> None:
        """A request came in."""
        if self._tokens < self._ceiling:
            self._tokens += self._share

    def take(self) -> bool:
        """Whether one more retry is allowed; if so it is counted."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
