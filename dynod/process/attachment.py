"""Somebody at the other end of a dyno's terminal, or of its pipes: bytes both ways, and what happens when they leave.

    client ⇄ platform_api.attach ⇄ **attachment** ⇄ terminal's master, or output pipe and stdin pipe ⇄ dyno

Output is read only while whoever is to have it takes it, so a slow client slows the dyno down, as a slow terminal does.
A terminal cannot be read without being emptied; what was read is the client's before anything else is read. What
attached dynos write is the client's alone (Heroku: "logs get start/stop lines"), unless it is copied to the log stream:
when the client is gone for good, or for a dyno of the formation that somebody looks at.

Imports core and its own package. Knows nothing of frames, HTTP, or of who may attach.
"""

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import signal
import struct
import termios
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from dynod.core.log_frame import frame, last_line

READ_BYTES: Final = 16 * 1024  # at a time: what a socket with room takes whole
HANGUPS: Final = 3  # Heroku's R16: "three SIGHUPs at 5 s steps"
SECRET_BYTES: Final = 24  # of randomness: nobody guesses it
END_OF_FILE: Final = b"\x04"  # Ctrl-D: how a terminal says that its input has ended
HANGUP: Final = "Client connection closed. Sending SIGHUP to all processes"
R13: Final = "Error R13 (Attach error) -> Failed to attach to process"
R16: Final = (
    "Error R16 (Detached) -> An attached process is not responding to SIGHUP after its external connection was closed."
)

Publish = Callable[[str, bytes, Callable[[], None]], bool]  # dyno, whole lines, what to call when they are handed on


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachRules:
    """How long somebody is waited for, seconds. The first and the last are Heroku's."""

    await_client_s: float = 30.0  # R13
    reconnect_s: float = 10.0  # after a connection broke, as it does when the core is replaced
    hangup_s: float = 5.0  # between SIGHUPs


HEROKU: Final = AttachRules()


class Window(NamedTuple):
    """The size of a terminal."""

    rows: int
    columns: int


class Client(Protocol):
    """Who is attached, as the attachment sees them."""

    def has_room(self) -> bool: ...  # False: more only after it has called `Attachment.resume`
    def send_output(self, data: bytes) -> None: ...
    def send_taken(self, total: int) -> None: ...  # bytes of this client's input that the dyno has
    def send_exit(self, status: int, reason: str) -> None: ...  # the last word
    def hang_up(self) -> None: ...


class Host(Protocol):
    """What an attachment needs of the supervisor."""

    def in_background(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]: ...
    def client_came(self, name: str) -> None: ...
    def say(self, name: str, message: str) -> None: ...
    def send_signal(self, instance_id: str, number: int) -> None: ...
    def end_input(self, instance_id: str) -> None: ...
    def publish(self, ps: str, lines: bytes, on_handed_on: Callable[[], None], /) -> bool: ...


