"""The keeper: dynod's process id, parent and subreaper of every dyno, holder of pipes, statuses and sockets.

It starts the core, starts another when that one dies or hangs, and hands over everything it holds.
It decides next to nothing: what to start, stop and restart is the core's business.
On its own it only does what must happen even while no core lives: reap, run the deadline of a stop under way,
and end what is left of a dyno whose main process has ended (a container ends with its first process).
Standard library only; one thread; hardly ever changes (ARCHITECTURE.md, "Keeper and core").
"""

import contextlib
import errno
import faulthandler
import math
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from dynod.keeper import cgroups, controllers, limits, processes
from dynod.keeper.activation import take_over
from dynod.keeper.features import Features, become_subreaper, detect, give_back_memory
from dynod.keeper.launches import AT_ONCE_S, Launch, Launches, can_tell
from dynod.keeper.notify import Notifier
from dynod.keeper.protocol import (
    VERSION,
    Beat,
    Channel,
    Confine,
    Confined,
    EndInput,
    Exited,
    Forget,
    Gone,
    Goodbye,
    Held,
    Hello,
    Hold,
    Instance,
    Killed,
    Message,
    Notify,
    ProtocolError,
    Put,
    Ready,
    Release,
    SetState,
    Signal,
    Signalled,
    SnapshotEnd,
    Spawn,
    Spawned,
    SpawnFailed,
    Stop,
    Stored,
    Welcome,
)
from dynod.keeper.spawn import CAUGHT, Inside, SpawnRefusedError, fork, outcome

SWEEP_S = 0.05  # between rounds of SIGKILL while processes are still being forked
SWEEP_UNTOLD_S = 0.25  # between looks for the end of processes where no SIGCHLD tells, and a look may be a run of ps
LOOKS = 10  # at the process table, one after the other, before the keeper turns to other things
OVERSLEPT_S = 1.0  # dynod itself was stopped (Ctrl-Z) or the machine slept: the core had no chance to beat
EX_SOFTWARE = 70  # sysexits(3)
SIGNALS = tuple(each for each in CAUGHT if each != signal.SIGCHLD)
# -P: the folder that `dynod up` runs in is the app's; its modules must not stand in for the core's.
CORE = (sys.executable, "-P", "-m", "dynod.daemon")
SPARE_FDS = 64  # of dynod's own: sockets, wake-up pipe, a look at /proc
MOST_CELLS = 65_535  # in a row or a column: struct winsize has unsigned shorts
LONGEST_SLEEP_S = 3600.0  # poll(2) counts milliseconds in an int
_T = TypeVar("_T")


class Patience(NamedTuple):
    """With a core, and with what does not get as far as its exec: in seconds."""

    watchdog_s: float = 5.0  # contracts 1: no beat for this long, and the core is replaced
    ready_within_s: float = 30.0  # contracts 1: what a core may take to start
    abort_grace_s: float = 2.0  # between SIGABRT, which lets faulthandler print every stack, and SIGKILL
    restart_delays_s: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0)  # contracts 1
    steady_s: float = 60.0  # a core that lived this long starts the delays afresh
    launch_s: float = 10.0  # Heroku, R99: between a dyno's fork and its exec


class _Instance:
    """A dyno's processes as the keeper sees them."""

    def __init__(self, request: Spawn, pid: int, ends: list[int]) -> None:
        self.id = request.id
        self.pid = pid
        self.ends = ends  # of its output, and of its stdin where that is a pipe
        self.owner = processes.Owner(pid, tuple(os.fsencode(mark) for mark in request.marks))
        self.stop_signal = request.stop_signal
        self.grace_s = request.grace_s
        self.state = request.state
        self.watches = request.watches
        self.started_at = time.time()
        self.exit_code: int | None = None
        self.exited_at: float | None = None
        self.found_empty = False  # no process of it was found when they were looked for last
        self.gone = False
        self.stopping = False
        self.kill_at: float | None = None  # monotonic; set while a stop runs
        self.killed = False

    @property
    def deadline(self) -> float:
        """When SIGKILL is due, monotonic seconds. Whoever seems to be gone already is given the second look."""
        return math.inf if self.kill_at is None or self.killed or self.found_empty else self.kill_at


class _Core:
    """The core that is in charge, or was until a moment ago."""

    def __init__(self, pid: int, channel: Channel, now: float) -> None:
        self.pid = pid
        self.channel = channel
        self.started = now
        self.last_beat = now
        self.ready = False
        self.greeted = False
        self.deaf = False  # reads no more
        self.aborted_at: float | None = None
        self.connected = True


