"""Carries health probes out: listening sockets, commands, HTTP by `http_probe`; follows the checks of one instance.

Flow: `core.healthcheck` says when → **probe** → `core.healthcheck` says what it means → the slot acts.
May import `core` and `errors`. Decides nothing.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from dynod.core.app_manifest import Healthcheck
from dynod.core.healthcheck import (
    Failed,
    Health,
    Kind,
    Outcome,
    Passed,
    Started,
    StartFailed,
    Strategy,
    Target,
    Verdict,
    port_of,
    strategy,
)
from dynod.process.placement import Listening

if TYPE_CHECKING:
    from dynod.process.http_probe import HttpProbe

PROBES_AT_ONCE: Final = 64  # a new core begins with every dyno at once
QUOTED: Final = 200  # characters of a command's last line


class CommandResult(NamedTuple):
    """The end of a check's command; `exit_code` None: it was ended because its time was up."""

    exit_code: int | None
    output: bytes = b""  # the last of it


class Commands(Protocol):
    """Runs a command where a dyno runs: its folder, environment, user."""

    async def run_command(self, instance_id: str, argv: Sequence[str], timeout_s: float) -> CommandResult:
        """Raises OSError where it cannot be started."""
        ...


class Probes(Protocol):
    """`Prober`."""

    async def probe(self, check: Healthcheck, target: Target) -> Outcome: ...


class Prober:
    """Asks one question at a time of one dyno. Made inside the running loop; `close` when done."""

    def __init__(self, *, listening: Listening, commands: Commands, host: str, clock: Callable[[], float]) -> None:
        """`host` is the Host header of HTTP probes where a check names none; `clock` that of `Target.launched`."""
        self._listening = listening
        self._commands = commands
        self._host = host
        self._clock = clock
        self._room = asyncio.Semaphore(PROBES_AT_ONCE)
        self._http: HttpProbe | None = None

    async def close(self) -> None:
        """Close what is open; probes under way must have been cancelled."""
        if self._http is not None:
            await self._http.close()

    async def probe(self, check: Healthcheck, target: Target) -> Outcome:
        """Ask once. The wait for a turn is not part of the check's timeout."""
        async with self._room:
            match strategy(check):
                case Strategy.PATH:
                    return await self._by_http().ask(check, target)
                case Strategy.COMMAND:
                    return await self._command(check, target)
                case Strategy.LISTENING:
                    return await self._listens(check, target)
                case Strategy.UPTIME:
                    return self._is_up(check, target)

    def _by_http(self) -> "HttpProbe":
        if self._http is None:
            from dynod.process.http_probe import HttpProbe  # noqa: PLC0415 (aiohttp: 0.1 s, for checks that need it)

            self._http = HttpProbe(self._host)
        return self._http

    def _is_up(self, check: Healthcheck, target: Target) -> Outcome:
        up_s = self._clock() - target.launched
        wanted_s = check.uptime_s or 0
        return Passed() if up_s >= wanted_s else Failed(f"is up for {up_s:.0f} s only")

    async def _listens(self, check: Healthcheck, target: Target) -> Outcome:
        port = port_of(check, target.port)
        own = (await self._listening.sight({target.instance_id: port}))[target.instance_id].own
        if any(address.port == port for address in own):
            return Passed()
        places = ", ".join(str(address) for address in sorted(own))
        return Failed(f"found nothing on port {port}; the dyno listens on {places or 'no port at all'}")

    async def _command(self, check: Healthcheck, target: Target) -> Outcome:
        try:
            result = await self._commands.run_command(target.instance_id, check.command, check.timeout_s)
        except OSError as error:
            return Failed(f"could not be started: {error.strerror}")
        match result.exit_code:
            case 0:
                return Passed()
            case None:
                return Failed(f"was not done within {check.timeout_s} s{_last_line(result.output)}")
            case exit_code:
                return Failed(f"exited with status {_status(exit_code)}{_last_line(result.output)}")


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    said = "".join(each for each in lines[-1].strip()[:QUOTED] if each.isprintable()) if lines else ""
    return f': "{said}"' if said else ""


def _status(exit_code: int) -> int:
    return exit_code if exit_code >= 0 else 128 - exit_code


class HealthWatch:
    """Follows the checks of instances; `run` is one task an instance, owned by the caller."""

    def __init__(self, prober: Probes, *, clock: Callable[[], float], rng: Callable[[], float] = random.random) -> None:
        """`clock` must be the running loop's; `rng` gives numbers from 0 up to 1."""
        self._prober = prober
        self._clock = clock
        self._rng = rng

    async def run(
        self,
        target: Target,
        checks: Sequence[Healthcheck],
        on_verdict: Callable[[Verdict], None],
        *,
        started: bool = False,
        ready: bool = False,
    ) -> None:
        """Probe until cancelled, until a startup check has failed, or until there is nothing more to ask.

        `on_verdict` is called in the loop, and must not block. `started` and `ready` are what an earlier core knew.
        """
        health = Health(
            checks, launched=target.launched, now=self._clock(), started=started, ready=ready, spread=self._rng()
        )
        begun = asyncio.Event()
        if started:
            begun.set()
        tasks: list[asyncio.Task[None]] = []

        def tell(verdicts: Sequence[Verdict]) -> None:
            for verdict in verdicts:
                on_verdict(verdict)
                if isinstance(verdict, Started):
                    begun.set()
                if isinstance(verdict, StartFailed):
                    for task in tasks:
                        if task is not asyncio.current_task():
                            task.cancel()

        async def follow(index: int, check: Healthcheck) -> None:
            if check.kind != Kind.STARTUP:
                await begun.wait()
            while (at := health.next_at(index)) is not None:
                await asyncio.sleep(max(0.0, at - self._clock()))
                outcome = await self._prober.probe(check, target)
                tell(health.record(index, outcome, self._clock()))

        tell(health.begin(self._clock()))
        async with asyncio.TaskGroup() as group:
            for index, check in enumerate(checks):
                name = f"health:{target.name}:{check.kind}:{index}"
                tasks.append(group.create_task(follow(index, check), name=name))
