"""The core's end of the keeper protocol, on the core's event loop: requests as coroutines, events as callbacks.

Standard library only, as all of this folder.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

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
    HandedOver,
    HandOver,
    Held,
    Hello,
    Hold,
    Instance,
    Killed,
    Message,
    Notify,
    Pass,
    Passed,
    Peer,
    PeerGone,
    ProtocolError,
    Put,
    Ready,
    Received,
    Release,
    Replace,
    ReplaceFailed,
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

GOODBYE_S = 5.0  # the keeper reads at once, or is stopped
BEAT_S = 1.0  # the keeper's patience is CORE_WATCHDOG_S


class KeeperLostError(Exception):
    """The keeper is dead: nothing holds the dynos together any more."""


class LaunchError(OSError):
    """An instance could not be started; `during` names the step that the operating system refused."""

    def __init__(self, number: int, during: str) -> None:
        super().__init__(number, os.strerror(number))
        self.during = during


class Launched(NamedTuple):
    """A started instance; the caller owns `output` and `input`: the read end of one pipe, the write end of another.

    Without an `input`, `output` is a terminal's master if one was asked for.
    """

    id: str
    pid: int
    started_at: float
    output: int
    input: int | None = None


class Adopted(NamedTuple):
    """An instance that an earlier core started, with what `Launched` has of it."""

    instance: Instance
    output: int
    input: int | None = None


class Snapshot(NamedTuple):
    """Everything the keeper held when this core said hello. The caller owns the descriptors."""

    generation: int
    signals: list[int]
    groups: str
    adopted: list[Adopted]
    held: dict[str, list[int]]
    stored: dict[str, str]
    peers: list[int]  # process ids of cores that are retired
    rehearses: bool  # another core is in charge: of all the above there is only `stored`


class Events(NamedTuple):
    """What the core wants to be told; called from the event loop, must not block."""

    exited: Callable[[str, int, float], None]  # instance id, exit code (negative: signal), epoch seconds
    killed: Callable[[str, int], None]  # instance id, how many processes were left
    gone: Callable[[str], None]
    signalled: Callable[[int], None]
    lost: Callable[[], None]  # the keeper died
    hand_over: Callable[[], None] = lambda: None  # another core waits to be in charge
    passed: Callable[[int, str], None] = lambda _pid, _text: None  # words of another core
    peer_gone: Callable[[int], None] = lambda _pid: None  # a retired core has ended


class KeeperClient:
    """Owns the socket. `connect` first; then `listen` hands events to their callbacks and starts the beat."""

    def __init__(self, fd: int, loop: asyncio.AbstractEventLoop) -> None:
        os.set_inheritable(fd, False)
        self._channel = Channel(socket.socket(fileno=fd))
        self._loop = loop
        self._events: Events | None = None
        self._backlog: list[Received] = []
        self._launches: dict[str, asyncio.Future[Launched]] = {}
        self._confined: asyncio.Future[dict[str, str]] | None = None
        self._replaced: asyncio.Future[str] | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._beat_due = 0.0  # the loop's clock; 0: none has been
        self.beat_late: Callable[[float], None] = lambda _late_s: None  # told of each beat how late the loop was
        self._writing = False
        self._lost = False

    async def connect(self) -> Snapshot:
        """Say hello and take over what there is. Raises KeeperLostError or ProtocolError."""
        self._send(Hello(VERSION, os.getpid()))
        return await self._snapshot()

    async def stand_by(self) -> Snapshot:
        """After a rehearsal: this core could be in charge. Returns once it is. Raises as `connect`."""
        self._send(Ready())
        self._tick()
        try:
            return await self._snapshot()
        finally:
            self._stop_beating()

    async def _snapshot(self) -> Snapshot:
        found: asyncio.Future[Snapshot] = self._loop.create_future()
        taken = Snapshot(0, [], "", [], {}, {}, [], rehearses=False)

        def take() -> None:
            nonlocal taken
            try:
                received = self._channel.receive()
            except (EOFError, ProtocolError) as error:
                self._loop.remove_reader(self._channel.fileno())
                found.set_exception(KeeperLostError() if isinstance(error, EOFError) else error)
                return
            for index, (message, fds) in enumerate(received):
                match message:
                    case Welcome(version, generation, signals, groups, rehearses):
                        if version != VERSION and not rehearses:  # for a rehearsal, any keeper will do
                            self._loop.remove_reader(self._channel.fileno())
                            found.set_exception(ProtocolError(f"keeper speaks {version}, core speaks {VERSION}"))
                            return
                        taken = taken._replace(
                            generation=generation, signals=signals, groups=groups, rehearses=rehearses
                        )
                    case Instance():
                        taken.adopted.append(Adopted(message, *fds))
                    case Held(name):
                        taken.held[name] = fds
                    case Stored(key, value):
                        taken.stored[key] = value
                    case Peer(pid):
                        taken.peers.append(pid)
                    case SnapshotEnd():
                        self._loop.remove_reader(self._channel.fileno())
                        found.set_result(taken)
                        self._backlog = received[index + 1 :]  # events that came right behind
                        return
                    case _:
                        self._backlog.append(received[index])

        self._loop.add_reader(self._channel.fileno(), take)
        try:
            return await found
        finally:
            self._loop.remove_reader(self._channel.fileno())

    def listen(self, events: Events) -> None:
        """From now on events reach their callbacks, and the keeper hears that this core lives."""
        self._events = events
        self._loop.add_reader(self._channel.fileno(), self._receive)
        backlog, self._backlog = self._backlog, []
        for received in backlog:
            self._dispatch(received, events)
        self._tick()

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
        """Start an instance. Raises LaunchError when the operating system refuses.

        `terminal`: on one of so many rows and columns; `stdin`: with one to write to. What the others mean says
        `protocol.Spawn`; `files` are the descriptors that go with it, which stay the caller's.
        Without a keeper it never returns: whoever waits is ended by what `Events.lost` leads to. Events of the instance
        come only after this has returned.
        """
        future: asyncio.Future[Launched] = self._loop.create_future()
        self._launches[instance_id] = future
        try:
            self._send(
                Spawn(
                    instance_id,
                    list(argv),
                    dict(env),
                    cwd,
                    list(marks),
                    stop_signal,
                    grace_s,
                    state,
                    None if terminal is None else list(terminal),
                    stdin,
                    watches,
                    None if limits is None else dict(limits),
                    None if owner is None else list(owner),
                    None if shown_as is None else list(shown_as),
                    as_owner,
                    confined,
                    filtered,
                ),
                files,
            )
            return await future
        finally:
            self._launches.pop(instance_id, None)

    def confine(self, limits: Mapping[str, int]) -> asyncio.Future[dict[str, str]]:
        """Limit what all instances take together, and from now on each as its launch says.

        The answer: the folders of their groups by controller. It comes after `listen`.
        """
        self._confined = self._loop.create_future()
        self._send(Confine(dict(limits)))
        return self._confined

    def stop(self, instance_id: str, *, number: int, grace_s: float) -> None:
        """Signal every process of the instance; what is left after `grace_s` seconds is killed. 0 kills at once."""
        self._send(Stop(instance_id, number, grace_s))

    def send_signal(self, instance_id: str, number: int) -> None:
        """Signal every process of the instance; nothing follows from it."""
        self._send(Signal(instance_id, number))

    def end_input(self, instance_id: str) -> None:
        """Whoever reads the instance's stdin shall meet its end, once this core's own descriptor is closed too."""
        self._send(EndInput(instance_id))

    def set_state(self, instance_id: str, state: str) -> None:
        self._send(SetState(instance_id, state))

    def forget(self, instance_id: str) -> None:
        """The instance is gone and its output handed on."""
        self._send(Forget(instance_id))

    def put(self, key: str, value: str | None) -> None:
        """Keep a value for the next core."""
        self._send(Put(key, value))

    def hold(self, name: str, fds: Sequence[int]) -> None:
        """Have the keeper keep duplicates of the descriptors, replacing those it had under the name."""
        self._send(Hold(name), fds)

    def release(self, name: str) -> None:
        self._send(Release(name))

    async def replace(self, program: Sequence[str]) -> str:
        """Have another core started from this program, to be in charge. Returns why there will be none.

        Where there is one, `Events.hand_over` comes, and this never returns.
        """
        self._replaced = self._loop.create_future()
        self._send(Replace(list(program)))
        return await self._replaced

    def heed_cores_alone(self) -> None:
        """Of events, only other cores' and the keeper's end reach their callbacks from now on.

        The others are the next core's, which is given the state that they describe.
        """
        if self._events is not None:
            heard = self._events
            self._events = Events(
                exited=lambda _id, _code, _at: None,
                killed=lambda _id, _count: None,
                gone=lambda _id: None,
                signalled=lambda _number: None,
                lost=heard.lost,
                passed=heard.passed,
            )

    def handed_over(self, within_s: float) -> None:
        """Another core is in charge, and this one ends within so many seconds: what it asks after that is not done."""
        self._send(HandedOver(within_s))

    def pass_on(self, pid: int, text: str) -> None:
        """Tell a retired core something or, from one, the core in charge (0)."""
        self._send(Pass(pid, text))

    def ready(self) -> None:
        self._send(Ready())

    def notify(self, text: str) -> None:
        self._send(Notify(text))

    def part(self) -> None:
        """The last act of a core that was retired: waits for the keeper to take what it has said."""
        self._stop_beating()
        with contextlib.suppress(ConnectionError):
            self._channel.drain(GOODBYE_S)

    def goodbye(self, status: int) -> None:
        """End dynod with this status. The last message: it waits for the keeper to take it."""
        self._send(Goodbye(status))
        self.part()

    def close(self) -> None:
        self._stop_beating()
        if self._channel.fileno() >= 0:
            self._loop.remove_reader(self._channel.fileno())
            self._loop.remove_writer(self._channel.fileno())
        self._channel.close()

    def _send(self, message: Message, fds: Sequence[int] = ()) -> None:
        if self._lost:
            return
        try:
            self._channel.send(message, fds)
        except ConnectionError:
            return  # the reader meets the end of the stream and says so
        self._watch_writable()

    def _watch_writable(self) -> None:
        pending = self._channel.pending
        if pending and not self._writing:
            self._loop.add_writer(self._channel.fileno(), self._flush)
        elif self._writing and not pending:
            self._loop.remove_writer(self._channel.fileno())
        self._writing = pending

    def _flush(self) -> None:
        try:
            self._channel.flush()
        except ConnectionError:
            self._loop.remove_writer(self._channel.fileno())
            self._writing = False
            return
        self._watch_writable()

    def _tick(self) -> None:
        now = self._loop.time()
        if self._beat_due:
            self.beat_late(max(0.0, now - self._beat_due))
        self._beat_due = now + BEAT_S
        self._send(Beat())
        self._beat = self._loop.call_later(BEAT_S, self._tick)

    def _stop_beating(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None
        self._beat_due = 0.0

    def _receive(self) -> None:
        assert self._events is not None  # noqa: S101 (the reader is added by listen)
        try:
            received = self._channel.receive()
        except EOFError:
            self._lose(self._events)
            return
        for each in received:
            self._dispatch(each, self._events)

    def _lose(self, events: Events) -> None:
        self._lost = True
        self._loop.remove_reader(self._channel.fileno())
        if self._writing:
            self._loop.remove_writer(self._channel.fileno())
        self._stop_beating()
        events.lost()

    def _dispatch(self, received: Received, events: Events) -> None:
        match received.message:
            case Exited(id_) | Killed(id_) | Gone(id_) if (launch := self._launches.get(id_)) and launch.done():
                # It ended before whoever launched it has had a turn: they would be told of something unknown to them.
                self._loop.call_soon(self._dispatch, received, events)
            case Spawned(id_, pid, started_at):
                future = self._launches.get(id_)
                if future is not None and not future.done():
                    future.set_result(Launched(id_, pid, started_at, *received.fds))
                else:
                    for fd in received.fds:
                        os.close(fd)  # whoever asked was cancelled
            case Confined(folders):
                if self._confined is not None and not self._confined.done():
                    self._confined.set_result(folders)
            case SpawnFailed(id_, number, during):
                future = self._launches.get(id_)
                if future is not None and not future.done():
                    future.set_exception(LaunchError(number, during))
            case HandOver():
                events.hand_over()
            case ReplaceFailed(why):
                if self._replaced is not None and not self._replaced.done():
                    self._replaced.set_result(why)
            case Passed(pid, text):
                events.passed(pid, text)
            case PeerGone(pid):
                events.peer_gone(pid)
            case Exited(id_, exit_code, exited_at):
                events.exited(id_, exit_code, exited_at)
            case Killed(id_, processes):
                events.killed(id_, processes)
            case Gone(id_):
                events.gone(id_)
            case Signalled(number):
                events.signalled(number)
            case other:
                raise ProtocolError(f"a keeper does not send {type(other).__name__} here")
