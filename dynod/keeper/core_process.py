"""A core as the keeper has it: a process, and the keeper's end of the socket pair to it.

Flow: keeper → **core process** ⇄ client (the core's end). Here it is started, listened to, spoken to and ended; when,
is the keeper's business. Standard library only.
"""

import math
import os
import select
import signal
import socket
from collections.abc import Mapping, Sequence

from dynod.keeper.inheritance import Former
from dynod.keeper.processes import signal_one
from dynod.keeper.protocol import VERSION, Channel, Message, Received
from dynod.keeper.spawn import CAUGHT
from dynod.keeper.succession import Role, Step, advance

SIGNALS = tuple(each for each in CAUGHT if each != signal.SIGCHLD)  # the keeper's, which the core only hears of


class CoreProcess:
    """One core. Times are monotonic seconds. `poll` is the keeper's."""

    def __init__(
        self, pid: int, channel: Channel, poll: select.poll, now: float, *, program: tuple[str, ...], role: Role
    ) -> None:
        self.pid = pid
        self.program = program
        self.role = role
        self.channel = channel
        self.started = now
        self.last_beat = now
        self.silent_at = math.inf  # when it must have got further, whether it beats or not
        self.version = VERSION  # of the protocol
        self.greeted = False  # it has been given everything
        self.aborted_at: float | None = None
        self.connected = True
        self._deaf = False  # reads no more
        self._poll = poll
        poll.register(channel.fileno(), select.POLLIN)

    @classmethod
    def start(
        cls,
        program: Sequence[str],
        arguments: Sequence[str],
        environ: Mapping[str, str],
        *,
        poll: select.poll,
        role: Role,
        now: float,
    ) -> "CoreProcess":
        """`program --keeper-fd N arguments`. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            theirs.set_inheritable(True)
            command = [*program, "--keeper-fd", str(theirs.fileno()), *arguments]
            try:
                # Signals are the keeper's; it tells the core, which ignores them, and is shielded until it does.
                pid = os.posix_spawn(command[0], command, environ, setsigmask=SIGNALS)
            except OSError:
                ours.close()
                raise
        return cls(pid, Channel(ours), poll, now, program=tuple(program), role=role)

    @classmethod
    def inherited(cls, former: Former, poll: select.poll, role: Role, now: float) -> "CoreProcess":
        """One of the keeper that this one was before."""
        channel = Channel(socket.socket(fileno=former.fd))
        channel.go_on_from(former.received)
        core = cls(former.pid, channel, poll, now, program=former.program, role=role)
        core.silent_at = former.silent_at
        return core

    def as_former(self) -> Former:
        """For the keeper that this one is about to become. What it was still to be told is lost."""
        return Former(self.pid, self.channel.fileno(), self.program, self.silent_at, self.channel.begun)

    def step(self, step: Step) -> None:
        """It is something else from now on. Raises ValueError where it cannot be."""
        self.role = advance(self.role, step)

    def is_at(self, fd: int) -> bool:
        """Whether it is this core that says something."""
        return self.connected and fd == self.channel.fileno()

    def receive(self) -> list[Received]:
        """What it has said. Raises EOFError, ProtocolError."""
        return self.channel.receive()

    def send(self, message: Message | None = None, fds: Sequence[int] = ()) -> None:
        """Send a message, and what is left of those before."""
        if not self.connected or self._deaf:
            return
        try:
            if message is None:
                self.channel.flush()
            else:
                self.channel.send(message, fds)
        except ConnectionError:
            self._deaf = True  # it may have said more before it went, which is still to be heard: EOF decides

    def watch(self) -> None:
        """Have the poll tell of what matters now."""
        if self.connected:
            mask = select.POLLIN | (select.POLLOUT if self.channel.pending else 0)
            self._poll.modify(self.channel.fileno(), mask)

    def disconnect(self) -> None:
        """Listen to it no more."""
        if self.connected:
            self.connected = False
            self._poll.unregister(self.channel.fileno())
            self.channel.close()

    def lived_on(self, now: float) -> None:
        """It had no chance to do anything: its time begins anew."""
        self.silent_at += now - self.last_beat
        self.last_beat = self.started = now

    def abort(self, now: float) -> None:
        """Have faulthandler print every stack, and end it."""
        self.aborted_at = now
        signal_one(self.pid, signal.SIGABRT)

    def kill(self, now: float | None = None) -> None:
        """End it. `now`: it was aborted before."""
        self.aborted_at = now if now is not None else self.aborted_at
        signal_one(self.pid, signal.SIGKILL)
