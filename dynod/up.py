"""`dynod up`: one app, from the keeper's snapshot to goodbye. Builds the parts, introduces them, owns the root tasks.

An exception that nobody expected ends the core at once and touches no dyno: the keeper starts the next core, which
takes over here with what the keeper kept. Dynos are stopped by one function alone, `_shut_down`.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import msgspec

from dynod.cli.up import UpOptions
from dynod.core.dyno import InstanceEvent, exit_status
from dynod.core.formation import RELEASE
from dynod.core.log_text import FullText, LogText
from dynod.core.ports import FIRST_PORT, LAST_PORT, PortAllotment
from dynod.core.restart import POLICIES
from dynod.errors import DynodError
from dynod.folder_claim import FolderClaim, runtime_folder
from dynod.keeper import processes
from dynod.keeper.client import Adopted, Events, KeeperClient, Snapshot
from dynod.keeper.features import Features
from dynod.listeners import listen, listen_near, url
from dynod.logs.pump import OutputPump
from dynod.logs.stdout_sink import StdoutSink, local_text
from dynod.logs.stream import LogStream
from dynod.process.boot_watch import BootWatch, SocketTable
from dynod.process.instance import Instance
from dynod.process.slot import Rules, Slot, Surroundings
from dynod.process.sockets import port_is_free
from dynod.process.supervisor import Supervisor
from dynod.routing import NoRouting, Routing
from dynod.up_plan import WEB, UpPlan, make_plan

DRAIN_S: Final = 30.0  # requests in flight when dynod stops
SAY_DRAIN_AFTER_S: Final = 1.0
FLUSH_S: Final = 5.0  # the last lines, to a reader that may be slow
SWEEP_S: Final = 0.05
LARGEST_RELEASE_NUMBER: Final = 9999  # Heroku: release.NNNN


class Up:
    """Made anew by each core; `prepare`, then `run`."""

    def __init__(self, options: UpOptions, keeper: KeeperClient, snapshot: Snapshot, features: Features) -> None:
        self._options = options
        self._keeper = keeper
        self._snapshot = snapshot
        self._features = features
        self._resumes = "plan" in snapshot.stored  # an earlier core was here
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._hurry = asyncio.Event()
        self._lost = asyncio.Event()
        self._signals = 0
        self._status = 0

    # --- building ---------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Everything that can be refused, before anything is started. Raises DynodError, and leaves nothing behind."""
        if self._resumes:
            self._resume()
        else:
            self._begin()
        self._routing = Routing(self._plan.app, strict=self._options.strict) if self._listeners else NoRouting()
        self._sink = StdoutSink(
            self._loop,
            text=self._text(),
            on_room=self._resume_pump,
            on_closed=lambda _error: self._end(0),  # nobody reads any more, as with `dynod up | head`
            ends_broken_line=self._resumes,
        )
        self._stream = LogStream(self._sink, clock=time.time)
        self._pump = OutputPump(
            self._loop, publish=self._stream.publish_app, peek=None if self._features.tee else False
        )
        self._boots = BootWatch(SocketTable(self._members, by_netlink=self._features.netlink and self._features.proc))

    def _resume_pump(self) -> None:
        self._pump.resume()

    def _begin(self) -> None:
        self._plan = make_plan(self._options)
        folder = Path(self._plan.folder)
        self._claim = FolderClaim.take(folder, runtime_folder(os.environ), app=self._plan.app, pid=os.getppid())
        try:
            self._listeners = self._listen()
        except DynodError:
            self._claim.release()
            raise
        self._keeper.put("plan", msgspec.json.encode(self._plan).decode("ascii"))
        self._keeper.hold("claim", self._claim.fds)
        self._keeper.hold("router", [listener.fileno() for listener in self._listeners])

    def _resume(self) -> None:
        self._plan = msgspec.json.decode(self._snapshot.stored["plan"], type=UpPlan)
        folder = Path(self._plan.folder)
        self._claim = FolderClaim.resume(folder, runtime_folder(os.environ), self._snapshot.held["claim"])
        self._listeners = [socket.socket(fileno=fd) for fd in self._snapshot.held["router"]]

    def _listen(self) -> list[socket.socket]:
        if not self._plan.has_web:
            return []
        if self._options.listen is not None:
            return listen(self._options.listen)
        return listen_near(self._plan.default_port)

    def _text(self) -> LogText:
        if not os.isatty(1) or self._options.timestamps:
            return FullText()
        longest = max(len(f"heroku[{name}.{n}]:") for name, n in {**self._plan.quantities, "router": 1}.items())
        return local_text(colour=self._wants_colour(), name_width=longest)

    def _wants_colour(self) -> bool:
        if self._options.colour is not None:
            return self._options.colour
        if os.environ.get("FORCE_COLOR"):
            return True
        return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    # --- running ----------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Until dynod is told to end, or a dyno's exit ends it; returns dynod's exit status."""
        async with asyncio.TaskGroup() as group:
            self._supervisor = Supervisor(group)
            self._surround()
            self._sink.start()
            boots = group.create_task(self._boots.run(), name="boot-watch")
            lost = group.create_task(self._end_without_keeper(), name="keeper-lost")
            await self._routing.start(self._listeners, self._stream.router_lines)
            adopted = self._adopt()
            self._keeper.listen(
                Events(
                    exited=lambda id_, code, _at: self._supervisor.exited(id_, code),
                    killed=lambda id_, _count: self._supervisor.killed(id_),
                    gone=self._supervisor.gone,
                    signalled=self._signalled,
                    lost=self._lost.set,
                )
            )
            for number in self._snapshot.signals:
                self._signalled(number)
            self._keeper.ready()
            if not self._resumes:
                self._greet()
            slots: list[asyncio.Task[None]] = []
            if await self._released(adopted) and not self._ending.is_set():
                slots = self._start_slots(adopted)
            await self._ending.wait()
            await self._shut_down(slots)
            boots.cancel()
            lost.cancel()
        return self._status

    def _surround(self) -> None:
        taken = [port for instance in self._snapshot.adopted if (port := _note_of(instance).port) is not None]
        span = LAST_PORT - FIRST_PORT + 1
        self._supervisor.surround(
            Surroundings(
                placement=self._keeper,
                output=self._pump,
                journal=self._stream,
                traffic=self._routing,
                boots=self._boots,
                # Two dynods on one machine begin apart.
                ports=PortAllotment(start=FIRST_PORT + os.getppid() * 97 % span, taken=taken),
                port_is_free=port_is_free,
                rules=Rules(restart=POLICIES["ladder"], enforce_boot_timeout=self._options.strict),
                attend=self._supervisor.attend,
                account=self._supervisor.account,
                state_changed=self._supervisor.condition_changed,
                exited=self._exited,
            )
        )

    def _adopt(self) -> dict[str, Instance]:
        """Take over what the keeper has; for each slot the newest instance is the slot's."""
        newest: dict[str, Instance] = {}
        for adopted in sorted(self._snapshot.adopted, key=lambda each: each.instance.started_at):
            instance = _note_of(adopted)
            kept = adopted.instance
            instance.pid, instance.started_at = kept.pid, kept.started_at
            instance.launched = self._loop.time() - (time.time() - kept.started_at)
            if kept.exit_code is not None:
                instance.exit_code = kept.exit_code
                instance.advance(InstanceEvent.EXITED)
            if kept.gone:
                instance.vanished.set()
            self._supervisor.adopt(instance, adopted.output)
            if (older := newest.get(instance.name)) is not None:
                self._supervisor.account(older)
            newest[instance.name] = instance
        return newest

    def _greet(self) -> None:
        if self._listeners:
            _say(f"listening on {url(self._listeners)}")
        if RELEASE in self._plan.commands and not self._options.release:
            _say(f"release is not run, --release runs it first: {self._plan.commands[RELEASE]}")

    async def _released(self, adopted: Mapping[str, Instance]) -> bool:
        """Run the release process first, if asked to. False: it failed, and `up` ends with its status."""
        noted = self._snapshot.stored.get("release")
        if not self._options.release or RELEASE not in self._plan.commands or noted == "done":
            return True
        name = noted or f"{RELEASE}.{random.randint(1, LARGEST_RELEASE_NUMBER)}"  # noqa: S311 (a name)
        self._keeper.put("release", name)
        slot = self._slot(name, RELEASE)
        if (instance := adopted.get(name)) is not None:
            slot.restore(self._snapshot.stored[f"slot:{name}"], instance)
        run = asyncio.ensure_future(slot.run_once())
        stop = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait({run, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not run.done():
                slot.stop()
                if self._hurry.is_set():
                    self._supervisor.hasten()
            status = exit_status(await run)
        finally:
            run.cancel()
            stop.cancel()
        self._supervisor.remove(slot)
        if status == 0:
            self._keeper.put("release", "done")
        elif not self._ending.is_set():
            _say(f"the release process failed with status {status}: nothing was started")
            self._end(status)
        return status == 0

    def _start_slots(self, adopted: Mapping[str, Instance]) -> list[asyncio.Task[None]]:
        slots = []
        for process_type, quantity in self._plan.quantities.items():
            for number in range(1, quantity + 1):
                slot = self._slot(f"{process_type}.{number}", process_type)
                if (note := self._snapshot.stored.get(f"slot:{slot.name}")) is not None:
                    slot.restore(note, adopted.get(slot.name))
                slots.append(slot)
        self._supervisor.condition_changed()
        return [self._supervisor.start(slot) for slot in slots]

    def _slot(self, name: str, process_type: str) -> Slot:
        slot = Slot(name, self._plan.command(process_type), self._supervisor.shared, web=process_type == WEB)
        self._supervisor.add(slot)
        return slot

    def _members(self, instance_ids: Collection[str]) -> Mapping[str, Collection[int]]:
        living = self._supervisor.instances
        owners = {id_: _owner(living[id_]) for id_ in instance_ids if id_ in living}
        table = processes.table(self._features)
        found = processes.members(owners, table, adopter=os.getppid(), features=self._features)
        return {id_: found.get(id_, []) for id_ in instance_ids}

    # --- ending -----------------------------------------------------------------------------------------------------

    def _exited(self, name: str, exit_code: int) -> None:
        if self._options.stop_on_exit and not self._ending.is_set():
            _say(f"{name} exited with status {exit_status(exit_code)}: stopping (--on-exit stop)")
            self._supervisor.stop_all()
            self._end(exit_status(exit_code))

    def _signalled(self, number: int) -> None:
        """The first signal ends in order, a second one at once, and shows in the exit status."""
        self._signals += 1
        if self._signals == 1 and not self._ending.is_set():
            _say(f"{signal.Signals(number).name}: stopping (once more kills what is still running)")
            self._end(0)
        elif self._signals > 1:
            self._status = 128 + number
            self._hurry.set()
            self._supervisor.hasten()

    def _end(self, status: int) -> None:
        if not self._ending.is_set():
            self._status = status
            self._ending.set()

    async def _shut_down(self, slots: Collection[asyncio.Task[None]]) -> None:
        """Requests in flight, then every process of every dyno, then the last lines, then every file."""
        await self._drain()
        self._supervisor.stop_all()
        if self._hurry.is_set():
            self._supervisor.hasten()
        if slots:
            await asyncio.wait(slots)
        await self._sink.flush_and_close(0.0 if self._hurry.is_set() else FLUSH_S)
        await self._pump.close()
        self._claim.release()
        for listener in self._listeners:
            listener.close()

    async def _drain(self) -> None:
        shutdown = asyncio.ensure_future(self._routing.shutdown(drain_timeout_s=DRAIN_S))
        hurry = asyncio.ensure_future(self._hurry.wait())
        try:
            done, _ = await asyncio.wait(
                {shutdown, hurry}, timeout=SAY_DRAIN_AFTER_S, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                _say("waiting for requests in flight")
                await asyncio.wait({shutdown, hurry}, return_when=asyncio.FIRST_COMPLETED)
            if not shutdown.done():
                shutdown.cancel()
                await self._routing.shutdown(drain_timeout_s=0.0)
        finally:
            hurry.cancel()
            shutdown.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await shutdown

    async def _end_without_keeper(self) -> None:
        """The keeper was killed: no dyno outlives it (contracts 1). Orphans are anywhere now, so all are looked at."""
        await self._lost.wait()
        _say("the keeper was killed: ending every dyno")
        owners = {id_: _owner(instance) for id_, instance in self._supervisor.instances.items()}
        while True:
            table = processes.table(self._features)
            members = processes.members(owners, table, adopter=None, features=self._features)
            if not any(members.values()):
                break
            for id_, pids in members.items():
                processes.send(pids, signal.SIGKILL, leader=owners[id_].pid)
            await asyncio.sleep(SWEEP_S)
        self._claim.release()
        os._exit(128 + signal.SIGKILL)  # nobody waits for a status, and nothing else is left to put in order


def _note_of(adopted: Adopted) -> Instance:
    return Instance.from_note(adopted.instance.id, adopted.instance.state)


def _owner(instance: Instance) -> processes.Owner:
    marks = [f"DYNO={instance.name}", *([f"PORT={instance.port}"] if instance.port is not None else [])]
    return processes.Owner(instance.pid, tuple(os.fsencode(mark) for mark in marks))


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(f"dynod: {text}", file=sys.stderr, flush=True)  # noqa: T201 (short text on stderr: contracts 6)
