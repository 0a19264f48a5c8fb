"""The keeper: dynod's process id, parent and subreaper of every dyno, holder of pipes, statuses and sockets.

It starts the core, starts another when that one dies or hangs, and hands over everything it holds.
It decides next to nothing: what to start, stop and restart is the core's business.
On its own it only does what must happen even while no core lives: reap, run the deadline of a stop under way,
and end what is left of a dyno whose main process has ended (a container ends with its first process).
Standard library only; one thread; hardly ever changes (ARCHITECTURE.md, "Keeper and core").
"""

import contextlib
import faulthandler
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable

from dynod.keeper import processes
from dynod.keeper.features import Features, become_subreaper, detect
from dynod.keeper.notify import Notifier
from dynod.keeper.protocol import (
    VERSION,
    Beat,
    Channel,
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
    Signalled,
    SnapshotEnd,
    Spawn,
    Spawned,
    SpawnFailed,
    Stop,
    Stored,
    Welcome,
)
from dynod.keeper.spawn import SpawnRefusedError, spawn

CORE_WATCHDOG_S = 5.0  # contracts 1: no beat for this long, and the core is replaced
READY_WITHIN_S = 30.0  # contracts 1: what a core may take to start
ABORT_GRACE_S = 2.0  # between SIGABRT, which lets faulthandler print every stack, and SIGKILL
RESTART_DELAYS_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0)  # contracts 1
STEADY_S = 60.0  # a core that lived this long starts the delays afresh
SWEEP_S = 0.05  # between rounds of SIGKILL while processes are still being forked, or where no SIGCHLD tells
OVERSLEPT_S = 1.0  # dynod itself was stopped (Ctrl-Z) or the machine slept: the core had no chance to beat
EX_SOFTWARE = 70  # sysexits(3)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Instance:
    """A dyno's processes as the keeper sees them."""

    def __init__(self, request: Spawn, pid: int, output: int) -> None:
        self.id = request.id
        self.pid = pid
        self.output = output
        self.owner = processes.Owner(pid, tuple(os.fsencode(mark) for mark in request.marks))
        self.stop_signal = request.stop_signal
        self.grace_s = request.grace_s
        self.state = request.state
        self.started_at = time.time()
        self.exit_code: int | None = None
        self.exited_at: float | None = None
        self.gone = False
        self.stopping = False
        self.kill_at: float | None = None  # monotonic; set while a stop runs
        self.killed = False


class _Core:
    """The core that is in charge, or was until a moment ago."""

    def __init__(self, pid: int, channel: Channel, now: float) -> None:
        self.pid = pid
        self.channel = channel
        self.started = now
        self.last_beat = now
        self.ready = False
        self.greeted = False
        self.aborted_at: float | None = None
        self.connected = True


