"""What keeper and core say to each other: one class a message, framed with a length, descriptors riding along.

A frame is four bytes of length (big endian) and that many bytes of ASCII JSON, `{"op": NAME, "fds": N, "fields": […]}`.
Descriptors travel by SCM_RIGHTS with the frame's first byte and are matched by count, in order.
Every request is idempotent: a core that died between asking and hearing the answer may ask again.

Standard library only. No policy in here, and no event loop: both ends drive a `Channel` from their own.
"""

import array
import json
import os
import select
import socket
import types
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple, NoReturn, get_args, get_origin, get_type_hints

VERSION = 4
MAX_FDS = 253  # SCM_MAX_FD of Linux, the descriptors one message may carry
MAX_FRAME_BYTES = 64 * 2**20  # above any environment that an exec takes (6 MiB, escaped six-fold at worst)
RECEIVE_BYTES = 65_536
_FD_SIZE = array.array("i").itemsize
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # not on macOS: there descriptors are marked after arrival


class ProtocolError(Exception):
    """The other end speaks another language, or the stream is torn."""


# --- the core asks ---------------------------------------------------------------------------------------------------


class Hello(NamedTuple):
    """First message of a core. Answered by `Welcome`, then the whole state, then `SnapshotEnd`."""

    version: int
    pid: int


class Ready(NamedTuple):
    """The core is in control. Relayed to systemd as READY=1."""


class Beat(NamedTuple):
    """The core's event loop turns. Sent every second; missed for `core_watchdog_s`, the core is replaced."""


class Notify(NamedTuple):
    """A line for systemd's notify socket, such as `STATUS=…`; only the keeper may write to it."""

    text: str


class Spawn(NamedTuple):
    """Start an instance. Answered by `Spawned` (with its descriptors) or `SpawnFailed`. A known id starts nothing.

    Descriptors that come with it are the process's 3, 4 and so on, but for the last ones: of `shown_as`, `filtered` and
    `confined`, in this order, as far as they are asked for.
    """

    id: str
    argv: list[str]
    env: dict[str, str]
    cwd: str
    marks: list[str]  # NAME=value pairs of env that no other instance has: how a process that fled is recognised
    stop_signal: int  # what the keeper uses when it must stop the instance without a core
    grace_s: float
    state: str  # opaque to the keeper; the next core rebuilds from it
    terminal: list[int] | None = None  # rows and columns of one that it controls, in place of the pipe
    stdin: bool = False  # without a terminal: a pipe to write to, in place of nothing to read
    watches: bool = False  # the process only watches over the dyno's own, in sessions of theirs: it is sent no signal
    limits: dict[str, int] | None = None  # by the names of `controllers`, `limits` and `own_port`; after `Confine`
    owner: list[int] | None = None  # user and group to whom its output belongs, so that /dev/stdout can be reopened
    shown_as: list[str] | None = None  # a folder, and where it is mounted with the owners that a descriptor maps
    as_owner: bool = False  # it is that user from its exec on, and gains no rights any more
    confined: bool = False  # a descriptor is a Landlock ruleset that it is held to, and gains no rights any more
    filtered: bool = False  # with `as_owner`: a descriptor is a program for seccomp that it is held to


class Confine(NamedTuple):
    """What all instances may take together, by the names of `controllers`. Answered by `Confined`; again: anew."""

    limits: dict[str, int]


class Stop(NamedTuple):
    """Signal every process of the instance, SIGKILL what is left after `grace_s`. Again: only tightens the deadline."""

    id: str
    signal: int
    grace_s: float


class Signal(NamedTuple):
    """Signal every process of the instance, which is not about to be stopped by that."""

    id: str
    signal: int


class EndInput(NamedTuple):
    """Close the keeper's write end of an instance's stdin, so that its reader meets the end of it."""

    id: str


class SetState(NamedTuple):
    """Replace the opaque state of an instance."""

    id: str
    state: str


class Forget(NamedTuple):
    """The end of an instance is written down everywhere: the keeper may drop its status and its pipe."""

    id: str


class Put(NamedTuple):
    """Keep a value for the next core; `None` removes it."""

    key: str
    value: str | None


class Hold(NamedTuple):
    """Keep the descriptors that come with this message (listening sockets, locks) for the next core."""

    name: str


class Release(NamedTuple):
    """Close what `Hold` kept."""

    name: str


class Replace(NamedTuple):
    """Start another core beside this one, from this program. `HandOver` follows, or `ReplaceFailed`."""

    program: list[str]


class HandedOver(NamedTuple):
    """Answer to `HandOver`, and the last thing that changes anything: what it has is finished within so many seconds.

    From now on it only beats, and passes words to the core in charge.
    """

    within_s: float


