"""The apps that run in this core: for each its dynos, log stream and traffic, built together and taken over together.

`up` has one, `serve` many. What is the same for both is here: adopting what the keeper holds, telling each app the
keeper's events, and stopping everything in order or, without a keeper, at once.
"""

import asyncio
import os
import random
import signal
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dynod.app_logs import AppLogs, DrainKeeper
from dynod.core.boot import Address
from dynod.core.dyno import InstanceEvent, InstanceState
from dynod.core.dyno_limits import limits_of, limits_of_all, port_limits
from dynod.core.dyno_sizes import MB, UNSIZED, DynoSize
from dynod.core.incidents import Trouble
from dynod.core.log_history import LogHistory
from dynod.core.memory_quota import OWN_OOM, R15
from dynod.core.ports import FIRST_PORT, LAST_PORT, PortAllotment
from dynod.core.reachability import ReachabilityNotices
from dynod.keeper import processes
from dynod.keeper.cgroups import Groups
from dynod.keeper.client import Events, KeeperClient, Snapshot
from dynod.keeper.features import Features
from dynod.logs.drain_set import DrainSet
from dynod.logs.history_sink import HistorySink
from dynod.logs.pump import OutputPump, Publish
from dynod.logs.stdout_sink import StdoutSink
from dynod.logs.stream import LogStream
from dynod.own_share import processors
from dynod.process.attachment import AttachRules
from dynod.process.boot_watch import BootWatch, SocketTable
from dynod.process.build_processes import BuildProcesses, is_build_note
from dynod.process.check_commands import CheckCommands, Place, is_check_note
from dynod.process.container import Encloses
from dynod.process.disk_watch import DiskRules, DiskWatch
from dynod.process.instance import Instance
from dynod.process.one_off import MakeCommand, OneOffs
from dynod.process.placement import Traffic
from dynod.process.probes import HealthWatch, Prober
from dynod.process.sampler import Sample, Sampled, Sampler
from dynod.process.sockets import port_is_free
from dynod.process.start_gate import StartGate
from dynod.process.supervisor import Supervisor
from dynod.process.surroundings import Command, LastLines, Reports, Surroundings, Unheard
from dynod.process.usage import Cgroup, UsageReader
from dynod.settings import Settings

FLUSH_S: Final = 5.0  # the last lines, to a reader that may be slow
HURRIED_FLUSH_S: Final = 0.5  # to one that may be stuck, while a person waits
HANDED_ON_S: Final = 0.2  # for drains to send what is in the history: the next core's go on from where they stop
LINES_SEARCHED: Final = 500  # of the app's log, for the last ones of a dyno
SWEEP_S: Final = 0.05
BOOTING_AT_ONCE: Final = 4  # dynos, for each processor

MEMORY_ERRORS: Final = ("Error R14", "Error R15")
APP_NUMBERS: Final = 10**8  # Heroku's numbers of apps, in its labels of dynos, have so many digits

SinkMaker = Callable[
    [Callable[[], None]], StdoutSink | HistorySink
]  # from what is to be called when there is room again


