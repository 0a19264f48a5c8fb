"""When to probe a dyno next, and what a row of answers means: dokku's healthchecks as a machine with injected time.

Flow: app.json → `Healthcheck` → **when to probe, what it means** → up / in or out of the router's pool / restart.
The kinds are Kubernetes': `startup` decides whether a dyno is up at all, `readiness` whether it gets requests,
`liveness` whether it is restarted. Readiness and liveness begin when every startup check has passed. Carrying a probe
out is `process.probes`' business, and what a verdict leads to is the slot's.

Sources: dokku "Zero Downtime Deploy Checks", dokku/docker-container-healthchecker "File Format", "Healthchecks".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dynod.core.app_manifest import Healthcheck
from dynod.core.boot import Address

DEFAULT_WAIT_S: Final = (
    5.0  # dokku takes a wait of 0 for "not given"; probing without a pause would be a load of its own
)
DOKKU_PORT: Final = 5000  # dokku's PORT, the same for every app: in a healthcheck it stands for "the app's port"
LONGEST_TITLE: Final = 80  # characters
BACK_AFTER: Final = 2  # passes in a row that bring a dyno back which was once out: one alone may be luck


class Kind(StrEnum):
    """What a check is for."""

    STARTUP = "startup"
    READINESS = "readiness"
    LIVENESS = "liveness"


class Strategy(StrEnum):
    """How a check is carried out."""

    COMMAND = "command"
    PATH = "path"
    LISTENING = "listening"
    UPTIME = "uptime"


def strategy(check: Healthcheck) -> Strategy:
    """What is probed; a check that names nothing asks only that the dyno still runs, as in dokku."""
    if check.command:
        return Strategy.COMMAND
    if check.path:
        return Strategy.PATH
    return Strategy.LISTENING if check.listening else Strategy.UPTIME


def conflict(check: Healthcheck) -> str | None:
    """Why dokku would refuse the check: it asks for more than one strategy. None where all is well."""
    asked = [
        name
        for name, given in (
            ("command", bool(check.command)),
            ("path", bool(check.path)),
            ("listening", check.listening),
            ("uptime", bool(check.uptime_s)),
        )
        if given
    ]
    return f"one check, one question: choose between {' and '.join(asked)}" if len(asked) > 1 else None


def title(check: Healthcheck) -> str:
    """How messages name the check: its name, else what it does; one line, and not a long one."""
    words = " ".join((check.name or _description(check)).split())
    return words if len(words) <= LONGEST_TITLE else f"{words[: LONGEST_TITLE - 1]}…"


def _description(check: Healthcheck) -> str:
    match strategy(check):
        case Strategy.COMMAND:
            return " ".join(check.command)
        case Strategy.PATH:
            return f"GET {check.path}"
        case Strategy.LISTENING:
            return "listening" if check.port is None else f"listening on {check.port}"
        case Strategy.UPTIME:
            return f"{check.uptime_s or 0} s up"


def port_of(check: Healthcheck, own_port: int) -> int:
    """The port to ask, for a dyno whose PORT is `own_port`.

    An app.json from dokku says 5000 where it means PORT, which here is another number for each dyno.
    """
    return own_port if check.port in {None, DOKKU_PORT} else check.port or own_port


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A dyno to be probed. `launched` is on the clock that the machine is driven by, in seconds."""

    instance_id: str
    name: str  # "web.1"
    port: int  # its PORT
    address: Address | None  # where it was seen to listen; None for types that need not
    launched: float


@dataclass(frozen=True, slots=True)
class Passed:
    """A probe that was answered as it should be."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A probe that was not; `reason` is a clause to be read after the check's title."""

    reason: str


Outcome = Passed | Failed


@dataclass(frozen=True, slots=True)
class Started:
    """Every startup check has passed."""


@dataclass(frozen=True, slots=True)
class StartFailed:
    """A startup check failed too often: the dyno will not come up."""

    check: Healthcheck
    failures: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ready:
    """Every readiness check passes: requests may go to the dyno."""