class Keeper:
    """One dynod. `run` returns its exit status."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        features: Features,
        notifier: Notifier,
        core: Sequence[str] = CORE,
        patience: Patience = Patience(),  # noqa: B008 (a value)
        given: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        """`core` is the program that is started with `--keeper-fd N` and the arguments.

        `given`: by name, descriptors that systemd has kept or opened, which are held for the first core.
        """
        self._patience = patience
        self._arguments = arguments
        self._core_program = core
        self._features = features
        self._notifier = notifier
        self._instances: dict[str, _Instance] = {}
        self._held: dict[str, list[int]] = {name: list(fds) for name, fds in (given or {}).items()}
        self._store: dict[str, str] = {}
        self._signals: list[int] = []
        self._core: _Core | None = None
        self._generation = 0
        self._ever_ready = False
        self._quick_ends = 0
        self._start_at: float | None = time.monotonic()
        self._status: int | None = None
        self._stopping_alone = False
        self._saw_all = True  # with the last look at the process table
        self._watchdog_at = 0.0
        self._sweep_at: float | None = None
        self._to_signal: list[tuple[_Instance, int]] = []
        # A developer's dyno leaves the dump that is waited for; a server's would leave secrets behind.
        self._controllers: controllers.Controllers | None = None
        self._limits = limits.of_dynos(may_dump=arguments[:1] == ["up"])
        self._stdin, self._stdin_end = _standard_input()
        self._poll = select.poll()
        self._launches = Launches(self._poll)
        self._wakeup, wakeup_end = os.pipe()
        for fd in (self._wakeup, wakeup_end):
            os.set_blocking(fd, False)
        self._poll.register(self._wakeup, select.POLLIN)
        signal.set_wakeup_fd(wakeup_end, warn_on_full_buffer=False)
        for number in CAUGHT:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1)
                signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, CAUGHT)
        if features.subreaper:
            become_subreaper()
        self._groups = cgroups.find(os.getpid(), as_service=notifier.is_heard) if features.cgroup else None
        self._most_fds = limits.take_own(self._limits)  # the core inherits them; dynos get theirs

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Keep until goodbye, or until the first core ends without ever having been ready."""
        while True:
            self._act(time.monotonic())
            if self._status is not None and self._core is None and not self._left_to_stop():
                return self._end(self._status)
            before = time.monotonic()
            timeout = min(max(0.0, self._due() - before), LONGEST_SLEEP_S)
            events = self._poll.poll(timeout * 1000)
            now = time.monotonic()
            if self._core is not None and now - before > timeout + OVERSLEPT_S:
                self._core.last_beat = self._core.started = now
            self._handle(events)

    def _act(self, now: float) -> None:
        """Everything that is due."""
        if self._notifier.watchdog_s is not None and now >= self._watchdog_at:
            self._notifier.send("WATCHDOG=1")
            self._watchdog_at = now + self._notifier.watchdog_s
        if self._start_at is not None and now >= self._start_at and self._status is None:
            self._start_core()
        self._watch_core(now)
        for instance, count in self._kill([each for each in self._instances.values() if each.deadline <= now]):
            self._tell(Killed(instance.id, count))
        for request in self._launches.give_up(now):
            self._tell(SpawnFailed(request.id, errno.ETIMEDOUT, "launch"))
        if self._sweep_at is not None and now >= self._sweep_at:
            self._sweep_at = None
            self._settle()

    def _due(self) -> float:
        """When there is something to do next even if nothing happens, monotonic seconds."""
        due = [instance.deadline for instance in self._instances.values()]
        if self._start_at is not None and self._status is None:
            due.append(self._start_at)
        if self._sweep_at is not None:
            due.append(self._sweep_at)
        due.append(self._launches.due())
        if self._notifier.watchdog_s is not None:
            due.append(self._watchdog_at)
        if (core := self._core) is not None:
            due.append(
                self._silent_at(core) if core.aborted_at is None else core.aborted_at + self._patience.abort_grace_s
            )
        return min(due, default=math.inf)

    def _handle(self, events: list[tuple[int, int]]) -> None:
        for fd, _mask in events:
            if fd == self._wakeup:
                with contextlib.suppress(BlockingIOError):
                    for number in os.read(self._wakeup, 4096):
                        if number in SIGNALS:
                            self._signalled(number)
            elif self._core is not None and self._core.connected and fd == self._core.channel.fileno():
                self._listen(self._core)
            else:
                self._finish_launches()  # of whom else may be unknown by now, or somebody new by that number
        self._reap()
        if self._core is not None:
            self._watch_channel(self._core)

    def _signalled(self, number: int) -> None:
        self._signals.append(number)
        self._tell(Signalled(number))
        if self._stopping_alone:  # contracts 6: a second signal ends it at once
            self._status = 128 + number
            for instance in self._instances.values():
                self._stop(instance, number, 0.0)

    # --- the core ---------------------------------------------------------------------------------------------------

    def _start_core(self) -> None:
        self._start_at = None
        self._generation += 1
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            with theirs:
                theirs.set_inheritable(True)
                command = [*self._core_program, "--keeper-fd", str(theirs.fileno()), *self._arguments]
                # Signals are the keeper's; it tells the core, which ignores them, and is shielded until it does.
                pid = os.posix_spawn(command[0], command, os.environ, setsigmask=SIGNALS)
        except OSError as error:
            why = f"the core cannot be started ({error})"
            if not self._ever_ready:
                _say(why)  # else nobody has said anything
            self._start_later(why, EX_SOFTWARE, lived_s=0.0)
            return
        self._core = _Core(pid, Channel(ours), time.monotonic())
        self._poll.register(self._core.channel.fileno(), select.POLLIN)

    def _watch_core(self, now: float) -> None:
        """Contracts 1: a core that does not beat, or is not ready in time, is aborted, then killed."""
        core = self._core
        if core is None:
            return
        if core.aborted_at is None:
            if now < self._silent_at(core):
                return
            _say(f"the core gives no sign of life: replacing it (pid {core.pid})")
            core.aborted_at = now
            _signal(core.pid, signal.SIGABRT)
        elif now >= core.aborted_at + self._patience.abort_grace_s:
            core.aborted_at = now
            _signal(core.pid, signal.SIGKILL)

    def _silent_at(self, core: _Core) -> float:
        """When the core will have been silent for too long: monotonic seconds."""
        if core.ready:
            return core.last_beat + self._patience.watchdog_s
        return core.started + self._patience.ready_within_s

    def _watch_channel(self, core: _Core) -> None:
        if core.connected:
            mask = select.POLLIN | (select.POLLOUT if core.channel.pending else 0)
            self._poll.modify(core.channel.fileno(), mask)

    def _listen(self, core: _Core) -> bool:
        """Do what the core has asked; False when it has asked nothing."""
        try:
            messages = core.channel.receive()
        except EOFError:
            self._disconnect(core)
            return False
        except ProtocolError as error:
            self._give_up_on(core, error)
            return False
        for message, fds in messages:
            try:
                self._answer(core, message, fds)
            except ProtocolError as error:
                self._give_up_on(core, error)
                return False
        self._signal_all()
        self._send(core)
        return bool(messages)

    def _give_up_on(self, core: _Core, error: ProtocolError) -> None:
        _say(f"{error}; replacing the core")
        self._disconnect(core)
        _signal(core.pid, signal.SIGKILL)

    def _send(self, core: _Core, message: Message | None = None, fds: Sequence[int] = ()) -> None:
        """Send a message, and what is left of those before."""
        if not core.connected or core.deaf:
            return
        try:
            if message is None:
                core.channel.flush()
            else:
                core.channel.send(message, fds)
        except ConnectionError:
            core.deaf = True  # it may have said more before it went, which is still to be heard: EOF decides

    def _disconnect(self, core: _Core) -> None:
        if core.connected:
            core.connected = False
            self._poll.unregister(core.channel.fileno())
            core.channel.close()

    def _tell(self, message: Message) -> None:
        """An event; lost without a core, because the next one is given the state it describes."""
        if self._core is not None and self._core.greeted:
            self._send(self._core, message)

    def _core_ended(self, core: _Core, exit_code: int) -> None:
        while core.connected and self._listen(core):
            pass  # its last words: a goodbye, say
        self._disconnect(core)
        self._core = None
        if self._status is not None:
            return
        how = f"exit status {exit_code}" if exit_code >= 0 else signal.Signals(-exit_code).name
        status = exit_code if exit_code >= 0 else 128 - exit_code
        self._start_later(f"the core ended ({how})", status, lived_s=time.monotonic() - core.started)

    def _start_later(self, why: str, status: int, *, lived_s: float) -> None:
        """Have the next core start in its time; the first one, never having been ready, ends dynod instead."""
        if not self._ever_ready:
            self._status = status
            return
        self._quick_ends = 1 if lived_s >= self._patience.steady_s else self._quick_ends + 1
        delays_s = self._patience.restart_delays_s
        if self._signals and self._quick_ends >= len(delays_s):
            self._stop_everything()
            return
        delay_s = delays_s[min(self._quick_ends, len(delays_s)) - 1]
        _say(f"{why}; dynos are untouched, the next core starts {_in(delay_s)}")
        self._start_at = time.monotonic() + delay_s

    def _stop_everything(self) -> None:
        """Asked to stop, and no core stays up to do it: every dyno gets its signal and its grace from here."""
        _say("no core stays up to stop the dynos; stopping them from the keeper")
        self._start_at = None
        for instance in self._instances.values():
            self._stop(instance, instance.stop_signal, instance.grace_s)
        self._signal_all()
        self._status = EX_SOFTWARE
        self._stopping_alone = True

    def _left_to_stop(self) -> bool:
        return self._stopping_alone and any(not instance.gone for instance in self._instances.values())

    # --- what the core asks -----------------------------------------------------------------------------------------

    def _answer(self, core: _Core, message: Message, fds: list[int]) -> None:
        match message:
            case Beat():
                core.last_beat = time.monotonic()
            case Hello():
                self._greet(core)
            case Ready():
                core.ready = self._ever_ready = True
                core.last_beat = time.monotonic()
                self._notifier.send("READY=1")
                give_back_memory()  # of the imports, and of the snapshot: with nothing else to do just now
            case Notify(text):
                self._notifier.send(text)
            case Spawn():
                try:
                    self._spawn(core, message, fds)
                finally:
                    for fd in fds:
                        os.close(fd)
            case Confine(limits_of_all):
                self._confine(core, limits_of_all)
            case Stop(id_, number, grace_s):
                if (instance := self._instances.get(id_)) is not None:
                    self._stop(instance, number, grace_s)
            case Signal(id_, number):
                if number not in signal.valid_signals():
                    raise ProtocolError(f"there is no signal {number}")
                if (instance := self._instances.get(id_)) is not None and not instance.gone:
                    _send(instance, self._members([instance])[id_], number)
            case EndInput(id_):
                if (instance := self._instances.get(id_)) is not None:
                    for fd in instance.ends[1:]:
                        os.close(fd)
                    del instance.ends[1:]
            case SetState(id_, state):
                if (instance := self._instances.get(id_)) is not None:
                    instance.state = state
            case Forget(id_):
                self._forget(id_)
            case Put(key, value):
                if value is None:
                    self._store.pop(key, None)
                else:
                    self._store[key] = value
            case Hold(name):
                self._release(name)
                self._held[name] = fds
                self._notifier.keep(name, fds)
            case Release(name):
                self._release(name)
            case Goodbye(status):
                self._status = status
                core.aborted_at = None
                core.last_beat = time.monotonic()
            case _:
                raise ProtocolError(f"a core does not send {type(message).__name__}")

    def _greet(self, core: _Core) -> None:
        core.greeted = True
        core.last_beat = time.monotonic()
        self._finish_launches()
        self._launches.give_up()  # nobody waits for them any more: this core starts what is to run
        self._send(
            core, Welcome(VERSION, self._generation, list(self._signals), self._groups.root if self._groups else "")
        )
        for instance in self._instances.values():
            self._send(
                core,
                Instance(
                    id=instance.id,
                    pid=instance.pid,
                    started_at=instance.started_at,
                    state=instance.state,
                    exit_code=instance.exit_code,
                    exited_at=instance.exited_at,
                    gone=instance.gone,
                    killed=instance.killed,
                    stopping=instance.stopping,
                ),
                instance.ends,
            )
        for name, fds in self._held.items():
            self._send(core, Held(name), fds)
        for key, value in self._store.items():
            self._send(core, Stored(key, value))
        self._send(core, SnapshotEnd())

    def _spawn(self, core: _Core, request: Spawn, fds: list[int]) -> None:
        terminal, inside = _terminal_size(request), _inside(request, fds)
        if (instance := self._instances.get(request.id)) is not None:
            self._send(core, Spawned(instance.id, instance.pid, instance.started_at), instance.ends)
            return
        if self._launches.holds(request.id):
            return  # whoever asked is told when it is done
        if self._is_full():
            self._send(core, SpawnFailed(request.id, errno.EMFILE, "pipe"))
            return
        try:
            forked = fork(
                request.argv,
                env=request.env,
                cwd=request.cwd,
                stdin=self._stdin,
                limits=self._limits,
                groups=self._make_groups(request),
                features=self._features,
                terminal=terminal,
                own_stdin=request.stdin,
                inside=inside,
            )
        except SpawnRefusedError as error:
            self._refused(request, error)
            return
        launch = Launch(request, forked, time.monotonic() + self._patience.launch_s)
        if can_tell(forked.report, AT_ONCE_S):
            self._launched(launch)
        else:
            self._launches.add(launch)

    def _finish_launches(self) -> None:
        for launch in self._launches.take_reported():
            self._launched(launch)

    def _launched(self, launch: Launch) -> _Instance | None:
        """Of one whose outcome is known; None where it was refused."""
        if (error := outcome(launch.forked)) is not None:
            self._refused(launch.request, error)
            return None
        instance = _Instance(launch.request, launch.forked.pid, launch.forked.ends)
        self._instances[instance.id] = instance
        if self._core is not None and self._core.greeted:
            self._send(self._core, Spawned(instance.id, instance.pid, instance.started_at), instance.ends)
        return instance

    def _refused(self, request: Spawn, error: SpawnRefusedError) -> None:
        self._remove_groups(request.id)
        self._tell(SpawnFailed(request.id, error.errno, error.during))

    def _is_full(self) -> bool:
        """Whether another instance would leave too few descriptors: each of them once more, for the next core."""
        held = sum(len(each.ends) for each in self._instances.values()) + self._launches.descriptors
        return 2 * held + SPARE_FDS > self._most_fds

    def _make_groups(self, request: Spawn) -> list[str]:
        """Without one, as where the machine has too many, the process table tells whose a process is."""
        made: list[str] = []
        try:
            if self._groups is not None:
                made.append(self._groups.make(request.id))
            if self._controllers is not None and request.limits is not None:
                made += self._controllers.make(request.id, request.limits)
        except OSError as error:
            _say(f"no control group for an instance: {error}")
        return made

    def _remove_groups(self, id_: str) -> None:
        if self._groups is not None:
            self._groups.remove(id_)
        if self._controllers is not None:
            self._controllers.remove(id_)

    def _confine(self, core: _Core, limits: Mapping[str, int]) -> None:
        if self._controllers is None and self._features.cgroup:
            self._controllers = controllers.find(os.getpid(), self._groups)
        if self._controllers is not None:
            self._controllers.limit_all(limits)
        self._send(core, Confined(self._controllers.folders if self._controllers is not None else {}))

    def _forget(self, id_: str) -> None:
        instance = self._instances.get(id_)
        if instance is not None and instance.gone:
            for fd in instance.ends:
                os.close(fd)
            del self._instances[id_]
            self._remove_groups(id_)

    def _release(self, name: str) -> None:
        if (fds := self._held.pop(name, None)) is not None:
            self._notifier.drop(name)
            for fd in fds:
                os.close(fd)

    # --- processes --------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        if self._take_statuses():
            self._settle()

    def _take_statuses(self) -> bool:
        """Take every status there is: of the core, of dynos, of orphans that fell to us; False when there was none."""
        by_pid = {instance.pid: instance for instance in self._instances.values() if instance.exit_code is None}
        taken = False
        left_behind: list[_Instance] = []
        for pid, exit_code in self._statuses():
            taken = True
            if self._core is not None and pid == self._core.pid:
                self._core_ended(self._core, exit_code)
                continue
            instance = by_pid.get(pid)
            if instance is None and (launch := self._launches.take_ended(pid)) is not None:
                instance = self._launched(launch)
            if instance is not None:
                instance.exit_code = exit_code
                instance.exited_at = time.time()
                instance.owner = instance.owner._replace(reaped=True)
                self._tell(Exited(instance.id, exit_code, instance.exited_at))
                if not instance.stopping:
                    left_behind.append(instance)
            elif (id_ := self._launches.buried(pid)) is not None:
                self._remove_groups(id_)
        self._kill(left_behind)
        return taken

    def _statuses(self) -> Iterable[tuple[int, int]]:
        """Every status there is; whose it is the caller knows. Nobody else in this process waits for children."""
        while True:
            try:
                if self._features.waitid:
                    seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                    pid = seen.si_pid if seen is not None else 0
                    status = os.waitpid(pid, 0)[1] if pid else 0
                else:
                    pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            yield pid, os.waitstatus_to_exitcode(status)

    def _members(self, instances: Iterable[_Instance]) -> dict[str, list[int]]:
        """Of the instances that have a control group it knows; of the others the process table."""
        found: dict[str, list[int]] = {}
        owners: dict[str, processes.Owner] = {}
        for instance in instances:
            grouped = self._groups.members(instance.id) if self._groups is not None else None
            if grouped is not None:
                found[instance.id] = grouped
            else:
                owners[instance.id] = instance.owner
        self._saw_all = True
        if owners:
            by_table, self._saw_all = processes.find(owners, keeper=os.getpid(), features=self._features)
            found |= by_table
        return found

    def _is_surely_empty(self, id_: str) -> bool:
        return self._groups is not None and self._groups.is_surely_empty(id_)

    def _stop(self, instance: _Instance, number: int, grace_s: float) -> None:
        if instance.gone:
            return
        kill_at = time.monotonic() + grace_s
        if instance.stopping and instance.kill_at is not None:
            instance.kill_at = min(instance.kill_at, kill_at)
            return
        instance.stopping = True
        instance.kill_at = kill_at
        if grace_s > 0:
            self._to_signal.append((instance, number))

    def _signal_all(self) -> None:
        """Every process of the instances that are to be stopped; with one look at the process table for all of them."""
        if self._to_signal:
            todo, self._to_signal = self._to_signal, []
            began = time.monotonic()
            self._hold_still(instance for instance, _ in todo)
            members = self._members(instance for instance, _ in todo)
            for instance, number in todo:
                _send(instance, members[instance.id], number)
                if instance.kill_at is not None:  # the grace begins with the signal, however long the look has taken
                    instance.kill_at += time.monotonic() - began
            self._settle()

    def _hold_still(self, instances: Iterable[_Instance]) -> None:
        """Who is about to be signalled must not fork on while ps takes its time: the signal sets it going again."""
        if not self._features.proc:
            for instance in instances:
                if instance.exit_code is None:
                    processes.freeze(instance.pid)

    def _kill(self, instances: list[_Instance]) -> list[tuple[_Instance, int]]:
        """SIGKILL every process of these; returns how many of each there were."""
        if not instances:
            return []
        self._hold_still(instances)
        members = self._members(instances)
        self._sweep_in(SWEEP_S)
        counts = []
        for instance in instances:
            instance.killed = True
            counts.append((instance, len(members[instance.id])))
            self._kill_members(instance, members[instance.id])
        return counts

    def _kill_members(self, instance: _Instance, members: list[int]) -> None:
        if self._groups is not None:
            self._groups.kill(instance.id)
        processes.send(members, signal.SIGKILL, leader=instance.pid)

    def _settle(self) -> None:
        """Find out which instances have no process left; go on killing those whose time is over.

        A look at the process table is not made in one moment: of a chain of processes that each fork and exit, it may
        meet none. But then one has ended meanwhile and fallen to us, or is about to. So nothing is gone until a look
        found nothing and nobody has ended during it. What the kernel itself counts needs no such care, and that saves
        the look at every process there is: an end and a new start beside 300 dynos cost 5 ms of CPU, not 20.
        Where orphans fall to others (no subreaper) nothing tells of their ends: there it takes two looks.
        """
        for _ in range(LOOKS):
            open_ones = [each for each in self._instances.values() if each.exit_code is not None and not each.gone]
            if not open_ones:
                return
            members = self._members(open_ones)
            doubtful = any(not members[each.id] and not self._is_surely_empty(each.id) for each in open_ones)
            changes = doubtful and processes.someone_changes(os.getpid(), self._features)
            unsettled = doubtful and self._take_statuses()
            if not unsettled and not changes:
                break
        for instance in open_ones:
            left = members[instance.id]
            sure = not unsettled and self._saw_all
            if not left and sure and (instance.found_empty or self._features.subreaper):
                instance.gone = True
                instance.kill_at = None
                self._tell(Gone(instance.id))
                continue
            instance.found_empty = not left and sure
            if instance.killed:
                self._kill_members(instance, left)
            if instance.killed or unsettled or instance.found_empty:
                self._sweep_in(SWEEP_S)
            elif not self._features.subreaper:
                self._sweep_in(SWEEP_UNTOLD_S)

    def _sweep_in(self, seconds: float) -> None:
        at = time.monotonic() + seconds
        self._sweep_at = at if self._sweep_at is None else min(at, self._sweep_at)

    def _end(self, status: int) -> int:
        """Nothing outlives the keeper: kill what is left, its orphans included, and take every status."""
        self._notifier.send("STOPPING=1")
        self._launches.give_up()
        while True:
            left = {pid for pids in self._members(self._instances.values()).values() for pid in pids}
            if self._features.subreaper:
                table = processes.table(self._features)
                left.update(process.pid for process in table.values() if process.parent == os.getpid())
            within_reach = [pid for pid in left if _signal(pid, signal.SIGKILL)]
            for _ in self._statuses():
                pass
            if not within_reach:
                if left:
                    _say(f"not allowed to end {', '.join(map(str, sorted(left)))}")
                if self._groups is not None:
                    self._groups.remove_all()
                if self._controllers is not None:
                    self._controllers.remove_all()
                return status
            time.sleep(SWEEP_S)


