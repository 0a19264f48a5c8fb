"""The client's end of an attached session: this terminal, or these pipes, and a dyno's.

stdin → frames → dyno, dyno → frames → stdout, until the dyno has ended; its exit status is the session's. With a
terminal every key is a byte, Ctrl-C included. Without one, signals are passed on. When the connection breaks, as when
the core is replaced, it is made anew, and what the dyno had not taken is sent again.
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import termios
import time
import tty
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from dynod.cli.terminal import tell
from dynod.core.attach_frame import (
    WINDOW_BYTES,
    Data,
    EndOfInput,
    Exit,
    FrameError,
    FrameReader,
    SendSignal,
    Taken,
    WindowSize,
    encode,
)
from dynod.errors import DynodError, ExitStatus
from dynod.platform_api.finding import NoDaemonError
from dynod.platform_api.requests import ApiError

READ_BYTES: Final = 32 * 1024
RECONNECT_S: Final = 10.0  # the dyno is told after this time that its client has gone
RETRY_S: Final = 0.05
INTERRUPT: Final = 0x03
LEAVING_INTERRUPTS: Final = 4  # Heroku: four Ctrl-C within a second leave, whatever the dyno does
LEAVING_S: Final = 1.0
PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

Connect = Callable[[tuple[int, int] | None], tuple[socket.socket, bytes]]


class LostError(DynodError):
    """The session cannot go on, and nobody knows how the dyno ended."""

    code = "session_lost"


class Leave(Exception):  # noqa: N818 (not an error: what the person wants)
    """The person has had enough; the dyno is left as it is."""


def window_size() -> tuple[int, int] | None:
    """Rows and columns of the terminal that keys come from; None where there is none."""
    for fd in (0, 1, 2):
        with contextlib.suppress(OSError):
            rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8))
            if rows and columns:
                return rows, columns
    return None


class Attached:
    """One session. `run` once."""

    def __init__(self, connect: Connect, name: str, *, terminal: bool, detach_key: int | None = None) -> None:
        """`connect` gets the window's size, and raises what ApiClient.attach raises."""
        self._connect = connect
        self._name = name
        self._terminal = terminal
        self._detach_key = detach_key
        self._socket: socket.socket | None = None
        self._reader = FrameReader()
        self._early = b""  # came with the answer that opened the connection
        self._unconfirmed: deque[bytes] = deque()  # bounded by WINDOW_BYTES
        self._unconfirmed_bytes = 0
        self._confirmed = 0  # of this connection
        self._input_open = True
        self._interrupts: deque[float] = deque(maxlen=LEAVING_INTERRUPTS)
        self._exit: Exit | None = None

    def open(self) -> None:
        """Connect; what the dyno has written by then is for `run` to show. Raises NoDaemonError, ApiError."""
        self._socket, self._early = self._connect(window_size() if self._terminal else None)
        self._reader = FrameReader()
        self._confirmed = 0

    def run(self) -> int:
        """To the end of the dyno; its exit status. Raises LostError, Leave."""
        with self._signals() as wakeup, self._raw():
            while self._exit is None:
                self._turn(wakeup)
        self._close()
        if self._exit.reason:
            tell(f"dynod: {self._exit.reason}")
        return self._exit.status

    # --- one turn ---------------------------------------------------------------------------------------------------

    def _turn(self, wakeup: int) -> None:
        assert self._socket is not None  # noqa: S101 (opened)
        connection = self._socket.fileno()
        wanted = [connection, wakeup]
        if self._input_open and self._unconfirmed_bytes + READ_BYTES <= WINDOW_BYTES:
            wanted.append(0)
        ready = select.select(wanted, [], [], 0 if self._early else None)[0]
        try:
            try:
                early, self._early = self._early, b""
                self._take(early)
                if wakeup in ready:
                    self._signalled(os.read(wakeup, 64))
                if connection in ready:
                    self._receive(self._socket)
                if 0 in ready and self._exit is None:
                    self._type()
            except OSError:
                with contextlib.suppress(OSError):  # its last words, which may have come while we were sending
                    while self._exit is None:
                        self._receive(self._socket)
                if self._exit is None:
                    self._reconnect()
        except FrameError as error:
            raise LostError(f"dynod speaks another language ({error})") from error

    def _receive(self, connection: socket.socket) -> None:
        """Raises OSError at the end of the connection, and where nothing is there."""
        data = connection.recv(READ_BYTES, socket.MSG_DONTWAIT)
        if not data:
            raise ConnectionResetError
        self._take(data)

    def _take(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            match frame:
                case Data(content):
                    _write(content)
                case Taken(total):
                    self._confirm(total)
                case Exit():
                    self._exit = frame
                case _:
                    raise FrameError(f"a dyno does not send {type(frame).__name__}")

    def _confirm(self, total: int) -> None:
        count, self._confirmed = total - self._confirmed, total
        while count > 0 and self._unconfirmed:
            first = self._unconfirmed.popleft()
            if count < len(first):
                self._unconfirmed.appendleft(first[count:])
            taken = min(count, len(first))
            count -= taken
            self._unconfirmed_bytes -= taken

    def _type(self) -> None:
        try:
            data = os.read(0, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # EIO: this terminal is gone
            data = b""
        if not data:
            self._input_open = False
            self._send(encode(EndOfInput()))
            return
        if self._terminal:
            if self._detach_key is not None and self._detach_key in data:
                raise Leave
            for _ in range(data.count(INTERRUPT)):
                self._interrupt()
        self._unconfirmed.append(data)
        self._unconfirmed_bytes += len(data)
        self._send(encode(Data(data)))

    def _interrupt(self) -> None:
        self._interrupts.append(time.monotonic())
        if len(self._interrupts) == LEAVING_INTERRUPTS and self._interrupts[-1] - self._interrupts[0] < LEAVING_S:
            raise Leave

    def _signalled(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGWINCH:
                if self._terminal and (size := window_size()) is not None:
                    self._send(encode(WindowSize(*size)))
            elif number in PASSED_ON:
                if number == signal.SIGINT:
                    self._interrupt()
                self._send(encode(SendSignal(signal.Signals(number).name.removeprefix("SIG"))))

    def _send(self, data: bytes) -> None:
        assert self._socket is not None  # noqa: S101 (opened)
        self._socket.sendall(data)

    # --- the connection ---------------------------------------------------------------------------------------------

    def _reconnect(self) -> None:
        """For as long as the dyno does not know that it has lost its client. Raises LostError."""
        deadline = time.monotonic() + RECONNECT_S
        while True:
            self._close()
            try:
                self.open()
                for data in self._unconfirmed:
                    self._send(encode(Data(data)))
                if not self._input_open:
                    self._send(encode(EndOfInput()))
            except (NoDaemonError, ApiError, OSError) as error:
                if isinstance(error, ApiError) and error.code == "not_found":
                    raise LostError(f"the connection broke, and {self._name} has ended meanwhile") from error
                if time.monotonic() >= deadline:
                    raise LostError(
                        f"the connection broke and could not be made again; {self._name} may still run: dynod ps"
                    ) from error
                time.sleep(RETRY_S)
            else:
                return

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    # --- this terminal ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _raw(self) -> Iterator[None]:
        """Every key a byte, nothing echoed here. Put back as it was, however the session ends."""
        if not self._terminal:
            yield
            return
        before = termios.tcgetattr(0)
        tty.setraw(0, termios.TCSADRAIN)
        try:
            yield
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, before)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[int]:
        """A descriptor from which the signals can be read that concern the session."""
        numbers = {signal.SIGWINCH} if self._terminal else set(PASSED_ON)
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        before = {number: signal.signal(number, _ignore) for number in numbers}
        before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        if self._terminal:  # as SIGHUP: but the terminal is put back first
            before[signal.SIGTERM] = signal.signal(signal.SIGTERM, _end)
        old = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(reading)
            os.close(writing)


def _ignore(number: int, frame: object) -> None:
    """The wake-up descriptor says it."""
    del number, frame


def _end(number: int, frame: object) -> None:
    del frame
    raise SystemExit(128 + number)


def _write(data: bytes) -> None:
    """All of it, also to somebody slow whose terminal is in non-blocking mode; raises SystemExit where nobody reads."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(1, rest) :]
        except BlockingIOError:
            select.select([], [1], [])
        except BrokenPipeError:
            raise SystemExit(ExitStatus.REFUSED) from None