@dataclass(frozen=True, slots=True)
class NotReady:
    """A readiness check failed too often: no new requests."""

    check: Healthcheck
    failures: int
    reason: str


@dataclass(frozen=True, slots=True)
class Unhealthy:
    """A liveness check failed too often: the dyno is to be restarted."""

    check: Healthcheck
    failures: int
    reason: str


@dataclass(frozen=True, slots=True)
class Warned:
    """A check that only warns (`"warn": true`) failed too often."""

    check: Healthcheck
    failures: int
    reason: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """A check passes again after it was Warned or Unhealthy (where nobody restarted the dyno)."""

    check: Healthcheck


Verdict = Started | StartFailed | Ready | NotReady | Unhealthy | Warned | Recovered


def line(verdict: Verdict) -> str | None:
    """The platform's line in the log, in words that need no manual; None where there is nothing to say."""
    match verdict:
        case Started() | Ready():
            return None
        case StartFailed(check, failures, reason):
            return f"Startup check failed {_times(failures)}: {title(check)} {reason}"
        case NotReady(check, failures, reason):
            return f"Readiness check failed {_times(failures)}, no requests until it passes: {title(check)} {reason}"
        case Unhealthy(check, failures, reason):
            return f"Liveness check failed {_times(failures)}: {title(check)} {reason}"
        case Warned(check, failures, reason):
            return (
                f"{check.kind.capitalize()} check failed {_times(failures)} (a warning only): {title(check)} {reason}"
            )
        case Recovered(check):
            return f"{check.kind.capitalize()} check passes again: {title(check)}"


def _times(failures: int) -> str:
    return "once" if failures == 1 else f"{failures} times in a row"


@dataclass(slots=True)
class _Progress:
    """Where one check stands."""

    good: bool  # passed enough to count
    bad: bool = False  # failed enough to count, and said so
    failures: int = 0  # in a row
    passes: int = 0  # in a row
    reason: str = ""


