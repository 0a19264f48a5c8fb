"""The apps that run in this core: for each its dynos, log stream and traffic, built together and taken over together.

`up` has one, `serve` many. What is the same for both is here: adopting what the keeper holds, telling each app the
keeper's events, and stopping everything in order or, without a keeper, at once.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from dynod.core.dyno import InstanceEvent
from dynod.core.ports import FIRST_PORT, LAST_PORT, PortAllotment
from dynod.keeper import processes
from dynod.keeper.cgroups import Groups
from dynod.keeper.client import Events, KeeperClient, Snapshot
from dynod.keeper.features import Features
from dynod.logs.pump import OutputPump
from dynod.logs.stdout_sink import StdoutSink
from dynod.logs.stream import LogStream
from dynod.process.boot_watch import BootWatch, SocketTable
from dynod.process.instance import Instance
from dynod.process.placement import Traffic
from dynod.process.slot import Command, Surroundings
from dynod.process.sockets import port_is_free
from dynod.process.start_gate import StartGate
from dynod.process.supervisor import Supervisor

FLUSH_S: Final = 5.0  # the last lines, to a reader that may be slow
SWEEP_S: Final = 0.05
BOOTING_AT_ONCE: Final = 4 * (os.cpu_count() or 1)

SinkMaker = Callable[[Callable[[], None]], StdoutSink]  # from what is to be called when there is room again


@dataclass(frozen=True, slots=True, kw_only=True)
class AppParts:
    """What makes an app run in one daemon differ from the same app in another."""

    name: str
    commands: Mapping[str, Command]  # by process type
    traffic: Traffic
    sink: SinkMaker
    exited: Callable[[str, int], None]  # a dyno ended by itself: name, exit code


class AppRun:
    """One app, running. Made by `RunningApps.add`."""

    def __init__(self, parts: AppParts, running: "RunningApps") -> None:
        self.name = parts.name
        self.sink = parts.sink(self._resume_output)
        self.stream = LogStream(self.sink, clock=time.time)
        self.output = OutputPump(
            asyncio.get_running_loop(),
            publish=self.stream.publish_app,
            on_first_output=self._wrote,
            peek=None if running.features.tee and running.features.epoll else False,
        )
        shared = Surroundings(
            app=parts.name,
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
        )
        self.supervisor = Supervisor(running.group, shared, parts.commands)

    def _resume_output(self) -> None:
        self.output.resume()

    def _wrote(self, instance_id: str) -> None:
        self.supervisor.wrote(instance_id)

    async def stop(self, hurry: asyncio.Event, why: str) -> None:
        """Every process of every dyno, then the last lines. `hurry`: nobody waits for a grace, or a stuck reader."""
        stopped = asyncio.ensure_future(self.supervisor.stop_all(why))
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
        await self.sink.flush_and_close(0.0 if hurry.is_set() else FLUSH_S)
        await self.output.close()


class RunningApps:
    """Every app of this core. Owns nothing but what `add` makes; its tasks live in the daemon's group."""

    def __init__(self, keeper: KeeperClient, snapshot: Snapshot, features: Features, group: asyncio.TaskGroup) -> None:
        self.keeper = keeper
        self.features = features
        self.group = group
        self.boots = BootWatch(SocketTable(self.members, by_netlink=features.netlink and features.proc))
        self.gate = StartGate(BOOTING_AT_ONCE)
        self._groups = Groups(snapshot.groups) if snapshot.groups else None
        self._snapshot = snapshot
        self._runs: dict[str, AppRun] = {}
        taken = [
            port
            for adopted in snapshot.adopted
            if (port := Instance.from_note(adopted.instance.id, adopted.instance.state).port) is not None
        ]
        # Two dynods on one machine begin apart.
        start = FIRST_PORT + os.getppid() * 97 % (LAST_PORT - FIRST_PORT + 1)
        self.ports = PortAllotment(start=start, taken=taken)

    def add(self, parts: AppParts) -> AppRun:
        """Build an app; its dynos are started by its supervisor."""
        run = self._runs[parts.name] = AppRun(parts, self)
        run.sink.start()
        return run

    def remove(self, name: str) -> None:
        """An app that has been stopped."""
        del self._runs[name]

    # --- what an earlier core left ----------------------------------------------------------------------------------

    def adopt(self, run: AppRun) -> dict[str, list[Instance]]:
        """Take over what the keeper has of an app: each slot's instances, oldest first."""
        found: dict[str, list[Instance]] = {}
        for adopted in sorted(self._snapshot.adopted, key=lambda each: each.instance.started_at):
            kept = adopted.instance
            instance = Instance.from_note(kept.id, kept.state)
            if instance.app != run.name:
                continue
            instance.pid, instance.started_at = kept.pid, kept.started_at
            if kept.exit_code is not None:
                instance.exit_code = kept.exit_code
                instance.advance(InstanceEvent.EXITED)
            if kept.gone:
                instance.vanished.set()
            run.supervisor.adopt(instance, adopted.output)
            if kept.killed:
                run.supervisor.killed(instance.id)
            found.setdefault(instance.name, []).append(instance)
        return found

    def slot_notes(self, run: AppRun) -> dict[str, str]:
        """What an earlier core noted of an app's slots, by dyno name."""
        prefix = run.supervisor.note_prefix
        return {key.removeprefix(prefix): note for key, note in self._snapshot.stored.items() if key.startswith(prefix)}

    # --- the keeper's events ----------------------------------------------------------------------------------------

    def listen(self, *, signalled: Callable[[int], None], lost: Callable[[], None]) -> None:
        """From now on every app hears of its dynos' ends."""
        self.keeper.listen(
            Events(
                exited=lambda id_, code, _at: self._each(lambda supervisor: supervisor.exited(id_, code)),
                killed=lambda id_, _count: self._each(lambda supervisor: supervisor.killed(id_)),
                gone=lambda id_: self._each(lambda supervisor: supervisor.gone(id_)),
                signalled=signalled,
                lost=lost,
            )
        )

    def _each(self, tell: Callable[[Supervisor], None]) -> None:
        """Instance ids are unique: whoever does not know one ignores it."""
        for run in self._runs.values():
            tell(run.supervisor)

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
            table = processes.table(self.features)
            found |= processes.members(owners, table, adopter=os.getppid(), features=self.features)
        return {id_: found.get(id_, []) for id_ in instance_ids}

    def _owners(self) -> dict[str, processes.Owner]:
        return {
            id_: processes.Owner(
                instance.pid,
                tuple(os.fsencode(mark) for mark in instance.marks),
                reaped=instance.exit_code is not None,
            )
            for run in self._runs.values()
            for id_, instance in run.supervisor.instances.items()
            if instance.pid
        }

    # --- the end ----------------------------------------------------------------------------------------------------

    def stop_one_offs(self, why: str) -> None:
        for run in self._runs.values():
            run.supervisor.stop_one_offs(why)

    def hasten(self) -> None:
        """A person will not wait."""
        for run in self._runs.values():
            run.supervisor.hasten()

    async def stop(self, hurry: asyncio.Event, why: str) -> None:
        """Every app, all at once."""
        await asyncio.gather(*(run.stop(hurry, why) for run in self._runs.values()))

    async def kill_without_keeper(self) -> None:
        """The keeper was killed: no dyno outlives it (contracts 1)."""
        owners = self._owners()
        if self._groups is not None:
            for id_ in owners:
                self._groups.kill(id_)
        while True:
            table = processes.table(self.features)
            # Orphans fall to whoever this core has fallen to.
            members = processes.members(owners, table, adopter=os.getppid(), features=self.features)
            if not any(members.values()):
                if self._groups is not None:
                    self._groups.remove_all()
                return
            for id_, pids in members.items():
                processes.send(pids, signal.SIGKILL, leader=owners[id_].pid)
            await asyncio.sleep(SWEEP_S)