def attach_rules(settings: Settings) -> AttachRules:
    """How long somebody who is, or was, attached to a one-off dyno is waited for."""
    dynos = settings.dynos
    return AttachRules(await_client_s=dynos.await_client_s, reconnect_s=dynos.reconnect_s, hangup_s=dynos.hangup_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreEvents:
    """What the keeper says of other cores: one waits, one has said something, one has ended."""

    hand_over: Callable[[], None] = lambda: None
    passed: Callable[[int, str], None] = lambda _pid, _text: None
    gone: Callable[[int], None] = lambda _pid: None


NO_CORES: Final = CoreEvents()


@dataclass(frozen=True, slots=True, kw_only=True)
class AppParts:
    """What makes an app run in one daemon differ from the same app in another."""

    id: str  # under which the keeper has what belongs to it
    name: str
    commands: Mapping[str, Command]  # by process type
    traffic: Traffic
    sink: SinkMaker
    drains: DrainKeeper
    exited: Callable[[str, int], None]  # a dyno ended by itself: name, exit code
    sizes: dict[str, DynoSize]  # by process type; changed by `ps:type`
    one_off: MakeCommand
    attach: AttachRules
    enforce: bool  # production's limits
    history_lines: int  # kept in memory for whoever asks later
    reports: Reports = field(default_factory=Unheard)
    names_open_binds: bool  # says which dynos others can reach past the router


class _MemoryJournal:
    """What the sampler says: to the log, and what concerns a quota to whoever watches."""

    def __init__(self, stream: LogStream, reports: Reports) -> None:
        self._stream = stream
        self._reports = reports

    def platform(self, ps: str, message: str) -> None:
        self._stream.platform(ps, message)
        if message.startswith(MEMORY_ERRORS):
            self._reports.failed(Trouble.MEMORY, ps, message)


class AppRun:
    """One app, running. Made by `RunningApps.add`."""

    def __init__(self, parts: AppParts, running: "RunningApps") -> None:
        self.id = parts.id
        self.name = parts.name
        self.sink = parts.sink(self._resume_output)
        newest = LogHistory(max_lines=parts.history_lines)
        self.stream = LogStream(self.sink, clock=time.time, history=newest)
        history = self.sink if isinstance(self.sink, HistorySink) else None
        drains = DrainSet(app=parts.name, stream=self.stream, history=history, group=running.group)
        self.logs = AppLogs(
            self.stream,
            drains,
            history=history,
            keeper=parts.drains,
            dropped=lambda: sum(self.sink.dropped.values()),
        )
        self.output = OutputPump(
            asyncio.get_running_loop(),
            publish=self.stream.publish_app,
            on_first_output=self._wrote,
            peek=None if running.features.tee and running.features.epoll else False,
        )
        self.sizes = parts.sizes
        self._reports = parts.reports
        self._containers = running.containers
        self._all = running
        self._reachable = ReachabilityNotices() if parts.names_open_binds else None
        self._known: dict[tuple[int, str], Command] = {}  # by release and process type
        self.know(parts.commands)
        loop = asyncio.get_running_loop()
        self.check_commands = CheckCommands(running.keeper, self._place_of)
        self._prober = Prober(
            listening=running.sockets, commands=self.check_commands, host="localhost", clock=loop.time
        )
        shared = Surroundings(
            app=parts.id,
            placement=running.keeper,
            output=self.output,
            journal=self.stream,
            traffic=parts.traffic,
            boots=running.boots,
            ports=running.ports,
            port_is_free=port_is_free,
            exited=parts.exited,
            gate=running.gate,
            clock=time.time,
            random=random.random,
            health=HealthWatch(self._prober, clock=loop.time),
            listens=self._listens,
            publish=self.stream.publish_app,
            attach=parts.attach,
            reports=parts.reports,
            last_lines=self._last_lines,
            limits=self._limits,
            containers=self._containers,
            pid_of=self.pid_of,
        )
        self.supervisor = Supervisor(running.group, shared, parts.commands)
        self.one_offs = OneOffs(
            self.supervisor, shared, running.group, parts.one_off, self.sizes, command_of=self._command_of
        )
        self._sampler = Sampler(
            dynos=lambda: [self._sampled(instance, running) for instance in self.supervisor.instances.values()],
            members=running.members,
            journal=_MemoryJournal(self.stream, parts.reports),
            vast=self.supervisor.over_memory,
            clock=loop.time,
            enforce=parts.enforce,
            reader=UsageReader(proc=running.features.proc),
            disk=DiskWatch(running.disk, journal=self.stream, full=self.supervisor.over_disk) if running.disk else None,
        )
        self._sampling = running.group.create_task(self._sampler.run(), name=f"sampler:{parts.name}")

    def know(self, commands: Mapping[str, Command]) -> None:
        """Dynos of these commands run, or are about to."""
        self._known.update({(command.release, name): command for name, command in commands.items()})

    def go_by(self, commands: Mapping[str, Command]) -> None:
        """Dynos that are new from now on are started by these commands."""
        used = {instance.release for instance in self.supervisor.instances.values()}
        self._known = {key: command for key, command in self._known.items() if key[0] in used}
        self.know(commands)
        self.supervisor.go_by(commands)

    def rename(self, name: str) -> None:
        """What it is called from now on."""
        self.name = name
        self.logs.rename(name)

    def set_runtime_metrics(self, *, on: bool) -> None:
        """Heroku's log-runtime-metrics: two lines for each dyno every 20 seconds."""
        self._sampler.write_metrics(uuid.uuid5(uuid.NAMESPACE_URL, self.id).int % APP_NUMBERS if on else None)

    def _limits(self, name: str) -> Mapping[str, int] | None:
        return self._all.limits_of(self._size_of(name))

    def _size_of(self, name: str) -> DynoSize:
        return self.sizes.get(name) or self.sizes.get(name.rpartition(".")[0], UNSIZED)

    def _sampled(self, instance: Instance, running: "RunningApps") -> Sampled:
        size = self._size_of(instance.name)
        return Sampled(id=instance.id, name=instance.name, size=size, cgroup=running.accounting(instance.id))

    def _place_of(self, instance_id: str) -> Place | None:
        instance = self.supervisor.instances.get(instance_id)
        if instance is None:
            return None
        command = self._command_of(instance)
        if command is None:
            return None
        environment = command.environment(instance.name, instance.port)
        containers, container = self._containers, command.container
        if containers is None or container is None:
            return Place(command.cwd, environment, limits=self._limits(instance.name))
        id_, pid = instance.id, instance.pid
        return Place(
            command.cwd,
            environment,
            lambda wanted: containers.enter(id_, pid, container, wanted),
            limits={**limits, **port_limits(None)} if (limits := self._limits(instance.name)) is not None else None,
        )

    def _command_of(self, instance: Instance) -> Command | None:
        """By which it was started."""
        slot = next((slot for slot in self.supervisor.slots if slot.name == instance.name), None)
        if slot is not None and slot.is_one_off:
            return slot.command
        return self._known.get((instance.release, instance.name.rpartition(".")[0]))

    def user_of(self, instance_id: str) -> int | None:
        """The number of the user that an instance's processes are, where that is the app's alone."""
        instance = self.supervisor.instances.get(instance_id)
        command = self._command_of(instance) if instance is not None else None
        user = command.container.user if command is not None and command.container is not None else None
        return user.uid if user is not None else None

    def pid_of(self, instance_id: str) -> int | None:
        """The main process of an instance that runs."""
        instance = self.supervisor.instances.get(instance_id)
        return instance.pid if instance is not None and instance.exit_code is None else None

    def _listens(self, name: str, addresses: Sequence[Address]) -> None:
        if self._reachable is not None:
            notice = self._reachable.line(name.rpartition(".")[0], addresses)
            if notice is not None:
                self.stream.platform(name, notice)

    def latest_usage(self, instance_id: str) -> Sample | None:
        """Memory and CPU of an instance when they were last read."""
        return self._sampler.latest(instance_id)

    # --- the keeper's events ----------------------------------------------------------------------------------------

    def exited(self, instance_id: str, exit_code: int, running: "RunningApps") -> None:
        """The main process of a dyno, or the command of a health check, ended."""
        if self.check_commands.exited(instance_id, exit_code):
            return
        instance = self.supervisor.instances.get(instance_id)
        if instance is not None and instance.exit_code is None:
            # However it came to that: a dyno that failed its checks, or its boot, is killed without being asked.
            by_us = instance.state is InstanceState.STOPPING or instance.hastened or instance.over_limit is not None
            cause = self._sampler.exited(self._sampled(instance, running), exit_code, killed_by_us=by_us)
            if cause is not None:
                self.supervisor.happened(instance.name, cause)
                self._reports.failed(Trouble.MEMORY, instance.name, cause)
                self.stream.platform(instance.name, cause)
                if cause.startswith(OWN_OOM) and self._size_of(instance.name).memory is not None:
                    self.stream.platform(instance.name, R15)  # its limit is where R15 is: the kernel was there first
        self.supervisor.exited(instance_id, exit_code)

    def gone(self, instance_id: str) -> None:
        """No process of it is left."""
        if not self.check_commands.gone(instance_id):
            self.supervisor.gone(instance_id)

    def _last_lines(self, name: str, since: float) -> LastLines:
        """Of what a dyno wrote, the newest lines that are in memory."""
        found = [
            batch
            for batch in self.stream.newest(LINES_SEARCHED)
            if batch.ps == name and batch.source == "app" and batch.time >= since
        ]
        lines = [
            line for batch in found for line in batch.text.decode("utf-8", "replace").removesuffix("\n").split("\n")
        ]
        return LastLines(lines, max((batch.time for batch in found), default=since))

    def _resume_output(self) -> None:
        self.output.resume()

    def _wrote(self, instance_id: str) -> None:
        self.supervisor.wrote(instance_id)

    async def _stop_dynos(self, why: str) -> None:
        await self.supervisor.stop_all(why)
        await self.one_offs.wait()

    async def stop(self, hurry: asyncio.Event, why: str) -> None:
        """Every process of every dyno. `hurry`: nobody waits for a grace, or for a reader that is stuck."""
        stopped = asyncio.ensure_future(self._stop_dynos(why))
        hurried = asyncio.ensure_future(hurry.wait())
        try:
            await asyncio.wait({stopped, hurried}, return_when=asyncio.FIRST_COMPLETED)
            if not stopped.done():
                self.supervisor.hasten()
                for instance in list(self.supervisor.instances.values()):
                    await instance.vanished.wait()
                await self.output.close()
            await stopped
        finally:
            hurried.cancel()
            stopped.cancel()
        self._sampling.cancel()
        await self._prober.close()

    def let_go_of_terminals(self) -> None:
        """Whoever is attached goes on with another core: what is not read yet is read there."""
        for slot in self.supervisor.slots:
            for attachment in slot.attachments:
                attachment.hand_over()

    async def hand_over(self) -> None:
        """Another core goes on from here: let go of everything, in an order in which no line is lost or said twice."""
        self.output.hold()
        self._sampling.cancel()
        await self.sink.flush_and_close(FLUSH_S)
        await self.logs.close(HANDED_ON_S)
        await self.output.close()
        await self._prober.close()

    async def close(self, hurry: asyncio.Event) -> None:
        """The last lines."""
        flush_s = HURRIED_FLUSH_S if hurry.is_set() else FLUSH_S
        await self.sink.flush_and_close(flush_s)
        await self.logs.close(flush_s)
        await self.output.close()


class RunningApps:
    """Every app of this core. Owns nothing but what `add` makes; its tasks live in the daemon's group."""

    def __init__(
        self,
        keeper: KeeperClient,
        snapshot: Snapshot,
        features: Features,
        group: asyncio.TaskGroup,
        starts_at_once: int,
        *,
        containers: Encloses | None = None,
        write_mb: int = 0,
    ) -> None:
        """`containers`: what keeps the dynos of commands apart that are to be; None: dynos are plain children.

        `write_mb`: how many of what a dyno may write in its container; 0: as many as it likes.
        """
        self.keeper = keeper
        self.containers = containers
        self.disk = None
        if containers is not None and write_mb:
            self.disk = DiskRules(write_mb * MB, containers.written, containers.nameless, containers.free, self.members)
        self.controllers: Mapping[str, str] = {}  # by which the kernel limits dynos: the folders of their groups
        self._confined = False
        self.features = features
        self.group = group
        self.sockets = SocketTable(self.members, by_netlink=features.netlink and features.proc, user_of=self.user_of)
        self.boots = BootWatch(self.sockets)
        self.gate = StartGate(starts_at_once or BOOTING_AT_ONCE * processors())
        self._groups = Groups(snapshot.groups) if snapshot.groups else None
        self._memory_is_counted = bool(snapshot.groups) and (Path(snapshot.groups) / "memory.current").exists()
        self._snapshot = snapshot
        self._runs: dict[str, AppRun] = {}
        self._left_checks: set[str] = set()
        self._builds: BuildProcesses | None = None
        self._build_pump: OutputPump | None = None
        taken = [
            port
            for adopted in snapshot.adopted
            if _is_a_dynos(adopted.instance.state)
            and (port := Instance.from_note(adopted.instance.id, adopted.instance.state).port) is not None
        ]
        # Two dynods on one machine begin apart.
        start = FIRST_PORT + os.getppid() * 97 % (LAST_PORT - FIRST_PORT + 1)
        self.ports = PortAllotment(start=start, taken=taken)

    def add(self, parts: AppParts) -> AppRun:
        """Build an app; its dynos are started by its supervisor."""
        run = self._runs[parts.id] = AppRun(parts, self)
        run.sink.start()
        return run

    def remove(self, id_: str) -> None:
        """An app that has been stopped."""
        del self._runs[id_]

    # --- what an earlier core left ----------------------------------------------------------------------------------

    def adopt(self, run: AppRun) -> dict[str, list[Instance]]:
        """Take over what the keeper has of an app: each slot's instances, oldest first."""
        stored = self._snapshot.stored
        found: dict[str, list[Instance]] = {}
        for adopted in sorted(self._snapshot.adopted, key=lambda each: each.instance.started_at):
            kept = adopted.instance
            if not _is_a_dynos(kept.state):
                continue
            instance = Instance.from_note(kept.id, kept.state)
            if instance.app != run.id:
                continue
            instance.pid, instance.started_at = kept.pid, kept.started_at
            if kept.exit_code is not None:
                instance.exit_code = kept.exit_code
                instance.advance(InstanceEvent.EXITED)
            if kept.gone:
                instance.vanished.set()
            run.supervisor.adopt(instance, adopted.output, adopted.input)
            if kept.killed:
                run.supervisor.killed(instance.id)
            found.setdefault(instance.name, []).append(instance)
        prefix = run.one_offs.note_prefix
        notes = {key.removeprefix(prefix): note for key, note in stored.items() if key.startswith(prefix)}
        run.one_offs.resume(notes, self.slot_notes(run), found)
        return found

    def end_left_checks(self) -> None:
        """Commands of health checks that an earlier core was running: their answer is of no use any more."""
        for adopted in self._snapshot.adopted:
            kept = adopted.instance
            if is_check_note(kept.state):
                os.close(adopted.output)
                if kept.gone:
                    self.keeper.forget(kept.id)
                else:
                    self._left_checks.add(kept.id)
                    self.keeper.stop(kept.id, number=signal.SIGKILL, grace_s=0.0)

    def add_builds(self, publish: Publish) -> BuildProcesses:
        """The processes of builds, once for a daemon; `publish` takes what they print."""
        features = self.features
        peek = None if features.tee and features.epoll else False
        self._build_pump = OutputPump(asyncio.get_running_loop(), publish=publish, peek=peek)
        self._builds = BuildProcesses(self.keeper, self._build_pump, limits=lambda: self.limits_of(UNSIZED))
        return self._builds

    def adopt_builds(self) -> None:
        """Take over those of an earlier core."""
        for adopted in self._snapshot.adopted:
            kept = adopted.instance
            if self._builds is not None and is_build_note(kept.state):
                self._builds.adopt(
                    kept.id, pid=kept.pid, output=adopted.output, exit_code=kept.exit_code, gone=kept.gone
                )

    def note(self, key: str) -> str | None:
        """What an earlier core kept with the keeper under this key."""
        return self._snapshot.stored.get(key)

    def slot_notes(self, run: AppRun) -> dict[str, str]:
        """What an earlier core noted of an app's slots, by dyno name."""
        prefix = run.supervisor.note_prefix
        return {key.removeprefix(prefix): note for key, note in self._snapshot.stored.items() if key.startswith(prefix)}

    # --- the keeper's events ----------------------------------------------------------------------------------------

    def listen(
        self,
        *,
        signalled: Callable[[int], None],
        lost: Callable[[], None],
        cores: CoreEvents = NO_CORES,
    ) -> None:
        """From now on every app hears of its dynos' ends."""
        self.keeper.listen(
            Events(
                exited=lambda id_, code, _at: self._exited(id_, code),
                killed=lambda id_, _count: self._each(lambda run: run.supervisor.killed(id_)),
                gone=self._gone,
                signalled=signalled,
                lost=lost,
                hand_over=cores.hand_over,
                passed=cores.passed,
                peer_gone=cores.gone,
            )
        )

    def _exited(self, instance_id: str, exit_code: int) -> None:
        if self._builds is None or not self._builds.exited(instance_id, exit_code):
            self._each(lambda run: run.exited(instance_id, exit_code, self))

    def _gone(self, instance_id: str) -> None:
        if self._builds is not None and self._builds.gone(instance_id):
            return
        if instance_id in self._left_checks:
            self._left_checks.remove(instance_id)
            self.keeper.forget(instance_id)
        self._each(lambda run: run.gone(instance_id))

    def _each(self, tell: Callable[[AppRun], None]) -> None:
        """Instance ids are unique: whoever does not know one ignores it."""
        for run in list(self._runs.values()):
            tell(run)

    # --- processes --------------------------------------------------------------------------------------------------

    def members(self, instance_ids: Collection[str]) -> Mapping[str, Collection[int]]:
        """The living processes of each of these instances."""
        found: dict[str, Collection[int]] = {}
        if self._groups is not None:
            for id_ in instance_ids:
                if (grouped := self._groups.members(id_)) is not None:
                    found[id_] = grouped
        owners = {id_: owner for id_, owner in self._owners().items() if id_ in instance_ids and id_ not in found}
        if owners:
            by_table = processes.find(owners, keeper=os.getppid(), features=self.features).members
            found |= {id_: [abs(pid) for pid in pids] for id_, pids in by_table.items()}  # of a group, its first
        return {id_: found.get(id_, []) for id_ in instance_ids}

    def user_of(self, instance_id: str) -> int | None:
        """The user that an instance's processes are, where that is its app's alone."""
        return next((uid for run in self._runs.values() if (uid := run.user_of(instance_id)) is not None), None)

    def accounting(self, instance_id: str) -> Cgroup | None:
        """The instance's control group, as far as the kernel accounts by it; version 2 counts CPU in every group."""
        if self._groups is None:
            return None
        path = self._groups.path(instance_id)
        if (limited := self.controllers.get("memory")) is not None and Path(f"{limited}/{instance_id}").is_dir():
            return Cgroup(memory=f"{limited}/{instance_id}", cpu=path, all_memory=limited)
        return Cgroup(memory=path if self._memory_is_counted else None, cpu=path)

    def confine(self, memory: int, *, most_mb: int) -> Awaitable[None]:
        """Have the kernel hold dynos to their sizes, and all together to less than the machine's `memory`.

        `most_mb`: to so many MB; 0: to what leaves something to everybody else. To be called before any is started;
        what is returned is done once the keeper has answered, after `listen`.
        """
        self._confined = True
        answer = self.keeper.confine(limits_of_all(memory, most_mb=most_mb))

        async def answered() -> None:
            self.controllers = await answer

        return answered()

    def limits_of(self, size: DynoSize) -> Mapping[str, int] | None:
        """Of a dyno that starts now; None: nothing was said of limits."""
        return limits_of(size, counted="pids" in self.controllers) if self._confined else None

    def _owners(self) -> dict[str, processes.Owner]:
        builds = self._builds.owners() if self._builds is not None else {}
        return {id_: processes.Owner(pid, (os.fsencode(mark),)) for id_, (pid, mark) in builds.items()} | {
            id_: processes.Owner(
                instance.pid,
                tuple(os.fsencode(mark) for mark in instance.marks),
                reaped=instance.exit_code is not None,
            )
            for run in list(self._runs.values())
            for id_, instance in list(run.supervisor.instances.items())
            if instance.pid
        }

    # --- the end ----------------------------------------------------------------------------------------------------

    @property
    def longest_grace_s(self) -> float:
        """What the most patient dyno may take to end."""
        return max(
            (each.grace_s for run in self._runs.values() for each in run.supervisor.instances.values()), default=0.0
        )

    def stop_one_offs(self, why: str) -> None:
        for run in self._runs.values():
            run.supervisor.stop_one_offs(why)

    def hasten(self) -> None:
        """A person will not wait."""
        for run in self._runs.values():
            run.supervisor.hasten()

    async def stop(self, hurry: asyncio.Event, why: str, *, between: Callable[[], Awaitable[None]]) -> None:
        """Every app, all at once. `between` their dynos' end and their last lines, which it may add to."""
        await asyncio.gather(*(run.stop(hurry, why) for run in self._runs.values()))
        await between()
        if self._build_pump is not None:
            await self._build_pump.close()
        await asyncio.gather(*(run.close(hurry) for run in self._runs.values()))

    def let_go_of_terminals(self) -> None:
        """Of all one-off dynos, before their clients are sent away."""
        for run in self._runs.values():
            run.let_go_of_terminals()

    async def hand_over(self) -> None:
        """Another core takes all of it over: what is under way here is written, and nothing else is begun."""
        if self._build_pump is not None:
            self._build_pump.hold()
        await asyncio.gather(*(run.hand_over() for run in self._runs.values()))
        if self._build_pump is not None:
            await self._build_pump.close()

    async def kill_without_keeper(self) -> None:
        """The keeper was killed: no dyno outlives it (contracts 1)."""
        owners = self._owners()
        if self._groups is not None:
            for id_ in owners:
                self._groups.kill(id_)
        while True:
            # Orphans fall to whoever this core has fallen to.
            members = processes.find(owners, keeper=os.getppid(), features=self.features).members
            if not any(members.values()):
                if self._groups is not None:
                    self._groups.remove_all()
                return
            for id_, pids in members.items():
                processes.send(pids, signal.SIGKILL, leader=owners[id_].pid)
            await asyncio.sleep(SWEEP_S)


def _is_a_dynos(note: str) -> bool:
    """Whether an instance that an earlier core left is a dyno's, and not what runs beside dynos."""
    return not is_check_note(note) and not is_build_note(note)