def _terminal_size(request: Spawn) -> tuple[int, int] | None:
    """Rows and columns. Raises ProtocolError for what no terminal has."""
    if request.terminal is None:
        return None
    if len(request.terminal) != 2 or not all(0 <= each <= MOST_CELLS for each in request.terminal):  # noqa: PLR2004 (rows and columns)
        raise ProtocolError(f"no size of a terminal: {request.terminal}")
    rows, columns = request.terminal
    return rows, columns


def _inside(request: Spawn, fds: list[int]) -> Inside:
    """What it needs to make a container, if it does. Raises ProtocolError."""
    mapped = request.shown_as is not None
    if mapped and not fds:
        raise ProtocolError("nothing says whose files are to be shown as whose")
    return Inside(
        watches=request.watches,
        owner=_pair(request.owner),
        shown_as=_pair(request.shown_as),
        mapping=fds[-1] if mapped else -1,
        files=tuple(fds[:-1] if mapped else fds),
    )


def _pair(found: list[_T] | None) -> tuple[_T, _T] | None:
    if found is None:
        return None
    if len(found) != 2:  # noqa: PLR2004 (a pair)
        raise ProtocolError(f"two were expected: {found}")
    return found[0], found[1]


def _send(instance: _Instance, members: list[int], number: int) -> None:
    """To every process of it that is the dyno's own."""
    if instance.watches:
        processes.send_past(instance.pid, members, number)
    else:
        processes.send(members, number, leader=instance.pid)


