"""The cores of one keeper: the one in charge, one that may follow it, and those that only finish what they have.

Flow: keeper → **cores** → core processes. Here they are started, watched, replaced, and one is put in charge after the
other; what they say is the keeper's to do. What a core is, and from which program the next one starts, `succession`
decides. Standard library only.
"""

import contextlib
import math
import select
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from dynod.keeper.core_process import CoreProcess
from dynod.keeper.inheritance import Estate, Former
from dynod.keeper.protocol import (
    VERSION,
    HandOver,
    Message,
    Passed,
    Peer,
    PeerGone,
    ProtocolError,
    ReplaceFailed,
)
from dynod.keeper.said import say
from dynod.keeper.succession import Programs, Role, Step

EX_SOFTWARE = 70  # sysexits(3)
LAST_WORDS_S = 0.5  # for a core to take what it was to be told before the keeper becomes another
MOST_UNHEARD = 1000  # words of retired cores while nobody is in charge


class Patience(NamedTuple):
    """With cores, and with what does not get as far as its exec: in seconds."""

    watchdog_s: float = 5.0  # contracts 1: no beat for this long, and the core is replaced
    ready_within_s: float = 30.0  # contracts 1: what a core may take to start
    abort_grace_s: float = 2.0  # between SIGABRT, which lets faulthandler print every stack, and SIGKILL
    restart_delays_s: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0)  # contracts 1
    steady_s: float = 60.0  # a core that lived this long starts the delays afresh
    launch_s: float = 10.0  # Heroku, R99: between a dyno's fork and its exec
    hand_over_s: float = 60.0  # from being asked to let go to having done so: last words, a slug that is being unpacked
    leeway_s: float = 35.0  # beyond what a retired core asks for: its last lines wait until somebody is in charge
    take_over_s: float = 15.0  # for a core that has rehearsed, from being given everything to being in control


class Asks(NamedTuple):
    """What cores need of their keeper."""

    heard: Callable[[CoreProcess, Message, list[int]], None]  # do what one has asked; raises ProtocolError
    all_heard: Callable[[], None]  # of what had arrived
    give_all: Callable[[CoreProcess], None]  # the state, to one that is in charge from now on
    is_ending: Callable[[], bool]  # a goodbye has been said
    asked_to_stop: Callable[[], bool]
    over: Callable[[int], None]  # dynod ends with that status: the first core was never ready
    stop_dynos: Callable[[], None]  # no core stays up to do it
    become: Callable[[str], None]  # the keeper that this interpreter's dynod has; raises OSError