class Attachment:
    """One instance's other end, from before its launch until its last byte was delivered. Owned by the supervisor."""

    def __init__(
        self,
        name: str,
        secret: str,
        window: Window | None,
        host: Host,
        rules: AttachRules,
        *,
        stays: bool = False,
    ) -> None:
        """`window`: None without a terminal. `stays`: the dyno goes on without a client, its output always logged."""
        self.name = name
        self.secret = secret
        self.window = window
        self.stays = stays
        self._host = host
        self._rules = rules
        self._loop = asyncio.get_running_loop()
        self._client: Client | None = None
        self._instance_id: str | None = None
        self._output = -1
        self._input: int | None = None
        self._watches = False
        self._reads = False
        self._ended = False  # nobody can write any more, and everything is read
        self._exited = False
        self._status: int | None = None  # no process is left
        self._done = asyncio.Event()
        self._pending = bytearray()  # input that the dyno has not taken
        self._input_ends = False
        self._taken = 0
        self._logs = stays
        self._line = b""  # unfinished, for the log
        self._logging = False  # a batch is under way
        self._missing: asyncio.Task[None] | None = None
        self._linger_s: float | None = None
        self._hung_up = False  # whoever was attached is not expected back any more
        self._is_handed_over = False  # to another core, which reads and writes from now on

    def note(self) -> str:
        """What the next core needs to make another one."""
        return json.dumps({"secret": self.secret, "window": self.window, "stays": self.stays})

    @classmethod
    def from_note(cls, name: str, note: str, host: Host, rules: AttachRules) -> "Attachment":
        """As an earlier core had it."""
        noted = json.loads(note)
        window = Window(*noted["window"]) if noted["window"] is not None else None
        return cls(name, noted["secret"], window, host, rules, stays=noted["stays"])

    # --- the dyno ---------------------------------------------------------------------------------------------------

    def open(self, instance_id: str, output: int, stdin: int | None) -> None:
        """The instance runs; takes both descriptors over."""
        self._instance_id = instance_id
        self._output = output
        self._input = output if self.window is not None else stdin
        os.set_blocking(output, False)
        if stdin is not None:
            os.set_blocking(stdin, False)
        self._write()
        self._look()
        if self._client is None and not self.stays:
            self._miss_client()  # it left while the dyno was being launched, or an earlier core had it

    def refused(self, status: int, reason: str) -> None:
        """It could not be started."""
        if self._client is not None:
            self._client.send_exit(status, reason)
        self._close()

    @property
    def await_client_s(self) -> float:
        """How long before the launch somebody is waited for."""
        return self._rules.await_client_s

    def exited(self) -> None:
        """Its main process has ended; the others are being ended. Nobody hangs up on it any more."""
        self._exited = True
        if self._hung_up:
            self._forgo()
            self._look()

    async def finish(self, status: int) -> None:
        """No process is left: deliver what they wrote, then the status, to a client that may be on its way back."""
        self._status = status
        self._exited = True
        if self._client is None and not self._logs:
            if self._hung_up:
                self._forgo()
            else:
                self._miss_client()
        self._look()
        if self._linger_s is not None:
            self._loop.call_later(self._linger_s, self._give_up)
        await self._done.wait()

    def hurry(self, linger_s: float) -> None:
        """At the end of dynod: nobody is waited for to come back, and for no longer than that to read what is left."""
        self._linger_s = linger_s
        if self._client is None and self._instance_id is not None:
            self._forgo()
            self._look()
        if self._status is not None:
            self._loop.call_later(linger_s, self._give_up)

    def _give_up(self) -> None:
        if self._client is not None and self._status is not None:
            self._client.send_exit(self._status, "")
        self._close()

    def hand_over(self) -> None:
        """Read and write no more: another core is about to, and a byte must not be two cores'."""
        self._is_handed_over = True
        if self._reads:
            self._loop.remove_reader(self._output)
            self._reads = False
        if self._watches and self._input is not None:
            self._loop.remove_writer(self._input)
            self._watches = False

    # --- the client -------------------------------------------------------------------------------------------------

    @property
    def is_taken(self) -> bool:
        """Whether somebody is attached."""
        return self._client is not None

    @property
    def is_over(self) -> bool:
        """Whether the last word has been said."""
        return self._done.is_set()

    def connect(self, client: Client) -> None:
        """Somebody is there. Nobody else may be."""
        assert not self.is_taken  # noqa: S101 (its caller has asked)
        self._client = client
        self._pending.clear()  # what an earlier one sent and was not told of as taken is sent again
        self._input_ends = False
        self._taken = 0
        if self._missing is not None:
            self._missing.cancel()
            self._missing = None
        self._logs, self._hung_up = self.stays, False
        self._host.client_came(self.name)
        self._look()

    def disconnect(self, client: Client) -> None:
        """It is gone. It may come back."""
        if self._client is not client:
            return
        self._client = None
        if self._done.is_set():
            return
        self._look()
        if self._instance_id is not None and not self.stays:
            self._miss_client()

    def resume(self) -> None:
        """The client has room again."""
        self._look()

    def feed(self, data: bytes) -> int:
        """Input; returns how much waits to be taken. The client stops at a bound by itself, or is stopped."""
        self._pending += data
        self._write()
        return len(self._pending)

    def end_input(self) -> None:
        """There is no more, once what was fed is taken."""
        self._input_ends = True
        self._write()

    def resize(self, rows: int, columns: int) -> None:
        """The client's window is another; whoever runs in the foreground hears of it (SIGWINCH)."""
        if self.window is None:
            return
        self.window = Window(rows, columns)
        if self._output >= 0:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._output, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def signal(self, number: int) -> None:
        """For every process of the dyno."""
        if self._instance_id is not None and self._status is None:
            self._host.send_signal(self._instance_id, number)

    # --- output -----------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Watch the output while it can go somewhere; deliver the exit when there is no more."""
        if self._done.is_set() or self._output < 0 or self._is_handed_over:
            return
        wanted = not self._ended and self._goes_somewhere()
        if wanted and self._status is not None:
            while not self._ended and self._goes_somewhere():  # no process is left: what is there now is all
                self._read()
            wanted = False
        if wanted is not self._reads:
            self._reads = wanted
            if wanted:
                self._loop.add_reader(self._output, self._read)
            else:
                self._loop.remove_reader(self._output)
        if self._ended and self._status is not None:
            self._deliver_exit()

    def _goes_somewhere(self) -> bool:
        if self._logs and self._logging:
            return False
        return self._client.has_room() if self._client is not None else self._logs

    def _read(self) -> None:
        try:
            data = os.read(self._output, READ_BYTES)
        except BlockingIOError:
            if self._status is None:
                return
            data = b""  # no process is left that could write more
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""  # Linux: nobody has the terminal open any more
        if data and self._client is not None:
            self._client.send_output(data)
        if not data:
            self._ended = True
            self._log(last_line(self._line), b"")
        elif self._logs:
            text = self._line + data
            lines, covered = frame(text)
            self._log(lines, text[covered:])
        if self._status is None:
            self._look()

    def _log(self, lines: bytes, rest: bytes) -> None:
        self._line = rest
        if lines:
            self._logging = True
            self._host.publish(self.name, lines, self._logged)

    def _logged(self) -> None:
        self._logging = False
        self._look()

    def _deliver_exit(self) -> None:
        assert self._status is not None  # noqa: S101 (its caller has looked)
        if self._client is not None:
            if not self._client.has_room():
                return
            self._client.send_exit(self._status, "")
        elif not self._logs:
            return  # until `_missing` has had its time
        self._close()

    def _close(self) -> None:
        if self._done.is_set():
            return
        self._done.set()
        self._ended = True
        if self._missing is not None:
            self._missing.cancel()
        if self._reads:
            self._loop.remove_reader(self._output)
        self._close_input()
        if self._output >= 0:
            os.close(self._output)
        self._output = -1
        if self._client is not None:
            self._client.hang_up()

    # --- input ------------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        """As much as the dyno takes. What nobody can read any more counts as taken."""
        if self._instance_id is None or self._done.is_set() or self._is_handed_over:
            return
        taken = 0
        try:
            while self._input is not None and taken < len(self._pending):
                taken += os.write(self._input, self._pending[taken : taken + READ_BYTES])
        except BlockingIOError:
            pass
        except OSError:  # EPIPE, EIO: its stdin is closed
            taken = len(self._pending)
        if self._input is None:
            taken = len(self._pending)
        if taken:
            del self._pending[:taken]
            self._taken += taken
            if self._client is not None:
                self._client.send_taken(self._taken)
        if not self._pending and self._input_ends:
            self._input_ends = False
            if self.window is None:
                self._close_input()
                self._host.end_input(self._instance_id)
            else:
                self._pending += END_OF_FILE
                self._taken -= len(END_OF_FILE)  # nobody has sent it
                self._write()
        self._watch_input()

    def _watch_input(self) -> None:
        wanted = bool(self._pending) and self._input is not None
        if wanted is not self._watches and self._input is not None:
            self._watches = wanted
            if wanted:
                self._loop.add_writer(self._input, self._write)
            else:
                self._loop.remove_writer(self._input)

    def _close_input(self) -> None:
        if self._input is None:
            return
        if self._watches:
            self._loop.remove_writer(self._input)
            self._watches = False
        if self._input != self._output:
            os.close(self._input)
        self._input = None

    # --- nobody there -----------------------------------------------------------------------------------------------

    def _miss_client(self) -> None:
        if self._missing is None and not self._done.is_set():
            self._missing = self._host.in_background(self._hang_up(), f"hangup:{self.name}")

    async def _hang_up(self) -> None:
        """Heroku: SIGHUP three times, then R16, and the dyno runs on. `connect` and the end of the dyno cancel this."""
        assert self._instance_id is not None  # noqa: S101 (nobody is missed before)
        await asyncio.sleep(self._rules.reconnect_s)
        for _ in range(HANGUPS):
            if self._exited:
                break
            self._hung_up = True
            self._host.say(self.name, HANGUP)
            self._host.send_signal(self._instance_id, signal.SIGHUP)
            await asyncio.sleep(self._rules.hangup_s)
        else:
            self._host.say(self.name, R16)
        self._missing = None
        self._forgo()
        self._look()

    def _forgo(self) -> None:
        """What it still writes goes to the log: it must not wait for ever for somebody to read."""
        if self._missing is not None:
            self._missing.cancel()
            self._missing = None
        self._logs = True