def _standard_input() -> tuple[int, int | None]:
    """What dynos read. From a terminal: a pipe that stays open and empty, since asset watchers end at its end."""
    if sys.stdin is not None and sys.stdin.isatty():
        return os.pipe()
    return os.open(os.devnull, os.O_RDONLY), None


def own_descriptors() -> None:
    """0, 1 and 2 are there, whatever started dynod, and nothing else it has left open reaches core or dynos."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 (stderr)
        os.set_inheritable(fd, True)
    os.close(fd)
    for entry in os.listdir("/dev/fd"):  # noqa: PTH208 (pathlib is heavy here)
        with contextlib.suppress(OSError):
            if int(entry) > 2:  # noqa: PLR2004 (stderr)
                os.set_inheritable(int(entry), False)


def _signal(pid: int, number: int) -> bool:
    """False when this user may not signal it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return True


def _in(delay_s: float) -> str:
    return f"in {delay_s:g} s" if delay_s else "now"


def _say(text: str) -> None:
    """On stderr, if whoever reads it keeps up: nothing that reads may stop the keeper."""
    with contextlib.suppress(OSError):
        room = select.poll()
        room.register(2, select.POLLOUT)
        if room.poll(0):
            os.write(2, f"dynod: {text}\n".encode())


def main(argv: list[str]) -> int:
    """Run `dynod up …` or `dynod serve …`; `argv` begins with the verb. Returns the exit status."""
    own_descriptors()
    faulthandler.enable(2)  # by number: sys.stderr is None where dynod was started without one
    features = detect(os.environ)
    notifier = Notifier(os.environ)
    return Keeper(argv, features=features, notifier=notifier, given=take_over(os.environ)).run()
