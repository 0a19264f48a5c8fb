"""What a drain does next: the next frame, the same one again, or let it go; and how long it waits before.

Flow: history → drain, which asks the **policy** → receiver. Logplex' rules (heroku-semantics 6.7, 6.8): a frame that
was posted and not accepted is tried three times in all, one that is refused for good (4xx) not again, and where
nothing could be sent nothing is used up: the lines wait in their history or buffer, whose bound is what limits that.
The waiting times are ours: logplex' 10 ms steps would spend all three tries on a receiver that restarts within a
second. Pure: time and chance are passed in.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Outcome(Enum):
    """How sending a frame ended."""

    DELIVERED = "delivered"
    REFUSED = "refused"  # 4xx but 429: it will never be taken
    FAILED = "failed"  # it was sent, or some of it, and not taken
    UNREACHABLE = "unreachable"  # nothing was sent: no connection, no handshake, no trust


class Step(Enum):
    """What to do with the frame."""

    GO_ON = "go on"
    AGAIN = "again"
    LET_GO = "let go"  # dropped, counted, announced (L10)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """`tries` of a frame; None: without end. Waiting begins at `first_s` and doubles up to `longest_s`."""

    tries: int | None
    first_s: float = 1.0
    longest_s: float = 60.0
    good_s: float = 30.0  # a connection that lasted as long is made anew at once


HTTP_RULES: Final = RetryRules(tries=3)
SYSLOG_RULES: Final = RetryRules(tries=None, longest_s=300.0)
LOCAL_RULES: Final = RetryRules(tries=None, longest_s=10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do, and how long to wait before anything else is sent."""

    step: Step
    wait_s: float = 0.0


class DrainPolicy:
    """Owned by one drain; asked once after each attempt."""

    __slots__ = ("_failures", "_good_since", "_rules", "_tries")

    def __init__(self, rules: RetryRules) -> None:
        self._rules = rules
        self._failures = 0  # in a row, over frames too
        self._tries = 0  # of this frame
        self._good_since: float | None = None

    @property
    def failures(self) -> int:
        """How many attempts in a row have failed."""
        return self._failures

    def after(self, outcome: Outcome, *, now: float, chance: float, asked_s: float = 0.0) -> Verdict:
        """`chance` is from 0 to 1; `asked_s` is what the receiver asked for (Retry-After)."""
        if outcome is Outcome.DELIVERED or outcome is Outcome.REFUSED:
            self._tries = self._failures = 0
            self._good_since = now if self._good_since is None else self._good_since
            return Verdict(step=Step.GO_ON if outcome is Outcome.DELIVERED else Step.LET_GO)
        was_good = self._good_since is not None and now - self._good_since >= self._rules.good_s
        self._good_since = None
        self._failures += 1
        if outcome is Outcome.FAILED:
            self._tries += 1
        wait_s = 0.0 if was_good and not asked_s else self._wait_s(chance, asked_s)
        if self._rules.tries is not None and self._tries >= self._rules.tries:
            self._tries = 0
            return Verdict(step=Step.LET_GO, wait_s=wait_s)
        return Verdict(step=Step.AGAIN, wait_s=wait_s)

    def let_go(self) -> None:
        """The frame was dropped for another reason; the next one begins with all its tries."""
        self._tries = 0

    def _wait_s(self, chance: float, asked_s: float) -> float:
        """Doubling, and anything from half of that to all of it, so that many drains do not come back as one."""
        whole = min(self._rules.first_s * 2.0 ** min(self._failures - 1, 30), self._rules.longest_s)
        return max(whole * (0.5 + chance / 2), min(asked_s, self._rules.longest_s))
