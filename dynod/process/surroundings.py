"""What a slot is given: how dynos of its type are started and held to, what it shares with the others, whom it tells.

Values and seams alone; nothing here acts. May import `core`, `errors` and the seams beside it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from dynod.core.app_manifest import Healthcheck
from dynod.core.boot import BOOT_TIMEOUT_S, Address
from dynod.core.boot import Verdict as BootVerdict
from dynod.core.container import Container
from dynod.core.dyno import StopRule
from dynod.core.healthcheck import Target, Verdict
from dynod.core.incidents import Trouble
from dynod.core.ports import PortAllotment
from dynod.core.restart import RestartPolicy
from dynod.process.attachment import HEROKU, AttachRules, Publish
from dynod.process.container import Encloses
from dynod.process.instance import Instance
from dynod.process.placement import Journal, Output, Placement, Traffic
from dynod.process.start_gate import StartGate


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the dynos of a process type are held to."""

    restart: RestartPolicy
    enforce: bool  # `up` only reports R10 and failed health checks: a breakpoint is not a timeout (contracts 8)
    boot_timeout_s: float = BOOT_TIMEOUT_S
    cycle_s: float = 0.0  # replaced by a fresh dyno after so long, and up to CYCLE_SPREAD longer; 0: never


class Command(NamedTuple):
    """How the dynos of a process type are started."""

    argv: Sequence[str]
    shown: str  # as the Procfile has it
    cwd: str
    environment: Callable[[str, int | None], Mapping[str, str]]  # dyno name, port → its variables
    stop: StopRule
    rules: Rules
    checks: Sequence[Healthcheck] = ()
    release: int = 0  # the version that it belongs to; 0 where there are no releases
    overlaps: bool = False  # as web does anyway: a successor boots beside the old process
    container: Container | None = None  # what its processes are put in
    enters: str | None = None  # the instance that it runs in the place of: its container, folder, user and environment


@dataclass(slots=True, kw_only=True)
class Trial:
    """What a process of a new release has to prove before the old one goes, shared by those that go together.

    One that boots beside the old process gets no request before it has stayed up for `settle_s` and `go` is true: the
    dynos of the other types have proven themselves too. Whoever sets `go` tells the slots that something has changed.
    """

    settle_s: float
    go: bool = True
    beside: bool = True  # False: no memory for two at once, the old process goes first


class Reports(Protocol):
    """Who is told of what goes wrong with an app's dynos."""

    def failed(self, trouble: Trouble, subject: str, detail: str, /) -> None: ...
    def well(self, trouble: Trouble, subject: str, /) -> None: ...
    def gone(self, subject: str, /) -> None: ...
    def note(self, action: str, detail: str, /) -> None: ...


class Boots(Protocol):
    """Looks out for a booting dyno's listening socket."""

    def watch(
        self, instance_id: str, *, port: int, launched: float, timeout_s: float, tell: Callable[[BootVerdict], None]
    ) -> None: ...
    def forget(self, instance_id: str) -> None: ...


class Checks(Protocol):
    """Carries health checks out."""

    async def run(
        self,
        target: Target,
        checks: Sequence[Healthcheck],
        on_verdict: Callable[[Verdict], None],
        *,
        started: bool = False,
        ready: bool = False,
    ) -> None:
        """Until cancelled, or there is nothing more to ask."""
        ...


class Unheard:
    """Nobody."""

    def failed(self, trouble: Trouble, subject: str, detail: str) -> None: ...
    def well(self, trouble: Trouble, subject: str) -> None: ...
    def gone(self, subject: str) -> None: ...
    def note(self, action: str, detail: str) -> None: ...


class LastLines(NamedTuple):
    """What a dyno wrote last."""

    lines: Sequence[str]
    at: float  # when the newest came (epoch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every slot of an app shares."""

    app: str
    placement: Placement
    output: Output
    journal: Journal
    traffic: Traffic
    boots: Boots
    ports: PortAllotment
    port_is_free: Callable[[int], bool]
    exited: Callable[[str, int], None]  # a dyno ended by itself: name, exit code
    gate: StartGate
    clock: Callable[[], float]  # seconds since the epoch
    random: Callable[[], float]  # from 0 up to 1
    health: Checks | None = None  # follows the checks of commands that have any
    listens: Callable[[str, Sequence[Address]], None] = lambda _name, _addresses: None  # a web dyno is up: all of its
    publish: Publish = lambda _ps, _lines, _on_handed_on: True  # lines of dynos that are not in `output`
    attach: AttachRules = HEROKU
    last_lines: Callable[[str, float], LastLines] = lambda _name, _since: LastLines((), 0.0)  # of a dyno, since then
    reports: Reports = field(default_factory=Unheard)
    limits: Callable[[str], Mapping[str, int] | None] = lambda _name: None  # of a dyno, by `core.dyno_limits`
    containers: Encloses | None = None  # where commands have containers
    pid_of: Callable[[str], int | None] = lambda _instance_id: None  # as the keeper has it


class Attendant(Protocol):
    """The supervisor, as its slots see it."""

    def attend(self, instance: Instance) -> None: ...  # see it out in a task of its own
    def account(self, instance: Instance) -> None: ...  # the slot has drawn the consequences of its end
    def in_background(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]: ...
    def state_changed(self) -> None: ...
    def booted(self, name: str, took_s: float) -> None: ...  # from its launch until it was up
    @property
    def hastened(self) -> bool: ...  # a person will not wait for anybody's grace