class Cores:
    """`poll` is the keeper's. Times are monotonic seconds, as `now` is."""

    def __init__(
        self,
        program: Sequence[str],
        arguments: Sequence[str],
        *,
        poll: select.poll,
        patience: Patience,
        environ: Mapping[str, str],
        asks: Asks,
        now: float,
    ) -> None:
        """`program` is started with `--keeper-fd N` and the arguments."""
        self.generation = 0
        self._programs = Programs(now=tuple(program))
        self._arguments = arguments
        self._environ = environ
        self._poll = poll
        self._patience = patience
        self._asks = asks
        self._in_charge: CoreProcess | None = None
        self._follows: CoreProcess | None = None
        self._retired: list[CoreProcess] = []
        self._unheard: deque[Passed] = deque(maxlen=MOST_UNHEARD)  # for the next one in charge
        self._forgotten = 0  # of these, since one was in charge
        self._ever_ready = False
        self._quick_ends = 0
        self._start_at: float | None = now
        self._becomes: tuple[str, ...] | None = None  # a program whose keeper this process is to be first

    def inherit(self, estate: Estate, now: float) -> None:
        """Those of the keeper that this one was before; the one that waits is in charge, or else a new one is."""
        self.generation = estate.generation
        self._programs = Programs(now=estate.now, before=estate.before)
        self._ever_ready = True
        for former in estate.retired:
            self._retired.append(CoreProcess.inherited(former, self._poll, Role.RETIRED, now))
        if estate.follows is not None:
            self._follows = CoreProcess.inherited(estate.follows, self._poll, Role.STANDBY, now)
            self._start_at = None
            self._succeed(now)

    def bequeath(self) -> tuple[Former | None, list[Former]]:
        """The one that waits, and the retired ones, for the keeper that this one is about to become."""
        for core in self:
            if core.connected:
                with contextlib.suppress(ConnectionError):
                    core.channel.drain(LAST_WORDS_S)
        follows = self._follows
        is_there = follows is not None and follows.role is Role.STANDBY and follows.connected
        waits = follows.as_former() if follows is not None and is_there else None
        return waits, [core.as_former() for core in self._retired if core.connected]

    @property
    def programs(self) -> Programs:
        """From which the next ones start."""
        return self._programs

    def __iter__(self) -> Iterator[CoreProcess]:
        yield from (each for each in (self._in_charge, self._follows, *self._retired) if each is not None)

    @property
    def has_one(self) -> bool:
        """Whether one is in charge."""
        return self._in_charge is not None

    # --- the keeper's loop ------------------------------------------------------------------------------------------

    def act(self, now: float) -> None:
        """Start the next one where it is due; contracts 1: abort, then kill, whoever gives no sign of life."""
        if self._becomes is not None:
            self._become(self._becomes, now)
        if self._start_at is not None and now >= self._start_at and not self._asks.is_ending():
            self._start(now)
        for core in tuple(self):
            if core.aborted_at is None and now >= self._silent_at(core):
                say(f"the core gives no sign of life: {_instead(core)} (pid {core.pid})")
                core.abort(now)
            elif core.aborted_at is not None and now >= core.aborted_at + self._patience.abort_grace_s:
                core.kill(now)

    def due(self) -> float:
        """When `act` has something to do next."""
        grace_s = self._patience.abort_grace_s
        if self._becomes is not None:
            return -math.inf
        found = [self._silent_at(each) if each.aborted_at is None else each.aborted_at + grace_s for each in self]
        if self._start_at is not None and not self._asks.is_ending():
            found.append(self._start_at)
        return min(found, default=math.inf)

    def _silent_at(self, core: CoreProcess) -> float:
        """When it will have been silent for too long."""
        if core.role in {Role.REHEARSING, Role.STARTING}:
            return core.silent_at
        beats_until = core.last_beat + self._patience.watchdog_s
        is_late = core.role is Role.RETIRED or (core.role is Role.RETIRING and not self._asks.asked_to_stop())
        return min(beats_until, core.silent_at) if is_late else beats_until

    def overslept(self, now: float) -> None:
        """Nobody had a chance to do anything for a while."""
        for core in self:
            core.lived_on(now)

    def at(self, fd: int) -> CoreProcess | None:
        """Who says something there."""
        return next((core for core in self if core.is_at(fd)), None)

    def watch(self) -> None:
        """Have the poll tell of what matters now."""
        for core in self:
            core.watch()

    def listen(self, core: CoreProcess) -> bool:
        """Do what it has asked; False when it has asked nothing."""
        try:
            messages = core.receive()
            for message, fds in messages:
                self._asks.heard(core, message, fds)
        except EOFError:
            core.disconnect()
            return False
        except ProtocolError as error:
            say(f"{error}; replacing the core")
            core.disconnect()
            core.kill()
            return False
        self._asks.all_heard()
        core.send()
        return bool(messages)

    def tell(self, message: Message, fds: Sequence[int] = ()) -> None:
        """An event; lost without a core, because the next one is given the state it describes."""
        if self._in_charge is not None and self._in_charge.greeted:
            self._in_charge.send(message, fds)

    # --- what they ask of each other --------------------------------------------------------------------------------

    def is_ready(self, core: CoreProcess, now: float) -> bool:
        """It could be in charge, or is in control: True."""
        self._step(core, Step.READY)
        core.last_beat = now
        owner = self._in_charge
        if core.role is Role.STANDBY and owner is not None and not self._asks.asked_to_stop():
            self._step(owner, Step.ASKED)
            owner.silent_at = now + self._patience.hand_over_s
            owner.send(HandOver())
        self._ever_ready |= core.role is Role.OWNER
        return core.role is Role.OWNER

    def replace(self, core: CoreProcess, program: Sequence[str], now: float) -> None:
        """Start another one beside it."""
        if self._follows is not None or core.role is not Role.OWNER:
            core.send(ReplaceFailed("another upgrade is under way"))
            return
        try:
            self._follows = self._start_from(program, Role.REHEARSING, now)
        except (OSError, IndexError) as error:
            core.send(ReplaceFailed(f"it cannot be started: {error}"))

    def hand_over(self, core: CoreProcess, within_s: float, now: float) -> None:
        """It has let go: the one that waits is in charge, or a new one where that has ended meanwhile."""
        self._step(core, Step.LET_GO)
        core.silent_at = now + within_s + self._patience.leeway_s
        self._in_charge = None
        self._retired.append(core)
        if not self._succeed(now):
            say("the new core ended before it was in charge; starting another of the old one")
            self._start_at = now

    def _succeed(self, now: float) -> bool:
        """Give everything to the one that waits. False where none does."""
        follows = self._follows
        if follows is None or follows.role is not Role.STANDBY:
            return False
        if follows.version != VERSION:
            self._becomes = follows.program
            return True
        self._in_charge, self._follows = follows, None
        self._programs = self._programs.taken_over(follows.program)
        self._quick_ends = 0
        self.generation += 1
        self._step(follows, Step.CHOSEN)
        follows.silent_at = now + self._patience.take_over_s
        self.greet(follows)
        return True

    def _become(self, program: tuple[str, ...], now: float) -> None:
        """Another version's keeper, which starts its core or has one that waits. If it cannot be, all is as before."""
        self._becomes = None
        try:
            self._asks.become(program[0])
        except OSError as error:
            say(f"the keeper cannot become that of {program[0]}: {error}")
        if self._follows is not None:
            self._follows.kill()
        if self._in_charge is None:
            self._start_at = now

    def greet(self, core: CoreProcess) -> None:
        """The one in charge is given everything, and from then on told what happens.

        One that speaks another version of the protocol is of a program that was gone back to: it starts again, with its
        own keeper.
        """
        if core.version != VERSION and self._ever_ready:
            core.kill()
            core.disconnect()
            self._becomes = core.program
            return
        core.greeted = True
        self._asks.give_all(core)
        for passed in self._unheard:
            core.send(passed)
        self._unheard.clear()
        if self._forgotten:
            say(f"nobody was in charge, and {self._forgotten} batches of router lines of the core before are lost")
            self._forgotten = 0

    def peers(self) -> list[Peer]:
        """Those that are retired."""
        return [Peer(core.pid) for core in self._retired]

    def pass_on(self, core: CoreProcess, pid: int, text: str) -> None:
        """Words of one core to another."""
        if core.role is Role.RETIRED:
            if self._in_charge is not None and self._in_charge.greeted:
                self.tell(Passed(core.pid, text))
                return
            if len(self._unheard) == MOST_UNHEARD:
                self._forgotten += 1  # the oldest
            self._unheard.append(Passed(core.pid, text))
            return
        for each in self._retired:
            if each.pid == pid:
                each.send(Passed(core.pid, text))

    @staticmethod
    def _step(core: CoreProcess, step: Step) -> None:
        try:
            core.step(step)
        except ValueError as error:
            raise ProtocolError(str(error)) from error

    # --- beginning and end ------------------------------------------------------------------------------------------

    def _start(self, now: float) -> None:
        self._start_at = None
        self.generation += 1
        try:
            self._in_charge = self._start_from(self._programs.now, Role.STARTING, now)
        except OSError as error:
            why = f"the core cannot be started ({error})"
            if not self._ever_ready:
                say(why)  # else nobody has said anything
            self._start_later(why, EX_SOFTWARE, now, lived_s=0.0, was_in_control=False)

    def _start_from(self, program: Sequence[str], role: Role, now: float) -> CoreProcess:
        core = CoreProcess.start(program, self._arguments, self._environ, poll=self._poll, role=role, now=now)
        core.silent_at = now + self._patience.ready_within_s
        return core

    def ended(self, pid: int, exit_code: int, now: float) -> bool:
        """Take the status of a core; False for any other process."""
        core = next((each for each in self if each.pid == pid), None)
        if core is None:
            return False
        while core.connected and self.listen(core):
            pass  # its last words: a goodbye, say
        core.disconnect()
        how = f"exit status {exit_code}" if exit_code >= 0 else signal.Signals(-exit_code).name
        if core in self._retired:  # perhaps by its last words
            self._retired.remove(core)
            self.tell(PeerGone(pid))
        elif core is self._follows:
            self._follows = None
            self.tell(ReplaceFailed(f"the new core ended ({how}){_late(core)}"))
        else:
            self._in_charge = None
            if not self._asks.is_ending() and not self._succeed(now):
                self._give_up_follower()
                status = exit_code if exit_code >= 0 else 128 - exit_code
                in_control = core.role is not Role.STARTING
                lived_s = now - core.started
                self._start_later(f"the core ended ({how})", status, now, lived_s=lived_s, was_in_control=in_control)
        return True

    def _give_up_follower(self) -> None:
        """The one in charge has ended by itself: whoever follows has not shown that it can."""
        if self._follows is not None:
            self._follows.kill()

    def _start_later(self, why: str, status: int, now: float, *, lived_s: float, was_in_control: bool) -> None:
        """Have the next core start in its time; the first one, never having been ready, ends dynod instead."""
        if not self._ever_ready:
            self._asks.over(status)
            return
        programs = self._programs.ended(now, was_in_control=was_in_control)
        went_back = programs.now != self._programs.now
        self._programs = programs
        self._quick_ends = 1 if lived_s >= self._patience.steady_s or went_back else self._quick_ends + 1
        delays_s = self._patience.restart_delays_s
        if self._asks.asked_to_stop() and self._quick_ends >= len(delays_s):
            self._start_at = None
            self._asks.stop_dynos()
            return
        delay_s = delays_s[min(self._quick_ends, len(delays_s)) - 1]
        if went_back:
            say(f"{why}, as the new version's do: going back to the previous version, {programs.now[0]}")
        when = f"in {delay_s:g} s" if delay_s else "now"
        say(f"{why}; dynos are untouched, the next core starts {when}")
        self._start_at = now + delay_s

    def end(self) -> None:
        """Dynod ends: what is retired, or was to follow, ends with it."""
        for core in self:
            core.kill()


def _instead(core: CoreProcess) -> str:
    return "ending it" if core.role in {Role.REHEARSING, Role.STANDBY, Role.RETIRED} else "replacing it"


def _late(core: CoreProcess) -> str:
    return ": it was not ready in time" if core.aborted_at is not None and core.role is Role.REHEARSING else ""
