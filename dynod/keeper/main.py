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
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dynod.keeper import cgroups, limits
from dynod.keeper.activation import take_over
from dynod.keeper.core_process import SIGNALS, CoreProcess
from dynod.keeper.features import Features, become_subreaper, detect, give_back_memory
from dynod.keeper.instances import Instances, Means
from dynod.keeper.notify import Notifier
from dynod.keeper.protocol import (
    VERSION,
    Beat,
    Confine,
    EndInput,
    Forget,
    Goodbye,
    Held,
    Hello,
    Hold,
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
    Stop,
    Stored,
    Welcome,
)
from dynod.keeper.said import say
from dynod.keeper.spawn import CAUGHT

OVERSLEPT_S = 1.0  # dynod itself was stopped (Ctrl-Z) or the machine slept: the core had no chance to beat
EX_SOFTWARE = 70  # sysexits(3)
# -P: the folder that `dynod up` runs in is the app's; its modules must not stand in for the core's.
CORE = (sys.executable, "-P", "-m", "dynod.daemon")
LONGEST_SLEEP_S = 3600.0  # poll(2) counts milliseconds in an int


class Patience(NamedTuple):
    """With a core, and with what does not get as far as its exec: in seconds."""

    watchdog_s: float = 5.0  # contracts 1: no beat for this long, and the core is replaced
    ready_within_s: float = 30.0  # contracts 1: what a core may take to start
    abort_grace_s: float = 2.0  # between SIGABRT, which lets faulthandler print every stack, and SIGKILL
    restart_delays_s: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0)  # contracts 1
    steady_s: float = 60.0  # a core that lived this long starts the delays afresh
    launch_s: float = 10.0  # Heroku, R99: between a dyno's fork and its exec


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
        self._held: dict[str, list[int]] = {name: list(fds) for name, fds in (given or {}).items()}
        self._store: dict[str, str] = {}
        self._signals: list[int] = []
        self._core: CoreProcess | None = None
        self._generation = 0
        self._ever_ready = False
        self._quick_ends = 0
        self._start_at: float | None = time.monotonic()
        self._status: int | None = None
        self._stopping_alone = False
        self._watchdog_at = 0.0
        self._poll = select.poll()
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
        # A developer's dyno leaves the dump that is waited for; a server's would leave secrets behind.
        dynos = limits.of_dynos(may_dump=arguments[:1] == ["up"])
        stdin, self._stdin_end = _standard_input()
        means = Means(
            features=features,
            stdin=stdin,
            limits=dynos,
            launch_s=patience.launch_s,
            most_fds=limits.take_own(dynos),  # the core inherits them; dynos get theirs
        )
        self._instances = Instances(self._poll, means, groups=self._groups, tell=self._tell, not_mine=self._is_cores)

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Keep until goodbye, or until the first core ends without ever having been ready."""
        while True:
            self._act(time.monotonic())
            if self._status is not None and self._core is None and not self._left_to_stop():
                self._notifier.send("STOPPING=1")
                self._instances.end()
                return self._status
            before = time.monotonic()
            timeout = min(max(0.0, self._due() - before), LONGEST_SLEEP_S)
            events = self._poll.poll(timeout * 1000)
            now = time.monotonic()
            if self._core is not None and now - before > timeout + OVERSLEPT_S:
                self._core.lived_on(now)
            self._handle(events)

    def _act(self, now: float) -> None:
        """Everything that is due."""
        if self._notifier.watchdog_s is not None and now >= self._watchdog_at:
            self._notifier.send("WATCHDOG=1")
            self._watchdog_at = now + self._notifier.watchdog_s
        if self._start_at is not None and now >= self._start_at and self._status is None:
            self._start_core()
        self._watch_core(now)
        self._instances.act(now)

    def _due(self) -> float:
        """When there is something to do next even if nothing happens, monotonic seconds."""
        due = [self._instances.due()]
        if self._start_at is not None and self._status is None:
            due.append(self._start_at)
        if self._notifier.watchdog_s is not None:
            due.append(self._watchdog_at)
        if (core := self._core) is not None:
            due.append(
                self._silent_at(core) if core.aborted_at is None else core.aborted_at + self._patience.abort_grace_s
            )
        return min(due)

    def _handle(self, events: list[tuple[int, int]]) -> None:
        for fd, _mask in events:
            if fd == self._wakeup:
                with contextlib.suppress(BlockingIOError):
                    for number in os.read(self._wakeup, 4096):
                        if number in SIGNALS:
                            self._signalled(number)
            elif self._core is not None and self._core.is_at(fd):
                self._listen(self._core)
            else:
                self._instances.finish_launches()  # of whom else may be unknown by now, or somebody new by that number
        self._instances.reap()
        if self._core is not None:
            self._core.watch()

    def _signalled(self, number: int) -> None:
        self._signals.append(number)
        self._tell(Signalled(number))
        if self._stopping_alone:  # contracts 6: a second signal ends it at once
            self._status = 128 + number
            self._instances.hasten(number)

    # --- the core ---------------------------------------------------------------------------------------------------

    def _start_core(self) -> None:
        self._start_at = None
        self._generation += 1
        try:
            self._core = CoreProcess.start(
                self._core_program, self._arguments, os.environ, self._poll, time.monotonic()
            )
        except OSError as error:
            why = f"the core cannot be started ({error})"
            if not self._ever_ready:
                say(why)  # else nobody has said anything
            self._start_later(why, EX_SOFTWARE, lived_s=0.0)
            return

    def _watch_core(self, now: float) -> None:
        """Contracts 1: a core that does not beat, or is not ready in time, is aborted, then killed."""
        core = self._core
        if core is None:
            return
        if core.aborted_at is None:
            if now < self._silent_at(core):
                return
            say(f"the core gives no sign of life: replacing it (pid {core.pid})")
            core.abort(now)
        elif now >= core.aborted_at + self._patience.abort_grace_s:
            core.kill(now)

    def _silent_at(self, core: CoreProcess) -> float:
        """When the core will have been silent for too long: monotonic seconds."""
        if core.ready:
            return core.last_beat + self._patience.watchdog_s
        return core.started + self._patience.ready_within_s

    def _listen(self, core: CoreProcess) -> bool:
        """Do what the core has asked; False when it has asked nothing."""
        try:
            messages = core.receive()
        except EOFError:
            core.disconnect()
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
        self._instances.signal_all()
        core.send()
        return bool(messages)

    def _give_up_on(self, core: CoreProcess, error: ProtocolError) -> None:
        say(f"{error}; replacing the core")
        core.disconnect()
        core.kill()

    def _tell(self, message: Message, fds: Sequence[int] = ()) -> None:
        """An event; lost without a core, because the next one is given the state it describes."""
        if self._core is not None and self._core.greeted:
            self._core.send(message, fds)

    def _is_cores(self, pid: int, exit_code: int) -> bool:
        """Take the status of a core; False for any other."""
        core = self._core
        if core is None or core.pid != pid:
            return False
        while core.connected and self._listen(core):
            pass  # its last words: a goodbye, say
        core.disconnect()
        self._core = None
        if self._status is not None:
            return True
        how = f"exit status {exit_code}" if exit_code >= 0 else signal.Signals(-exit_code).name
        status = exit_code if exit_code >= 0 else 128 - exit_code
        self._start_later(f"the core ended ({how})", status, lived_s=time.monotonic() - core.started)
        return True

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
        say(f"{why}; dynos are untouched, the next core starts {_in(delay_s)}")
        self._start_at = time.monotonic() + delay_s

    def _stop_everything(self) -> None:
        """Asked to stop, and no core stays up to do it: every dyno gets its signal and its grace from here."""
        say("no core stays up to stop the dynos; stopping them from the keeper")
        self._start_at = None
        self._instances.stop_all()
        self._status = EX_SOFTWARE
        self._stopping_alone = True

    def _left_to_stop(self) -> bool:
        return self._stopping_alone and not self._instances.are_gone

    # --- what the core asks -----------------------------------------------------------------------------------------

    def _answer(self, core: CoreProcess, message: Message, fds: list[int]) -> None:
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
                    self._instances.start(message, fds)
                finally:
                    for fd in fds:
                        os.close(fd)
            case Confine(limits_of_all):
                core.send(self._instances.confine(limits_of_all))
            case Stop(id_, number, grace_s):
                self._instances.stop(id_, number, grace_s)
            case Signal(id_, number):
                if number not in signal.valid_signals():
                    raise ProtocolError(f"there is no signal {number}")
                self._instances.signal(id_, number)
            case EndInput(id_):
                self._instances.end_input(id_)
            case SetState(id_, state):
                self._instances.set_state(id_, state)
            case Forget(id_):
                self._instances.forget(id_)
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

    def _greet(self, core: CoreProcess) -> None:
        core.greeted = True
        core.last_beat = time.monotonic()
        self._instances.make_all_known()
        groups = self._groups.root if self._groups else ""
        core.send(Welcome(VERSION, self._generation, list(self._signals), groups))
        for instance in self._instances:
            core.send(instance.as_message(), instance.ends)
        for name, fds in self._held.items():
            core.send(Held(name), fds)
        for key, value in self._store.items():
            core.send(Stored(key, value))
        core.send(SnapshotEnd())

    def _release(self, name: str) -> None:
        if (fds := self._held.pop(name, None)) is not None:
            self._notifier.drop(name)
            for fd in fds:
                os.close(fd)


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


def _in(delay_s: float) -> str:
    return f"in {delay_s:g} s" if delay_s else "now"


def main(argv: list[str]) -> int:
    """Run `dynod up …` or `dynod serve …`; `argv` begins with the verb. Returns the exit status."""
    own_descriptors()
    faulthandler.enable(2)  # by number: sys.stderr is None where dynod was started without one
    features = detect(os.environ)
    notifier = Notifier(os.environ)
    return Keeper(argv, features=features, notifier=notifier, given=take_over(os.environ)).run()