class Keeper:
    """One dynod. `run` returns its exit status."""

    def __init__(self, arguments: list[str], *, features: Features, notifier: Notifier) -> None:
        self._arguments = arguments
        self._features = features
        self._notifier = notifier
        self._instances: dict[str, _Instance] = {}
        self._held: dict[str, list[int]] = {}
        self._store: dict[str, str] = {}
        self._signals: list[int] = []
        self._core: _Core | None = None
        self._generation = 0
        self._ever_ready = False
        self._quick_ends = 0
        self._start_at: float | None = time.monotonic()
        self._status: int | None = None
        self._stopping_alone = False
        self._watchdog_at = 0.0
        self._sweep_at: float | None = None
        self._nofile = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._stdin, self._stdin_end = _standard_input()
        self._poll = select.poll()
        self._wakeup, wakeup_end = os.pipe()
        for fd in (self._wakeup, wakeup_end):
            os.set_blocking(fd, False)
        self._poll.register(self._wakeup, select.POLLIN)
        for number in (*SIGNALS, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(wakeup_end, warn_on_full_buffer=False)
        if features.subreaper:
            become_subreaper()
        hard = self._nofile[1]
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the core inherits it; dynos get theirs back

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Keep until goodbye, or until the first core ends without ever having been ready."""
        while True:
            self._act(time.monotonic())
            if self._status is not None and self._core is None and not self._left_to_stop():
                return self._end(self._status)
            timeout = self._timeout(time.monotonic())
            before = time.monotonic()
            events = self._poll.poll(None if timeout is None else max(0.0, timeout) * 1000)
            now = time.monotonic()
            if self._core is not None and timeout is not None and now - before > max(timeout, 0.0) + OVERSLEPT_S:
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
        for instance in self._instances.values():
            if instance.kill_at is not None and now >= instance.kill_at and not instance.gone and not instance.killed:
                instance.killed = True
                count = self._kill(instance)
                self._tell(Killed(instance.id, count))
        if self._sweep_at is not None and now >= self._sweep_at:
            self._sweep_at = None
            self._settle()

    def _timeout(self, now: float) -> float | None:
        due = [instance.kill_at for instance in self._instances.values() if instance.kill_at and not instance.killed]
        if self._start_at is not None and self._status is None:
            due.append(self._start_at)
        if self._sweep_at is not None:
            due.append(self._sweep_at)
        if self._notifier.watchdog_s is not None:
            due.append(self._watchdog_at)
        if (core := self._core) is not None:
            if core.aborted_at is not None:
                due.append(core.aborted_at + ABORT_GRACE_S)
            else:
                due.append(_patience(core))
        return min(due) - now if due else None

    def _handle(self, events: list[tuple[int, int]]) -> None:
        for fd, _mask in events:
            if fd == self._wakeup:
                with contextlib.suppress(BlockingIOError):
                    for number in os.read(self._wakeup, 4096):
                        if number in SIGNALS:
                            self._signals.append(number)
                            self._tell(Signalled(number))
            elif self._core is not None and self._core.connected and fd == self._core.channel.fileno():
                self._listen(self._core)
        self._reap()
        if self._core is not None:
            self._watch_channel(self._core)

    # --- the core ---------------------------------------------------------------------------------------------------

    def _start_core(self) -> None:
        self._start_at = None
        self._generation += 1
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        theirs.set_inheritable(True)
        # -P: the folder that `dynod up` runs in is the app's; its modules must not stand in for the core's.
        command = [sys.executable, "-P", "-m", "dynod.daemon", "--keeper-fd", str(theirs.fileno()), *self._arguments]
        # Signals are the keeper's; it tells the core, which ignores them, and is shielded until it has come to that.
        pid = os.posix_spawn(sys.executable, command, os.environ, setsigmask=SIGNALS)
        theirs.close()
        self._core = _Core(pid, Channel(ours), time.monotonic())
        self._poll.register(self._core.channel.fileno(), select.POLLIN)

    def _watch_core(self, now: float) -> None:
        """Contracts 1: a core that does not beat, or is not ready in time, is aborted, then killed."""
        core = self._core
        if core is None:
            return
        if core.aborted_at is None:
            if now < _patience(core):
                return
            _say(f"the core gives no sign of life: replacing it (pid {core.pid})")
            core.aborted_at = now
            _signal(core.pid, signal.SIGABRT)
        elif now >= core.aborted_at + ABORT_GRACE_S:
            core.aborted_at = now
            _signal(core.pid, signal.SIGKILL)

    def _watch_channel(self, core: _Core) -> None:
        if core.connected:
            mask = select.POLLIN | (select.POLLOUT if core.channel.pending else 0)
            self._poll.modify(core.channel.fileno(), mask)

    def _listen(self, core: _Core) -> None:
        try:
            for received in core.channel.receive():
                self._answer(core, received.message, received.fds)
            core.channel.flush()
        except ConnectionError:
            core.greeted = False  # it reads no more, but may have said more before it went: EOF decides
        except EOFError:
            self._disconnect(core)
        except ProtocolError as error:
            _say(f"{error}; replacing the core")
            self._disconnect(core)
            _signal(core.pid, signal.SIGKILL)

    def _disconnect(self, core: _Core) -> None:
        if core.connected:
            core.connected = False
            self._poll.unregister(core.channel.fileno())
            core.channel.close()

    def _tell(self, message: Message) -> None:
        """An event; lost without a core, because the next one is given the state it describes."""
        core = self._core
        if core is None or not core.connected or not core.greeted:
            return
        try:
            core.channel.send(message)
        except ConnectionError:
            core.greeted = False  # as in _listen

    def _core_ended(self, core: _Core, exit_code: int) -> None:
        self._disconnect(core)
        self._core = None
        if self._status is not None:
            return
        if not self._ever_ready:
            self._status = exit_code if exit_code >= 0 else 128 - exit_code
            return
        lived_s = time.monotonic() - core.started
        self._quick_ends = 1 if lived_s >= STEADY_S else self._quick_ends + 1
        delay_s = RESTART_DELAYS_S[min(self._quick_ends - 1, len(RESTART_DELAYS_S) - 1)]
        how = f"exit status {exit_code}" if exit_code >= 0 else signal.Signals(-exit_code).name
        _say(f"the core ended ({how}); dynos are untouched, the next core starts {_in(delay_s)}")
        self._start_at = time.monotonic() + delay_s
        if self._signals and self._quick_ends >= len(RESTART_DELAYS_S):
            self._stop_everything()

    def _stop_everything(self) -> None:
        """Asked to stop, and no core stays up to do it: every dyno gets its signal and its grace from here."""
        _say("no core stays up to stop the dynos; stopping them from the keeper")
        self._start_at = None
        for instance in self._instances.values():
            self._stop(instance, instance.stop_signal, instance.grace_s)
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
            case Notify(text):
                self._notifier.send(text)
            case Spawn():
                self._spawn(core, message)
            case Stop(id_, number, grace_s):
                if (instance := self._instances.get(id_)) is not None:
                    self._stop(instance, number, grace_s)
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
        core.channel.send(Welcome(VERSION, self._generation, list(self._signals)))
        for instance in self._instances.values():
            core.channel.send(
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
                [instance.output],
            )
        for name, fds in self._held.items():
            core.channel.send(Held(name), fds)
        for key, value in self._store.items():
            core.channel.send(Stored(key, value))
        core.channel.send(SnapshotEnd())

    def _spawn(self, core: _Core, request: Spawn) -> None:
        instance = self._instances.get(request.id)
        if instance is None:
            try:
                started = spawn(
                    request.argv,
                    env=request.env,
                    cwd=request.cwd,
                    stdin=self._stdin,
                    nofile=self._nofile,
                    features=self._features,
                )
            except SpawnRefusedError as error:
                core.channel.send(SpawnFailed(request.id, error.errno, error.during))
                return
            instance = self._instances[request.id] = _Instance(request, started.pid, started.output)
        core.channel.send(Spawned(instance.id, instance.pid, instance.started_at), [instance.output])

    def _forget(self, id_: str) -> None:
        instance = self._instances.get(id_)
        if instance is not None and instance.gone:
            os.close(instance.output)
            del self._instances[id_]

    def _release(self, name: str) -> None:
        for fd in self._held.pop(name, ()):
            os.close(fd)

    # --- processes --------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Take every status there is: of the core, of dynos, of orphans that fell to us."""
        by_pid = {instance.pid: instance for instance in self._instances.values() if instance.exit_code is None}
        taken = False
        for pid, exit_code in self._statuses(by_pid):
            taken = True
            if self._core is not None and pid == self._core.pid:
                self._core_ended(self._core, exit_code)
            elif (instance := by_pid.get(pid)) is not None:
                instance.exit_code = exit_code
                instance.exited_at = time.time()
                self._tell(Exited(instance.id, exit_code, instance.exited_at))
                if not instance.stopping:
                    instance.killed = True
                    self._kill(instance)
        if taken:
            self._settle()

    def _statuses(self, by_pid: dict[int, _Instance]) -> Iterable[tuple[int, int]]:
        if self._features.waitid:
            while True:
                try:
                    seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                except ChildProcessError:
                    return
                if seen is None or seen.si_pid == 0:
                    return
                yield seen.si_pid, os.waitstatus_to_exitcode(os.waitpid(seen.si_pid, 0)[1])
        else:
            for pid in [*by_pid, *([self._core.pid] if self._core is not None else [])]:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    yield done, os.waitstatus_to_exitcode(status)

    def _members(self, instances: Iterable[_Instance]) -> dict[str, list[int]]:
        owners = {instance.id: instance.owner for instance in instances}
        table = processes.table(self._features)
        return processes.members(owners, table, adopter=os.getpid(), features=self._features)

    def _stop(self, instance: _Instance, number: int, grace_s: float) -> None:
        kill_at = time.monotonic() + grace_s
        if instance.stopping and instance.kill_at is not None:
            instance.kill_at = min(instance.kill_at, kill_at)
            return
        instance.stopping = True
        instance.kill_at = kill_at
        if grace_s > 0:
            processes.send(self._members([instance])[instance.id], number, leader=instance.pid)
        self._settle()

    def _kill(self, instance: _Instance) -> int:
        count = processes.send(self._members([instance])[instance.id], signal.SIGKILL, leader=instance.pid)
        self._sweep_at = time.monotonic() + SWEEP_S
        return count

    def _settle(self) -> None:
        """Find out which instances have no process left; go on killing those whose time is over."""
        open_ones = [instance for instance in self._instances.values() if instance.exit_code is not None]
        open_ones = [instance for instance in open_ones if not instance.gone]
        if not open_ones:
            return
        members = self._members(open_ones)
        for instance in open_ones:
            left = members[instance.id]
            if not left:
                instance.gone = True
                self._tell(Gone(instance.id))
                continue
            if instance.killed:
                processes.send(left, signal.SIGKILL, leader=instance.pid)
            if instance.killed or not self._features.subreaper:
                self._sweep_at = time.monotonic() + SWEEP_S

    def _end(self, status: int) -> int:
        """Nothing outlives the keeper: kill what is left, its orphans included, and take every status."""
        self._notifier.send("STOPPING=1")
        while True:
            table = processes.table(self._features)
            owners = {instance.id: instance.owner for instance in self._instances.values()}
            members = processes.members(owners, table, adopter=os.getpid(), features=self._features)
            left = {pid for pids in members.values() for pid in pids}
            if self._features.subreaper:
                left.update(process.pid for process in table.values() if process.parent == os.getpid())
            for pid in left:
                _signal(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if not left:
                return status
            time.sleep(SWEEP_S)


def _patience(core: _Core) -> float:
    """When the core has been silent for too long: monotonic seconds."""
    return core.last_beat + CORE_WATCHDOG_S if core.ready else core.started + READY_WITHIN_S


def _standard_input() -> tuple[int, int | None]:
    """What dynos read. From a terminal: a pipe that stays open and empty, since asset watchers end at its end."""
    if sys.stdin is not None and sys.stdin.isatty():
        return os.pipe()
    return os.open(os.devnull, os.O_RDONLY), None


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _in(delay_s: float) -> str:
    return f"in {delay_s:g} s" if delay_s else "now"


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"dynod: {text}\n".encode())


def _close_on_exec() -> None:
    """What the caller has open (`dynod up 3<file`, make's job server) is none of the core's and the dynos' business."""
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 (numbers are wanted)
        if int(name) > 2:  # noqa: PLR2004 (stderr)
            with contextlib.suppress(OSError):  # the one that lists the folder
                os.set_inheritable(int(name), False)


def main(argv: list[str]) -> int:
    """Run `dynod up …` or `dynod serve …`; `argv` begins with the verb. Returns the exit status."""
    faulthandler.enable()
    _close_on_exec()
    features = detect(os.environ)
    notifier = Notifier(os.environ)
    return Keeper(argv, features=features, notifier=notifier).run()
