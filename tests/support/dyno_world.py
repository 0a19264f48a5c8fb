"""Slots and their supervisor on virtual time, between fakes: histories of (time, what happens) played through them.

The fakes do what keeper, pump, router and kernel do, as far as a slot can tell; processes live by the script that a
history gives them. Every line of the log and every call is recorded with its time.
"""

import asyncio
import contextlib
import errno
import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from dynod.core.boot import Address
from dynod.core.dyno import InstanceEvent, StopRule
from dynod.core.ports import PortAllotment
from dynod.core.restart import POLICIES, RestartPolicy
from dynod.core.serving import WebCondition
from dynod.process.boot_watch import BootWatch, Seen, SocketTable
from dynod.process.instance import Instance
from dynod.process.release_change import ChangeRules, ReleaseChange
from dynod.process.start_gate import StartGate
from dynod.process.supervisor import Supervisor
from dynod.process.surroundings import Command, Rules, Surroundings
from support.virtual_time import run_virtually

APP: Final = "demo"
EPOCH: Final = 1_700_000_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the processes of a type live. Times in seconds after the launch, or after the signal."""

    listens_after_s: float | None = 1.0  # on its PORT; None: never
    listens_on: int | None = None  # another port
    exits_after_s: float | None = None
    exit_code: int = 0
    leaves_after_s: float | None = 0.1  # the stop signal; None: ignores it
    writes: bool = True
    refused: int | None = None  # errno
    refused_during: str = "exec"
    launch_takes_s: float = 0.0
    port_taken: bool = False  # somebody else listens there


class _RefusedError(OSError):
    """As the keeper's client raises it."""

    def __init__(self, number: int, during: str) -> None:
        super().__init__(number, os.strerror(number))
        self.during = during


class Launched(NamedTuple):
    """What the placement answers."""

    pid: int
    started_at: float
    output: int
    input: int | None = None


@dataclass(slots=True)
class Process:
    """One instance as the fake keeper has it."""

    id: str
    name: str
    port: int | None
    behaviour: Behaviour
    launched: float
    pid: int
    note: str
    release: int = 0
    exit_code: int | None = None
    gone: bool = False
    stopping: bool = False
    timers: list[asyncio.TimerHandle] = field(default_factory=list)


