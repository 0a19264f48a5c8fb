"""Carries health probes out: HTTP, listening sockets, commands; and follows the checks of one instance.

Flow: `core.healthcheck` says when → **probe** → `core.healthcheck` says what it means → the slot acts.
May import `core` and `errors`. The only user of aiohttp's client in `process`. Decides nothing.
"""

import asyncio
import errno
import random
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import aiohttp
from yarl import URL

from dynod.core.app_manifest import Healthcheck
from dynod.core.boot import Address
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
from dynod.core.probe_answer import FAILURES_FROM, Answer, judge_answer
from dynod.process.placement import Listening

PROBES_AT_ONCE: Final = 64  # a new core begins with every dyno at once
READ_LIMIT: Final = 1024 * 1024  # of a body that is searched for `content`
ERROR_PAGE_LIMIT: Final = 65_536  # of a body that explains a failure
QUOTED: Final = 200  # characters of a command's last line
PROXY_HEADERS: Final = {
    "User-Agent": "dynod-healthcheck",
    "Accept": "*/*",
    "Accept-Encoding": "identity",  # `content` is looked for in plain text
    "X-Forwarded-Proto": "https",  # apps that insist on https answer as they would behind a router with TLS
}


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
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),  # each probe has its own, over everything
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close what is open; probes under way must have been cancelled."""
        await self._session.close()

    async def probe(self, check: Healthcheck, target: Target) -> Outcome:
        """Ask once. The wait for a turn is not part of the check's timeout."""
        async with self._room:
            match strategy(check):
                case Strategy.PATH:
                    return await self._ask(check, target)
                case Strategy.COMMAND:
                    return await self._command(check, target)
                case Strategy.LISTENING:
                    return await self._listens(check, target)
                case Strategy.UPTIME:
                    return self._is_up(check, target)

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

    # --- HTTP -------------------------------------------------------------------------------------------------------

    async def _ask(self, check: Healthcheck, target: Target) -> Outcome:
        port = port_of(check, target.port)
        where = Address(target.address.host if target.address is not None else "127.0.0.1", port)
        given = {name.lower(): (name, value) for name, value in check.headers}
        headers = {name: value for name, value in PROXY_HEADERS.items() if name.lower() not in given}
        headers |= dict(given.values())
        _, host = given.get("host", ("", self._host))
        headers["Host"] = host
        answered: list[int] = []  # the status, once there is a head
        try:
            async with asyncio.timeout(check.timeout_s):
                answer = await self._get(check, where, headers, answered)
        except TimeoutError:
            if answered:
                return Failed(f"answered {answered[0]}, but its body did not end within {check.timeout_s} s")
            return Failed(f"gave no answer within {check.timeout_s} s (asked {where})")
        except aiohttp.ClientConnectorError as error:
            return Failed(_refused(error, where, target))
        except aiohttp.ServerDisconnectedError:
            return Failed(f"closed the connection without an answer (asked {where})")
        except aiohttp.ClientResponseError as error:
            return Failed(f"answered something that is not HTTP ({error.message.splitlines()[0]})")
        except ValueError as error:  # a path or header of app.json that no request can hold
            return Failed(f"cannot be asked: {error}")
        except (aiohttp.ClientError, OSError) as error:
            return Failed(f"broke off its answer ({error})")
        return judge_answer(check, answer, host=host, secure=check.scheme.lower() == "https")

    async def _get(self, check: Healthcheck, where: Address, headers: dict[str, str], answered: list[int]) -> Answer:
        scheme, path = check.scheme.lower(), check.path or "/"
        if scheme not in {"http", "https"}:
            raise ValueError(f'its scheme is "{check.scheme}", and only http and https are spoken')
        url = URL(f"{scheme}://{where}{path if path.startswith('/') else f'/{path}'}", encoded=True)
        # ssl=False: a dyno's own certificate is nobody's business but the app's.
        async with self._session.get(url, headers=headers, allow_redirects=False, ssl=False) as response:
            answered.append(response.status)
            return Answer(
                status=response.status,
                location=response.headers.get("Location", ""),
                content_type=response.headers.get("Content-Type", ""),
                body=await _read(response, check.content),
            )


async def _read(response: aiohttp.ClientResponse, wanted: str | None) -> bytes:
    """As much of the body as decides: none of a good answer, unless `wanted` is to be found in it.

    So a page that never ends (server-sent events) can be probed.
    """
    failed = response.status >= FAILURES_FROM
    if not failed and not wanted:
        return b""
    body = bytearray()
    limit = ERROR_PAGE_LIMIT if failed else READ_LIMIT
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= limit or (wanted and not failed and wanted.encode() in body):
            break
    return bytes(body)


def _refused(error: aiohttp.ClientConnectorError, where: Address, target: Target) -> str:
    if error.os_error.errno != errno.ECONNREFUSED:
        return f"could not be reached at {where} ({error.os_error.strerror or error.os_error})"
    other = f"; the dyno's PORT is {target.port}" if where.port != target.port else ""
    return f"was refused: nothing listens on {where}{other}"


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