class Health:
    """The checks of one instance. Synchronous: `next_at` says when to probe which, `record` what an answer means.

    `now` is any steadily rising clock in seconds, the one of `Target.launched`.
    """

    def __init__(
        self,
        checks: Sequence[Healthcheck],
        *,
        launched: float,
        now: float,
        started: bool = False,
        ready: bool = False,
        spread: float = 0.0,
    ) -> None:
        """`started` and `ready` carry over what an earlier core knew of an instance that it had already brought up.

        `spread`, from 0 up to 1, then puts off the first probe by that share of its wait: a new core takes every dyno
        over in the same moment, and need not ask them all in the same moment for ever after.
        """
        self._checks = tuple(checks)
        self._launched = launched
        self._progress = [_Progress(good=_presumed(check, started=started, ready=ready)) for check in self._checks]
        # An instance that an earlier core had taken out must earn its way back as it would have there.
        for check, progress in zip(self._checks, self._progress, strict=True):
            progress.bad = check.kind == Kind.READINESS and started and not ready and not check.warn
        self._next_at: list[float | None] = [None] * len(self._checks)
        self._started = started
        self._ready = ready and started
        self._failed = False
        if started:
            self._begin(Kind.READINESS, now, spread)
            self._begin(Kind.LIVENESS, now, spread)
        else:
            self._begin(Kind.STARTUP, now)

    @property
    def started(self) -> bool:
        """Whether every startup check has passed."""
        return self._started

    @property
    def ready(self) -> bool:
        """Whether requests may go to the dyno, as far as its readiness checks say."""
        return self._ready

    @property
    def last_reasons(self) -> tuple[tuple[Healthcheck, str], ...]:
        """The checks whose last probe failed, with the reason: what `ps --why` shows."""
        pairs = zip(self._checks, self._progress, strict=True)
        return tuple((check, progress.reason) for check, progress in pairs if progress.failures)

    def begin(self, now: float) -> list[Verdict]:
        """What holds without any probe: a dyno without startup checks is Started, without readiness checks Ready."""
        return self._settle(now)

    def next_at(self, index: int) -> float | None:
        """When the check is to be probed next; None: not now, or never again."""
        return self._next_at[index]

    def record(self, index: int, outcome: Outcome, now: float) -> list[Verdict]:
        """Take the answer to a probe of the check that ended at `now`."""
        check, progress = self._checks[index], self._progress[index]
        self._next_at[index] = now + (check.wait_s or DEFAULT_WAIT_S)
        if isinstance(outcome, Failed):
            progress.failures, progress.passes, progress.reason = progress.failures + 1, 0, outcome.reason
            said = self._failure(check, progress)
        else:
            progress.failures, progress.passes, progress.reason = 0, progress.passes + 1, ""
            said = self._pass(check, progress)
        if self._failed or (check.kind == Kind.STARTUP and progress.good) or _asks_once(check):
            self._next_at[index] = None
        if self._failed:
            self._next_at = [None] * len(self._checks)
            return said
        return [*said, *self._settle(now)]

    def _failure(self, check: Healthcheck, progress: _Progress) -> list[Verdict]:
        if progress.failures < check.attempts or progress.bad:
            return []
        progress.bad = True
        if check.warn:
            progress.good = True
            return [Warned(check, progress.failures, progress.reason)]
        progress.good = False
        match check.kind:
            case Kind.READINESS:
                return []  # said by _settle, for all readiness checks together
            case Kind.LIVENESS:
                return [Unhealthy(check, progress.failures, progress.reason)]
            case _:
                self._failed = True
                return [StartFailed(check, progress.failures, progress.reason)]

    def _pass(self, check: Healthcheck, progress: _Progress) -> list[Verdict]:
        if not progress.bad:
            progress.good = True
            return []
        if progress.passes < BACK_AFTER:
            return []
        progress.good, progress.bad = True, False
        return [] if check.kind == Kind.READINESS and not check.warn else [Recovered(check)]

    def _settle(self, now: float) -> list[Verdict]:
        """The verdicts on the dyno as a whole that have changed."""
        said: list[Verdict] = []
        if not self._started and self._all_good(Kind.STARTUP):
            self._started = True
            self._begin(Kind.READINESS, now)
            self._begin(Kind.LIVENESS, now)
            said.append(Started())
        if not self._started:
            return said
        ready = self._all_good(Kind.READINESS)
        if ready and not self._ready:
            said.append(Ready())
        elif not ready and self._ready:
            pairs = zip(self._checks, self._progress, strict=True)
            check, progress = next((c, p) for c, p in pairs if c.kind == Kind.READINESS and not p.good)
            said.append(NotReady(check, progress.failures, progress.reason))
        self._ready = ready
        return said

    def _all_good(self, kind: Kind) -> bool:
        pairs = zip(self._checks, self._progress, strict=True)
        return all(progress.good for check, progress in pairs if check.kind == kind)

    def _begin(self, kind: Kind, now: float, spread: float = 0.0) -> None:
        for index, check in enumerate(self._checks):
            if check.kind != kind:
                continue
            delay_s = check.initial_delay_s
            if strategy(check) is Strategy.UPTIME:
                delay_s = max(delay_s, check.uptime_s or 0)  # not asked before it can be true
            self._next_at[index] = max(now + spread * (check.wait_s or DEFAULT_WAIT_S), self._launched + delay_s)


def _presumed(check: Healthcheck, *, started: bool, ready: bool) -> bool:
    """Whether a check counts as good before its first probe. Readiness must be shown; liveness is presumed."""
    match check.kind:
        case Kind.STARTUP:
            return started
        case Kind.READINESS:
            return check.warn or ready
        case _:
            return True


def _asks_once(check: Healthcheck) -> bool:
    """A dyno that was up for so long stays so; if it ends, the slot hears of that without asking."""
    return strategy(check) is Strategy.UPTIME