class Pass(NamedTuple):
    """Words to a retired core or, from one, to the core in charge (`pid` 0). Lost where there is none."""

    pid: int
    text: str


class Goodbye(NamedTuple):
    """dynod ends with this exit status; instances that are left are killed."""

    status: int


# --- the keeper tells ------------------------------------------------------------------------------------------------


class Welcome(NamedTuple):
    """Answer to `Hello`.

    A core that rehearses is given the values of `Put` alone, and says `Ready` when it could be in charge. Then comes
    another `Welcome`, with everything.
    """

    version: int
    generation: int  # 1 for the first core, one more for each that follows
    signals: list[int]  # signals taken so far, in order: a stop asked for while no core lived is not lost
    groups: str  # the folder in which each instance has a control group named by its id; empty where there is none
    rehearses: bool = False


class Instance(NamedTuple):
    """An instance as the keeper knows it; comes with the same descriptors as `Spawned`."""

    id: str
    pid: int
    started_at: float  # seconds since the epoch
    state: str
    exit_code: int | None  # as subprocess: negative for a signal
    exited_at: float | None
    gone: bool  # no process of it is left
    killed: bool  # its grace ran out and SIGKILL was sent
    stopping: bool


class Held(NamedTuple):
    """Descriptors kept under a name."""

    name: str


class Stored(NamedTuple):
    """A value kept by `Put`."""

    key: str
    value: str


class Peer(NamedTuple):
    """A core that is retired, with connections that it still has."""

    pid: int


class SnapshotEnd(NamedTuple):
    """The state is complete; what follows are events."""


class Spawned(NamedTuple):
    """Answer to `Spawn`; comes with the read end of the output pipe, and the write end of stdin's where there is one.

    With a terminal it comes with that terminal's master alone, for reading and writing.
    """

    id: str
    pid: int
    started_at: float


class SpawnFailed(NamedTuple):
    """Answer to `Spawn`: the operating system refused, in the words of errno."""

    id: str
    errno: int
    during: str  # "fork", "chdir", "exec" …


class Confined(NamedTuple):
    """Answer to `Confine`: by controller (memory, pids, cpu) the folder in which instances have groups by their ids.

    So for `ports`, where instances can be kept from those of others.
    """

    folders: dict[str, str]


class Exited(NamedTuple):
    """The main process of an instance ended. Repeated to each new core until `Forget`."""

    id: str
    exit_code: int
    exited_at: float


class Killed(NamedTuple):
    """The grace ran out: SIGKILL went to `processes` processes (Heroku's R12)."""

    id: str
    processes: int


class Gone(NamedTuple):
    """No process of the instance is left."""

    id: str


class HandOver(NamedTuple):
    """Another core waits to be in charge: let go of everything, and say `HandedOver`."""


class ReplaceFailed(NamedTuple):
    """Answer to `Replace`: there will be no other core. In words for people."""

    why: str


class Passed(NamedTuple):
    """Words of another core."""

    pid: int
    text: str


class PeerGone(NamedTuple):
    """A retired core has ended."""

    pid: int


class Signalled(NamedTuple):
    """dynod was sent a signal."""

    signal: int


Message = (
    Hello
    | Ready
    | Beat
    | Notify
    | Spawn
    | Confine
    | Stop
    | Signal
    | EndInput
    | SetState
    | Forget
    | Put
    | Hold
    | Release
    | Replace
    | HandedOver
    | Pass
    | Goodbye
    | Welcome
    | Instance
    | Held
    | Stored
    | Peer
    | SnapshotEnd
    | Spawned
    | SpawnFailed
    | Confined
    | Exited
    | Killed
    | Gone
    | HandOver
    | ReplaceFailed
    | Passed
    | PeerGone
    | Signalled
)

_BY_NAME: dict[str, type[Message]] = {kind.__name__: kind for kind in get_args(Message)}

_KINDS: dict[str, tuple[object, ...]] = {name: tuple(get_type_hints(kind).values()) for name, kind in _BY_NAME.items()}


class Received(NamedTuple):
    """A message with the descriptors that came along; the receiver owns them."""

    message: Message
    fds: list[int]


def encode(message: Message, fds: int = 0) -> bytes:
    """One frame. Strings that are no UTF-8 (surrogate escapes of environments) survive the trip.

    Raises ValueError for what the other end would not take: a frame that is too long, a number that is not finite.
    """
    frame = {"op": type(message).__name__, "fds": fds, "fields": message}
    body = json.dumps(frame, allow_nan=False).encode("ascii")
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"a message of {len(body)} bytes; {MAX_FRAME_BYTES} are the most")
    return len(body).to_bytes(4, "big") + body