class World:
    """One app. `play` runs a history."""

    def __init__(
        self,
        behaviours: Mapping[str, Sequence[Behaviour]],
        *,
        strict: bool = True,
        restart: RestartPolicy = POLICIES["ladder"],
        draw: float = 0.5,
        width: int = 100,
        cycle_s: float = 0.0,
    ) -> None:
        """`behaviours`: by process type, those of its first, second … launch; the last one is that of all later."""
        self.behaviours = behaviours
        self.launches: dict[str, int] = {}
        self.processes: dict[str, Process] = {}
        self.kept: dict[str, str] = {}
        self.forgotten: list[str] = []
        self.lines: list[tuple[float, str, str]] = []
        self.calls: list[tuple[float, str, str]] = []
        self.conditions: list[tuple[float, WebCondition]] = []
        self.exits: list[tuple[str, int]] = []
        self.drain_takes_s = 0.0
        self.finish_takes_s = 0.0
        self.log_reader: str | None = None  # "slow" or "stuck": takes its time for the last lines, or takes none
        self._looks = 0
        self.outcomes: list[tuple[float, str | None]] = []  # of changes of release: the dyno that failed, or None
        self.live = 0  # the release that is
        self.new: dict[str, Behaviour] = {}  # how the processes of another one live, by type
        self.pending: tuple[int, ChangeRules] | None = None  # the one that is to be
        self.ports_are_free = True
        self.supervisor: Supervisor
        self.now = 0.0
        self._core_lives = False
        self._rules = Rules(restart=restart, enforce=strict, cycle_s=cycle_s)
        self._draw = draw
        self._width = width

    # --- a history ---------------------------------------------------------------------------------------------------

    def play(
        self,
        formation: Mapping[str, int],
        *events: tuple[float, Callable[["World"], object]],
        until: float,
    ) -> "World":
        """Start the formation, have each event happen in its time, and let the core die at `until`.

        Played again, the next core takes over: times go on. A core dies as by `kill -9`: no dyno is touched.
        """

        async def history() -> None:
            loop = asyncio.get_running_loop()
            with contextlib.suppress(asyncio.CancelledError):
                async with asyncio.TaskGroup() as group:
                    table = _Table(self)
                    boots = BootWatch(table)
                    group.create_task(boots.run(), name="boots")
                    self._group = group
                    self.supervisor = Supervisor(group, self._surroundings(boots), self._commands(self.live))
                    self._core_lives = True
                    self._adopt()
                    if self.pending is not None:
                        self.release(*self.pending)
                    self.supervisor.scale(formation, "test")
                    for time, event in events:
                        loop.call_at(time, event, self)
                    await asyncio.sleep(until - loop.time())
                    for process in self.processes.values():
                        for timer in process.timers:
                            timer.cancel()
                    self._core_lives = False
                    self.now = loop.time()
                    this = asyncio.current_task()
                    assert this is not None
                    this.cancel()
                    await asyncio.sleep(0)

        run_virtually(history(), start_s=self.now)
        return self

    def of(self, ps: str) -> list[tuple[float, str]]:
        """The platform lines of a dyno, each with its time."""
        return [(round(time, 2), message) for time, name, message in self.lines if name == ps]

    def said(self, ps: str) -> list[str]:
        """The platform lines of a dyno."""
        return [message for _, message in self.of(ps)]

    def called(self, *names: str) -> list[str]:
        """The calls by these names."""
        return [f"{name} {what}".strip() for _, name, what in self.calls if name in names]

    @property
    def ports(self) -> list[int | None]:
        """Those given, in order of launch."""
        return [process.port for process in self.processes.values()]

    # --- a change of release -----------------------------------------------------------------------------------------

    def release(self, version: int, rules: ChangeRules) -> None:
        """Go over to a release, and back when that fails, as the daemon does."""
        self.pending = version, rules
        change = ReleaseChange(self.supervisor, self._commands(version), rules, f"release v{version}")

        async def go() -> None:
            failed = await change.go_live()
            self.outcomes.append((round(asyncio.get_running_loop().time(), 2), failed))
            if failed is None:
                self.live = version
                self.supervisor.go_by(self._commands(version))
            else:
                await change.undo(self._commands(self.live))
            self.pending = None

        self._group.create_task(go(), name="change")

    def releases(self) -> dict[str, list[int]]:
        """Of each dyno, the releases of those of its processes that are not gone."""
        found: dict[str, list[int]] = {}
        for process in self.processes.values():
            if not process.gone:
                found.setdefault(process.name, []).append(process.release)
        return found

    # --- what happens to processes -----------------------------------------------------------------------------------

    def process(self, name: str) -> Process:
        """The newest of a dyno."""
        return [process for process in self.processes.values() if process.name == name][-1]

    def exit(self, name: str, exit_code: int) -> None:
        """The main process of a dyno ends by itself."""
        self._end(self.process(name), exit_code)

    def kill(self, name: str) -> None:
        """The grace of a dyno runs out."""
        self._kill(self.process(name))

    # --- Placement ---------------------------------------------------------------------------------------------------

    async def launch(
        self,
        *,
        instance_id: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        marks: Sequence[str],
        stop_signal: int,
        grace_s: float,
        state: str,
        terminal: tuple[int, int] | None = None,
        stdin: bool = False,
        watches: bool = False,
        owner: tuple[int, int] | None = None,
        shown_as: tuple[str, str] | None = None,
        files: Sequence[int] = (),
        limits: Mapping[str, int] | None = None,
        as_owner: bool = False,
        confined: bool = False,
        filtered: bool = False,
    ) -> Launched:
        del argv, cwd, stop_signal, grace_s, terminal, stdin
        del watches, owner, shown_as, files, limits, as_owner, confined, filtered
        assert set(marks) <= {f"{name}={value}" for name, value in env.items()}
        name = env["DYNO"]
        process_type = name.rpartition(".")[0]
        number = self.launches[process_type] = self.launches.get(process_type, 0) + 1
        script = self.behaviours[process_type]
        release = Instance.from_note(instance_id, state).release
        behaviour = self.new.get(process_type) if release else None
        behaviour = behaviour or script[min(number, len(script)) - 1]
        self._record("launch", name)
        if behaviour.refused is not None:
            await asyncio.sleep(behaviour.launch_takes_s)
            raise _RefusedError(behaviour.refused, behaviour.refused_during)
        loop = asyncio.get_running_loop()
        port = int(env["PORT"]) if "PORT" in env else None
        process = Process(instance_id, name, port, behaviour, loop.time(), 1000 + len(self.processes), state)
        process.release = release
        self.processes[instance_id] = process
        if behaviour.exits_after_s is not None:
            process.timers.append(loop.call_later(behaviour.exits_after_s, self._end, process, behaviour.exit_code))
        if behaviour.writes:
            process.timers.append(loop.call_later(0.0, self._wrote, process))
        started_at = EPOCH + loop.time()
        await asyncio.sleep(behaviour.launch_takes_s)  # the process lives already, also if this core hears it no more
        return Launched(process.pid, started_at, -1)

    def stop(self, instance_id: str, *, number: int, grace_s: float) -> None:
        process = self.processes[instance_id]
        self._record("stop", f"{process.name} {signal.Signals(number).name} {grace_s:g}")
        loop = asyncio.get_running_loop()
        if process.gone:
            return
        leaves_after_s = process.behaviour.leaves_after_s
        if grace_s > 0 and not process.stopping and leaves_after_s is not None and leaves_after_s < grace_s:
            process.timers.append(loop.call_later(leaves_after_s, self._end, process, -number))
        process.timers.append(loop.call_later(grace_s, self._kill, process))
        process.stopping = True

    def send_signal(self, instance_id: str, number: int) -> None:
        self._record("signal", f"{self.processes[instance_id].name} {signal.Signals(number).name}")

    def end_input(self, instance_id: str) -> None:
        self._record("end_input", self.processes[instance_id].name)

    def set_state(self, instance_id: str, state: str) -> None:
        self.processes[instance_id].note = state

    def forget(self, instance_id: str) -> None:
        assert self.processes[instance_id].gone, "the keeper would not forget what runs"
        if self.processes[instance_id].note:
            self.forgotten.append(self.processes[instance_id].name)
        self.processes[instance_id].note = ""

    def put(self, key: str, value: str | None) -> None:
        if value is None:
            self.kept.pop(key, None)
        else:
            self.kept[key] = value

    # --- Output, Journal, Traffic ------------------------------------------------------------------------------------

    def add(self, instance_id: str, ps: str, fd: int, *, has_written: bool = False) -> None:
        del instance_id, ps, fd, has_written

    @property
    def handed_on(self) -> int:
        self._looks += 1
        return self._looks if self.log_reader == "slow" else 0

    def awaits_reader(self, instance_id: str) -> bool:
        return self.log_reader is not None and self.processes[instance_id].gone

    async def finish(self, instance_id: str) -> None:
        del instance_id
        await asyncio.sleep(self.finish_takes_s)

    def platform(self, ps: str, message: str) -> None:
        self.lines.append((asyncio.get_running_loop().time(), ps, message))

    def join(self, instance_id: str, name: str, address: Address) -> None:
        assert self.processes[instance_id].name == name
        self._record("join", f"{name} {address}")

    async def drain(self, instance_id: str) -> None:
        self._record("drain", self.processes[instance_id].name)
        if self.drain_takes_s:
            await asyncio.sleep(self.drain_takes_s)

    def leave(self, instance_id: str) -> None:
        self._record("leave", self.processes[instance_id].name)

    def condition(self, condition: WebCondition) -> None:
        if not self.conditions or self.conditions[-1][1] is not condition:
            self.conditions.append((round(asyncio.get_running_loop().time(), 2), condition))

    # --- inside ------------------------------------------------------------------------------------------------------

    def _surroundings(self, boots: BootWatch) -> Surroundings:
        taken = [process.port for process in self.processes.values() if process.port is not None and process.note]
        return Surroundings(
            app=APP,
            placement=self,
            output=self,
            journal=self,
            traffic=self,
            boots=boots,
            ports=PortAllotment(taken=taken),
            port_is_free=lambda _port: self.ports_are_free,
            exited=lambda name, code: self.exits.append((name, code)),
            gate=StartGate(self._width),
            clock=lambda: EPOCH + asyncio.get_running_loop().time(),
            random=lambda: self._draw,
        )

    def _commands(self, release: int) -> dict[str, Command]:
        return {process_type: self._command(process_type, release) for process_type in self.behaviours}

    def _command(self, process_type: str, release: int) -> Command:
        def environment(dyno: str, port: int | None) -> Mapping[str, str]:
            return {"DYNO": dyno, **({"PORT": str(port)} if port is not None else {})}

        return Command(
            argv=["program"],
            shown=f"run {process_type}",
            cwd="/app",
            environment=environment,
            stop=StopRule(),
            rules=self._rules,
            release=release,
        )

    def _adopt(self) -> None:
        """What `up` does with the keeper's snapshot."""
        adopted: dict[str, list[Instance]] = {}
        for process in self.processes.values():
            if not process.note:
                continue
            instance = Instance.from_note(process.id, process.note)
            instance.pid = process.pid
            if process.exit_code is not None:
                instance.exit_code = process.exit_code
                instance.advance(InstanceEvent.EXITED)
            if process.gone:
                instance.vanished.set()
            self.supervisor.adopt(instance, -1)
            adopted.setdefault(process.name, []).append(instance)
        for key, note in list(self.kept.items()):
            name = key.removeprefix(self.supervisor.note_prefix)
            others = {} if self.pending is None else {self.pending[0]: self._commands(self.pending[0])}
            self.supervisor.restore(name, note, adopted.get(name, []), others)

    def _wrote(self, process: Process) -> None:
        self.supervisor.wrote(process.id)

    def _end(self, process: Process, exit_code: int) -> None:
        if process.exit_code is None:
            process.exit_code = exit_code
            process.gone = True
            for timer in process.timers:
                timer.cancel()
            if self._core_lives:
                self.supervisor.exited(process.id, exit_code)
                self.supervisor.gone(process.id)

    def _kill(self, process: Process) -> None:
        if process.exit_code is None:
            if self._core_lives:
                self.supervisor.killed(process.id)
            self._end(process, -signal.SIGKILL)

    def _record(self, call: str, what: str) -> None:
        self.calls.append((round(asyncio.get_running_loop().time(), 2), call, what))


