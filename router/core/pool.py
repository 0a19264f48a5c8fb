"""The backends of one app, and who holds which. Pure: decides synchronously, returns the consequence.

Flow: relay claims → works → releases, exactly once each. The pool never waits: a request that cannot be served now gets
`Hold` (park it, ask again when woken) or `Refuse` (a code); `release`, `add` and `remove` say through `room()`
whether the shell should wake parked requests. Mutable, owned by the router's event loop thread.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from router.core.backend import Backend, BackendEvent, BackendState, PooledBackend, advance
from router.core.balance import Balance, choose, less_busy, two_of
from router.core.codes import Code


class AppCondition(StrEnum):
    """What an app is doing, as far as a request is concerned (Heroku semantics 5.14)."""

    SERVING = "serving"
    BOOTING = "booting"  # web dynos exist, none is up: hold, then H20
    CRASHED = "crashed"  # H10
    NO_WEB = "no_web"  # H14
    MAINTENANCE = "maintenance"  # H80, whatever the dynos do
    BLANK = "blank"  # never deployed: H81
    PARKED = "parked"  # hold every request although backends exist, during a switch; then H20


class Outcome(Enum):
    """How a claim ended, as far as the backend's health is concerned."""

    ANSWERED = "answered"
    BROKEN = "broken"  # took the request, no whole answer
    CONNECT_FAILED = "connect_failed"
    ABANDONED = "abandoned"  # the client's or our doing: says nothing about the backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """No backend now. Wait at most `limit_s` from the request's arrival; then `code`."""

    limit_s: float
    code: Code
    retry_at: float | None = None  # monotonic: when a quarantine ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """No backend, and waiting would not help."""

    code: Code


_REFUSED: Mapping[AppCondition, Refuse] = {
    AppCondition.CRASHED: Refuse(code=Code.APP_CRASHED),
    AppCondition.NO_WEB: Refuse(code=Code.NO_WEB_PROCESSES),
    AppCondition.MAINTENANCE: Refuse(code=Code.MAINTENANCE),
    AppCondition.BLANK: Refuse(code=Code.BLANK_APP),
}


# By itself: a member of an Enum costs a look-up of 0.1 µs in Python 3.11, and these are asked for every request.
_SERVING: Final = AppCondition.SERVING
_ANSWERED: Final = Outcome.ANSWERED