def decode(body: bytes) -> tuple[Message, int]:
    """The message of a frame's body, and how many descriptors belong to it. Raises ProtocolError.

    Every field is of its type: what the keeper does with a message must not end the keeper.
    """
    cause: Exception | None = None
    try:
        frame = json.loads(body, parse_constant=_refuse)
        op, fields, fds = frame["op"], frame["fields"], frame["fds"]
        if _fits(fds, int) and all(map(_fits, fields, _KINDS[op])):
            return _BY_NAME[op](*fields), fds
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        cause = error
    raise ProtocolError(f"not a message of keeper protocol {VERSION}: {body[:80]!r}") from cause


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and Infinity are no deadlines


def _fits(value: object, kind: object) -> bool:
    """Whether a value that came as JSON is of a field's type."""
    origin = get_origin(kind)
    if origin is types.UnionType:
        return any(_fits(value, each) for each in get_args(kind))
    if origin is list:
        return isinstance(value, list) and all(_fits(each, get_args(kind)[0]) for each in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(each, get_args(kind)[1]) for each in value.values())
    if kind is float:
        return type(value) in {int, float}
    return type(value) is kind


class Channel:
    """One end of the socket pair, non-blocking: messages out through a queue, messages in from whatever has arrived."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._out: deque[tuple[memoryview, list[int]]] = deque()
        self._in = bytearray()
        self._fds: deque[int] = deque()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Queue a message and write what the socket takes. The descriptors are duplicated: the caller keeps its own."""
        if len(fds) > MAX_FDS:
            raise ValueError(f"{len(fds)} descriptors in one message; the kernel takes {MAX_FDS}")
        frame = memoryview(encode(message, len(fds)))
        copies: list[int] = []
        try:
            copies.extend(map(os.dup, fds))
        except OSError:
            _close(copies)
            raise
        self._out.append((frame, copies))
        self.flush()

    def flush(self) -> bool:
        """Write what the socket takes; True when nothing is left. Raises ConnectionError when the other end is gone."""
        while self._out:
            data, fds = self._out[0]
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self._socket.sendmsg([data], ancillary)
            except BlockingIOError:
                return False
            _close(fds)
            if sent == len(data):
                self._out.popleft()
            else:
                self._out[0] = (data[sent:], [])
        return True

    def drain(self, timeout_s: float) -> None:
        """Block until everything is written, or for `timeout_s` without progress: for a last message."""
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        while not self.flush() and poll.poll(timeout_s * 1000):
            pass

    @property
    def begun(self) -> bytes:
        """Of a message that has not come whole."""
        return bytes(self._in)

    def go_on_from(self, begun: bytes) -> None:
        """Another channel on the same socket had that."""
        self._in += begun

    @property
    def pending(self) -> bool:
        """Whether something waits for the socket to become writable."""
        return bool(self._out)

    def receive(self) -> list[Received]:
        """Every complete message that has arrived. Raises EOFError when the other end is gone, ProtocolError."""
        while True:
            try:
                data, ancillary, flags, _address = self._socket.recvmsg(
                    RECEIVE_BYTES, socket.CMSG_SPACE(MAX_FDS * _FD_SIZE), _CLOEXEC
                )
            except BlockingIOError:
                return self._complete()
            except ConnectionError as error:
                raise EOFError from error
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds = array.array("i")
                    fds.frombytes(payload[: len(payload) - len(payload) % _FD_SIZE])
                    for fd in fds:
                        os.set_inheritable(fd, False)
                    self._fds.extend(fds)
            if flags & socket.MSG_CTRUNC:
                raise ProtocolError("descriptors were lost on the way: this process has no room for them")
            if not data:
                if messages := self._complete():
                    return messages  # the end is met again at the next call
                raise EOFError
            self._in += data
            if len(data) < RECEIVE_BYTES and not ancillary:
                return self._complete()

    def _complete(self) -> list[Received]:
        messages: list[Received] = []
        try:
            while (received := self._next()) is not None:
                messages.append(received)
        except ProtocolError:
            for received in messages:
                _close(received.fds)  # nobody will have them
            raise
        return messages

    def _next(self) -> Received | None:
        length = int.from_bytes(self._in[:4], "big")
        if length > MAX_FRAME_BYTES:
            raise ProtocolError(f"a frame of {length} bytes; {MAX_FRAME_BYTES} are the most")
        end = 4 + length
        if len(self._in) < end:
            return None
        message, count = decode(bytes(self._in[4:end]))
        if count > len(self._fds):
            raise ProtocolError(f"{type(message).__name__} came without its {count} descriptors")
        del self._in[:end]
        return Received(message, [self._fds.popleft() for _ in range(count)])

    def close(self) -> None:
        """Close the socket, and every descriptor still waiting to be sent or claimed."""
        for _data, fds in self._out:
            _close(fds)
        self._out.clear()
        _close(self._fds)
        self._fds.clear()
        self._socket.close()


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