class _Table(SocketTable):
    """Who listens, by the processes' scripts."""

    def __init__(self, world: World) -> None:
        super().__init__(lambda ids: {id_: [] for id_ in ids}, by_netlink=True)
        self._world = world

    async def anyone_on(self, ports: Collection[int]) -> bool:
        return any(seen.own or seen.strangers for seen in self._see(ports))

    def look(self, instances: Mapping[str, int]) -> Mapping[str, Seen]:
        return {id_: self._sight(self._world.processes[id_]) for id_ in instances}

    def _see(self, ports: Collection[int]) -> list[Seen]:
        return [self._sight(process) for process in self._world.processes.values() if process.port in ports]

    def _sight(self, process: Process) -> Seen:
        behaviour, own, strangers = process.behaviour, [], []
        age = asyncio.get_running_loop().time() - process.launched
        if behaviour.listens_after_s is not None and age >= behaviour.listens_after_s and process.exit_code is None:
            own.append(Address("127.0.0.1", behaviour.listens_on or process.port or 0))
        if behaviour.port_taken:
            strangers.append(Address("127.0.0.1", process.port or 0))
        return Seen(own, strangers)


NOT_FOUND: Final = Behaviour(refused=errno.ENOENT)


# --- what `World.play` has people do ---------------------------------------------------------------------------------


def stop(world: World) -> None:
    """Stop every dyno."""
    world.supervisor.stop_slots("stopped")


def restart(world: World) -> None:
    """Restart every dyno."""
    world.supervisor.restart_in_background([slot.name for slot in world.supervisor.slots], "asked")


def silences(world: World, ps: str) -> list[float]:
    """When it was said of a dyno that it writes nothing."""
    return [time for time, message in world.of(ps) if "written nothing" in message]
