"""The keeper: dynod's process id, parent and subreaper of every dyno, holder of pipes, statuses and sockets.

It starts the core, starts another when that one dies or hangs, and hands over everything it holds.
It decides next to nothing: what to start, stop and restart is the core's business.
On its own it only does what must happen even while no core lives: reap, run the deadline of a stop under way,
and end what is left of a dyno whose main process has ended (a container ends with its first process).
Standard library only; one thread; hardly ever changes (ARCHITECTURE.md, "Keeper and core").
"""

import contextlib
import faulthandler
import math
import os
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence

from dynod.keeper import cgroups, inheritance, limits
from dynod.keeper.activation import take_over
from dynod.keeper.core_process import SIGNALS, CoreProcess
from dynod.keeper.cores import EX_SOFTWARE, Asks, Cores, Patience
from dynod.keeper.features import Features, become_subreaper, detect, give_back_memory
from dynod.keeper.inheritance import Estate
from dynod.keeper.instances import Instances, Means
from dynod.keeper.notify import Notifier
from dynod.keeper.protocol import (
    VERSION,
    Beat,
    Confine,
    EndInput,
    Forget,
    Goodbye,
    HandedOver,
    Held,
    Hello,
    Hold,
    Message,
    Notify,
    Pass,
    ProtocolError,
    Put,
    Ready,
    Release,
    Replace,
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
from dynod.keeper.succession import IN_CHARGE

OVERSLEPT_S = 1.0  # dynod itself was stopped (Ctrl-Z) or the machine slept: the core had no chance to beat
# By its real folder: where `current` leads to another version by now, the next core is still one of this version.
_PYTHON = os.path.join(os.path.realpath(os.path.dirname(sys.executable)), os.path.basename(sys.executable))  # noqa: PTH118, PTH119, PTH120 (pathlib is heavy here)
# -P: the folder that `dynod up` runs in is the app's; its modules must not stand in for the core's.
CORE = (_PYTHON, "-P", "-m", "dynod.daemon")
LONGEST_SLEEP_S = 3600.0  # poll(2) counts milliseconds in an int


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
        estate: Estate | None = None,
    ) -> None:
        """`core` is the program that is started with `--keeper-fd N` and the arguments.

        `given`: by name, descriptors that systemd has kept or opened, which are held for the first core.
        `estate`: what this process held when it was another version's keeper.
        """
        self._arguments = list(arguments)
        self._features = features
        self._notifier = notifier
        self._held: dict[str, list[int]] = {name: list(fds) for name, fds in (given or {}).items()}
        self._store: dict[str, str] = {}
        self._signals: list[int] = []
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
        if estate is None:
            dynos = limits.of_dynos(may_dump=arguments[:1] == ["up"])
            most_fds = limits.take_own(dynos)  # the core inherits them; dynos get theirs
            stdin, self._stdin_end = _standard_input()
        else:
            dynos, most_fds, stdin, self._stdin_end = estate.limits, estate.most_fds, estate.stdin, estate.stdin_end
        self._means = means = Means(
            features=features, stdin=stdin, limits=dynos, launch_s=patience.launch_s, most_fds=most_fds
        )
        asks = Asks(
            heard=self._answer,
            all_heard=lambda: self._instances.signal_all(),  # noqa: PLW0108 (there are none yet)
            give_all=self._give_all,
            is_ending=lambda: self._status is not None,
            asked_to_stop=self._asked_to_stop,
            over=self._over,
            stop_dynos=self._stop_dynos,
            become=self._become,
        )
        self._cores = Cores(
            core,
            arguments,
            poll=self._poll,
            patience=patience,
            environ=os.environ,
            asks=asks,
            now=time.monotonic(),
        )
        self._instances = Instances(
            self._poll,
            means,
            groups=self._groups,
            tell=self._cores.tell,
            not_mine=lambda pid, exit_code: self._cores.ended(pid, exit_code, time.monotonic()),
        )

        if estate is not None:
            self._signals, self._store, self._held = estate.signals, estate.store, estate.held
            self._instances.inherit(estate.instances)
            self._cores.inherit(estate, time.monotonic())

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Keep until goodbye, or until the first core ends without ever having been ready."""
        while True:
            self._act(time.monotonic())
            if self._status is not None and not self._cores.has_one and not self._left_to_stop():
                self._cores.end()
                self._notifier.send("STOPPING=1")
                self._instances.end()
                return self._status
            before = time.monotonic()
            timeout = min(max(0.0, self._due() - before), LONGEST_SLEEP_S)
            events = self._poll.poll(timeout * 1000)
            now = time.monotonic()
            if now - before > timeout + OVERSLEPT_S:
                self._cores.overslept(now)
            self._handle(events)

    def _act(self, now: float) -> None:
        """Everything that is due."""
        if self._notifier.watchdog_s is not None and now >= self._watchdog_at:
            self._notifier.send("WATCHDOG=1")
            self._watchdog_at = now + self._notifier.watchdog_s
        self._cores.act(now)
        self._instances.act(now)

    def _due(self) -> float:
        """When there is something to do next even if nothing happens, monotonic seconds."""
        watchdog_at = self._watchdog_at if self._notifier.watchdog_s is not None else math.inf
        return min(self._instances.due(), self._cores.due(), watchdog_at)

    def _handle(self, events: list[tuple[int, int]]) -> None:
        for fd, _mask in events:
            if fd == self._wakeup:
                self._take_signals()
            elif (core := self._cores.at(fd)) is not None:
                self._cores.listen(core)
            else:
                self._instances.finish_launches()  # of whom else may be unknown by now, or somebody new by that number
        self._instances.reap()
        self._cores.watch()

    def _take_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in os.read(self._wakeup, 4096):
                if number in SIGNALS:
                    self._signalled(number)

    def _signalled(self, number: int) -> None:
        self._signals.append(number)
        self._cores.tell(Signalled(number))
        if self._stopping_alone:  # contracts 6: a second signal ends it at once
            self._status = 128 + number
            self._instances.hasten(number)

    def _asked_to_stop(self) -> bool:
        """A service is only told by SIGHUP to read its settings again."""
        return any(number != signal.SIGHUP or self._arguments[:1] != ["serve"] for number in self._signals)

    def _become(self, python: str) -> None:
        """The keeper of another version. Its signals wait until it takes them. Raises OSError."""
        kept: list[int] = []
        signal.pthread_sigmask(signal.SIG_BLOCK, CAUGHT)  # first of all: what came before goes along, the rest waits
        try:
            self._take_signals()
            kept = self._bequeathed()
            for fd in kept:
                os.set_inheritable(fd, True)
            inheritance.become(python, kept[0], self._arguments, os.environ)
        finally:  # it was refused
            for fd in kept:
                os.set_inheritable(fd, False)
            if kept:
                os.close(kept[0])
            signal.pthread_sigmask(signal.SIG_UNBLOCK, CAUGHT)

    def _bequeathed(self) -> list[int]:
        """Everything for the next keeper, in a file of memory, and after that the descriptors that it names."""
        follows, retired = self._cores.bequeath()
        programs = self._cores.programs
        estate = Estate(
            arguments=self._arguments,
            notify=self._notifier.address,
            limits=self._means.limits,
            most_fds=self._means.most_fds,
            stdin=self._means.stdin,
            stdin_end=self._stdin_end,
            signals=self._signals,
            store=self._store,
            held=self._held,
            instances=self._instances.bequeath(),
            generation=self._cores.generation,
            now=programs.now,
            before=programs.before,
            follows=follows,
            retired=retired,
        )
        return [inheritance.write(estate), *estate.descriptors()]

    def _over(self, status: int) -> None:
        self._status = status

    def _stop_dynos(self) -> None:
        """Asked to stop, and no core stays up to do it: every dyno gets its signal and its grace from here."""
        say("no core stays up to stop the dynos; stopping them from the keeper")
        self._instances.stop_all()
        self._status = EX_SOFTWARE
        self._stopping_alone = True

    def _left_to_stop(self) -> bool:
        return self._stopping_alone and not self._instances.are_gone

    # --- what the core asks -----------------------------------------------------------------------------------------

    def _answer(self, core: CoreProcess, message: Message, fds: list[int]) -> None:
        """From any core. Raises ProtocolError."""
        now = time.monotonic()
        match message:
            case Beat():
                core.last_beat = now
            case Hello(version, _pid):
                core.last_beat, core.version = now, version
                self._greet(core)
            case Ready():
                if self._cores.is_ready(core, now):
                    self._notifier.send("READY=1")
                    give_back_memory()  # of the imports, and of the snapshot: with nothing else to do just now
            case Pass(pid, text):
                self._cores.pass_on(core, pid, text)
            case _ if core.role in IN_CHARGE:
                self._obey(core, message, fds)
            case _:  # what a core says that is no more in charge, or not yet, changes nothing
                for fd in fds:
                    os.close(fd)

    def _obey(self, core: CoreProcess, message: Message, fds: list[int]) -> None:
        """The core in charge. Raises ProtocolError."""
        match message:
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
            case Replace(program):
                self._cores.replace(core, program, time.monotonic())
            case HandedOver(within_s):
                self._cores.hand_over(core, within_s, time.monotonic())
            case Goodbye(status):
                self._status = status
                core.aborted_at = None
                core.last_beat = time.monotonic()
            case _:
                raise ProtocolError(f"a core does not send {type(message).__name__}")

    def _greet(self, core: CoreProcess) -> None:
        if core.role in IN_CHARGE:
            self._cores.greet(core)
            return
        core.send(Welcome(VERSION, 0, [], "", rehearses=True))
        for key, value in self._store.items():
            core.send(Stored(key, value))
        core.send(SnapshotEnd())

    def _give_all(self, core: CoreProcess) -> None:
        self._instances.make_all_known()
        groups = self._groups.root if self._groups else ""
        core.send(Welcome(VERSION, self._cores.generation, list(self._signals), groups))
        for instance in self._instances:
            core.send(instance.as_message(), instance.ends)
        for name, fds in self._held.items():
            core.send(Held(name), fds)
        for key, value in self._store.items():
            core.send(Stored(key, value))
        for peer in self._cores.peers():
            core.send(peer)
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


def main(argv: list[str]) -> int:
    """Run `dynod up …` or `dynod serve …`; `argv` begins with the verb. Returns the exit status."""
    own_descriptors()
    faulthandler.enable(2)  # by number: sys.stderr is None where dynod was started without one
    features = detect(os.environ)
    notifier = Notifier(os.environ)
    return Keeper(argv, features=features, notifier=notifier, given=take_over(os.environ)).run()