class BackendPool:
    """See the module. Times are monotonic seconds of one clock."""

    __slots__ = (
        "_all",
        "_serving",
        "balance",
        "boot_hold_s",
        "condition",
        "max_in_flight",
        "queue_timeout_s",
        "random",
        "slow_start_s",
    )

    def __init__(
        self,
        *,
        random: Callable[[], float],
        balance: Balance = Balance.P2C,
        max_in_flight: int = 0,
        boot_hold_s: float = 75.0,
        queue_timeout_s: float = 30.0,
        slow_start_s: float = 0.0,
    ) -> None:
        self.random = random
        self.balance = balance
        self.max_in_flight = max_in_flight  # 0: no cap
        self.boot_hold_s = boot_hold_s
        self.queue_timeout_s = queue_timeout_s
        self.slow_start_s = slow_start_s
        self.condition = AppCondition.SERVING
        self._all: dict[str, PooledBackend] = {}
        self._serving: tuple[PooledBackend, ...] = ()

    def __len__(self) -> int:
        return len(self._serving)

    def claim(
        self, now: float, *, passed_over: Collection[str] = (), prefer: str | None = None
    ) -> PooledBackend | Hold | Refuse:
        """Claim a backend, or say what else is to be done.

        `passed_over` are ids that this request has failed at; `prefer` is the id that its affinity cookie names.
        """
        condition = self.condition
        serving = self._serving
        if condition is _SERVING and len(serving) == 1 and not passed_over:
            # One dyno, the usual case: nothing to choose. 0.5 µs with its release instead of 0.9.
            only = serving[0]
            if now >= only.health.quarantined_until and (not self.max_in_flight or only.in_flight < self.max_in_flight):
                only.in_flight += 1
                return only
        elif condition in (AppCondition.MAINTENANCE, AppCondition.BLANK):
            return _REFUSED[condition]
        elif condition is AppCondition.PARKED:
            return Hold(limit_s=self.boot_hold_s, code=Code.BOOT_TIMEOUT)
        if not serving:
            return _REFUSED.get(condition) or Hold(limit_s=self.boot_hold_s, code=Code.BOOT_TIMEOUT)
        return self._claim_one_of(serving, now, passed_over, prefer)

    def release(self, entry: PooledBackend, outcome: Outcome, now: float) -> None:
        """Give a claim back. Callers do so exactly once per claim; the count going below zero is a bug."""
        if entry.in_flight <= 0:
            raise RuntimeError(f"claim on {entry.label} released twice")
        entry.in_flight -= 1
        if outcome is _ANSWERED:
            if entry.health.broken_in_a_row or entry.health.quarantined_until:
                entry.health.answered()
        elif outcome is Outcome.BROKEN:
            entry.health.answer_broke(now)
        elif outcome is Outcome.CONNECT_FAILED:
            entry.health.connect_failed(now)

    def to_tunnel(self, entry: PooledBackend) -> None:
        """The claim has become an upgraded connection: counted apart, holding no drain up."""
        if entry.in_flight <= 0:
            raise RuntimeError(f"no claim on {entry.label} to turn into a tunnel")
        entry.in_flight -= 1
        entry.tunnels += 1

    def end_tunnel(self, entry: PooledBackend) -> None:
        """An upgraded connection has ended."""
        if entry.tunnels <= 0:
            raise RuntimeError(f"tunnel on {entry.label} ended twice")
        entry.tunnels -= 1

    def others(self, backend_id: str, passed_over: Collection[str]) -> int:
        """How many backends are in rotation besides that one and those."""
        return sum(entry.id != backend_id and entry.id not in passed_over for entry in self._serving)

    def room(self, now: float) -> bool:
        """Whether a parked request would be given a backend now, or an answer."""
        if self.condition is AppCondition.PARKED:
            return False
        if not self._serving or self.condition is not AppCondition.SERVING:
            return self.condition in _REFUSED or bool(self._serving)
        cap = self.max_in_flight
        return any(
            now >= entry.health.quarantined_until and (not cap or entry.in_flight < cap) for entry in self._serving
        )

    def add(self, backend: Backend, now: float) -> PooledBackend:
        """Put a backend into rotation. The id must be new."""
        if backend.id in self._all:
            raise ValueError(f"backend {backend.id} is in the pool already")
        entry = PooledBackend(backend, now=now)
        if not self._serving:
            entry.added_at = now - self.slow_start_s  # alone: nothing to be slow beside
        self._all[backend.id] = entry
        self._refresh()
        return entry

    def drain(self, backend_id: str) -> PooledBackend:
        """Take a backend out of rotation; what it has in flight goes on."""
        entry = self._all[backend_id]
        entry.state = advance(entry.state, BackendEvent.DRAIN)
        self._refresh()
        return entry

    def remove(self, backend_id: str) -> PooledBackend | None:
        """Forget a backend. Claims on it may still be released. None if it is not there."""
        entry = self._all.pop(backend_id, None)
        if entry is not None:
            entry.state = advance(entry.state, BackendEvent.REMOVE)
            self._refresh()
        return entry

    def get(self, backend_id: str) -> PooledBackend | None:
        """The entry of that id, draining ones included."""
        return self._all.get(backend_id)

    def entries(self) -> tuple[PooledBackend, ...]:
        """All entries, draining ones included."""
        return tuple(self._all.values())

    def _refresh(self) -> None:
        self._serving = tuple(entry for entry in self._all.values() if entry.state is BackendState.SERVING)

    def _claim_one_of(
        self, serving: tuple[PooledBackend, ...], now: float, passed_over: Collection[str], prefer: str | None
    ) -> PooledBackend | Hold | Refuse:
        chosen = (
            (self._preferred(prefer, now, passed_over) if prefer is not None else None)
            or self._one_of_two(serving, now, passed_over)
            or self._one_of_all(serving, now, passed_over)
        )
        if isinstance(chosen, PooledBackend):
            chosen.in_flight += 1
        return chosen

    def _preferred(self, backend_id: str, now: float, passed_over: Collection[str]) -> PooledBackend | None:
        entry = self._all.get(backend_id)
        if entry is None or entry.state is not BackendState.SERVING:
            return None
        return entry if _can_be_had(entry, now, self.max_in_flight, passed_over) else None

    def _one_of_two(
        self, serving: tuple[PooledBackend, ...], now: float, passed_over: Collection[str]
    ) -> PooledBackend | None:
        """Of two drawn from all, if both can be had: these are as likely as any two of those that can be had.

        So only where one of them cannot are all looked at, which with 100 dynos took a sixth of a request's time.
        """
        cap = self.max_in_flight
        one, other = two_of(serving, balance=self.balance, random=self.random)
        if _can_be_had(one, now, cap, passed_over) and _can_be_had(other, now, cap, passed_over):
            return less_busy(one, other, now=now, slow_start_s=self.slow_start_s)
        return None

    def _one_of_all(
        self, serving: tuple[PooledBackend, ...], now: float, passed_over: Collection[str]
    ) -> PooledBackend | Hold | Refuse:
        healthy = [entry for entry in serving if now >= entry.health.quarantined_until]
        if not healthy:
            retry_at = min(entry.health.quarantined_until for entry in serving)
            return Hold(limit_s=self.boot_hold_s, code=Code.ALL_QUARANTINED, retry_at=retry_at)
        free = [entry for entry in healthy if _can_be_had(entry, now, self.max_in_flight, passed_over)]
        if free:
            return choose(free, balance=self.balance, now=now, slow_start_s=self.slow_start_s, random=self.random)
        if passed_over and all(entry.id in passed_over for entry in healthy):
            return Refuse(code=Code.CONNECT_REFUSED)  # the caller knows better which: it saw the failures
        return Hold(limit_s=self.queue_timeout_s, code=Code.BACKLOG_TOO_DEEP)


def _can_be_had(entry: PooledBackend, now: float, cap: int, passed_over: Collection[str]) -> bool:
    return (
        now >= entry.health.quarantined_until
        and (not cap or entry.in_flight < cap)
        and (not passed_over or entry.id not in passed_over)
    )
