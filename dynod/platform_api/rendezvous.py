"""Heroku's rendezvous: `heroku run` attached to a one-off dyno, over TLS on the API's own port.

    client: SECRET CR LF   →   server: "rendezvous" CR LF, then raw bytes both ways until the dyno has ended

The secret is the path of the `attach_url` that POST /apps/:app/dynos has answered with; nothing else is asked for.
There is no frame for an exit status (the client has its own way, with a marker that the dyno prints), for a signal (a
terminal makes them of Ctrl-C), or for the window, whose size is told at the start. A client that is cut off cannot come
back.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, Protocol, cast

from dynod.core.attach_frame import WINDOW_BYTES
from dynod.platform_api.tls_stream import TlsStream

GREETING: Final = b"rendezvous\r\n"
LONGEST_SECRET: Final = 200  # bytes, with its end of line
HELLO_S: Final = 30.0  # for the handshake and the secret
IDLE_S: Final = 3600.0  # Heroku: without input and output for an hour the connection is closed; SIGHUP follows
END_OF_INPUT: Final = b"\x04"  # what Heroku's command line sends, by itself, where its stdin has ended
STAYS_S: Final = 1.0  # from the greeting: the client writes END_OF_INPUT even to who has closed, and dies of that
BUFFERED: Final = 64 * 1024  # bytes that may wait for a slow client


class Attachment(Protocol):
    """A dyno's other end. `window`: None where there are pipes instead of a terminal."""

    @property
    def window(self) -> object | None: ...
    @property
    def is_taken(self) -> bool: ...
    @property
    def is_over(self) -> bool: ...
    def connect(self, client: "Rendezvous") -> None: ...
    def disconnect(self, client: "Rendezvous") -> None: ...
    def resume(self) -> None: ...
    def feed(self, data: bytes) -> int: ...  # how much waits to be taken
    def end_input(self) -> None: ...


Find = Callable[[str], Attachment | None]  # by its secret


class Rendezvous(asyncio.Protocol):
    """One connection, and once its secret is known a client of an attachment."""

    def __init__(self, context: ssl.SSLContext, find: Find, loop: asyncio.AbstractEventLoop) -> None:
        self._tls = TlsStream(context)
        self._find = find
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._hello = b""
        self._attachment: Attachment | None = None
        self._is_full = False
        self._is_over = False
        self._input_ended = False
        self._hung_up = False
        self._stays_until = 0.0  # of the loop's clock
        self._fed = 0
        self._holds_back = False
        self._last = loop.time()  # of any byte, either way
        self._timer = loop.call_later(HELLO_S, self._abandon)

    # --- the connection (asyncio.Protocol) --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, and does not inherit from it
        self._transport.set_write_buffer_limits(high=BUFFERED)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        try:
            records = self._tls.receive(data)
        except ssl.SSLError:
            self._flush()  # the alert that says why
            self._abandon()
            return
        self._flush()
        for record in records:
            self._heed(record)
        if self._tls.has_ended and not self._is_over:
            self._finish()

    def eof_received(self) -> bool:
        self._finish()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        self._leave()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        if self._attachment is not None and not self._is_over:
            self._attachment.resume()

    def abort(self) -> None:
        """The server ends."""
        self._abandon()

    # --- what the attachment tells (its Client) ---------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether it takes a piece of output now; if not, the attachment is told when it does."""
        return not self._is_full and not self._is_over

    def send_output(self, data: bytes) -> None:
        """A piece of what the dyno wrote."""
        self._send(data)

    def send_taken(self, total: int) -> None:
        """The dyno has so many bytes of the input."""
        if self._holds_back and self._fed - total <= WINDOW_BYTES and self._transport is not None:
            self._holds_back = False
            self._transport.resume_reading()

    def send_exit(self, status: int, reason: str) -> None:
        """The last word. The status is not told: whoever wants it lets the dyno print it."""
        del status
        if reason:
            self._send(f"{reason}\r\n".encode())

    def hang_up(self) -> None:
        """Nothing follows. A client whose stdin had ended before the dyno has still time to say so."""
        self._hung_up = True
        if self._input_ended or self._loop.time() >= self._stays_until:
            self._finish()
        else:
            self._timer.cancel()
            self._timer = self._loop.call_at(self._stays_until, self._finish)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _heed(self, record: bytes) -> None:
        if self._is_over:
            return
        self._last = self._loop.time()
        if self._attachment is None:
            self._greet(record)
            return
        self._input_ended = self._input_ended or record == END_OF_INPUT
        if self._hung_up:
            if self._input_ended:
                self._finish()
        elif record == END_OF_INPUT and self._attachment.window is None:
            self._attachment.end_input()  # a terminal understands the byte by itself
        else:
            self._feed(record)

    def _greet(self, record: bytes) -> None:
        self._hello += record
        secret, end, rest = self._hello.partition(b"\r\n")
        if not end:
            if len(self._hello) > LONGEST_SECRET:
                self._finish()
            return
        self._hello = b""
        found = self._find(secret.decode("utf-8", "surrogateescape")) if len(secret) < LONGEST_SECRET else None
        if found is None or found.is_taken or found.is_over:
            self._finish()
            return
        self._stays_until = self._loop.time() + STAYS_S
        self._send(GREETING)  # a record of its own, which the client throws away as a whole
        self._attachment = found
        self._timer.cancel()
        self._timer = self._loop.call_later(IDLE_S, self._look_whether_idle)
        found.connect(self)
        if rest:
            self._heed(rest)

    def _feed(self, data: bytes) -> None:
        assert self._attachment is not None  # noqa: S101 (its caller has looked)
        self._fed += len(data)
        if self._attachment.feed(data) > WINDOW_BYTES and not self._holds_back and self._transport is not None:
            self._holds_back = True
            self._transport.pause_reading()

    def _send(self, data: bytes) -> None:
        if self._is_over:
            return
        self._last = self._loop.time()
        try:
            self._tls.send(data)
        except ssl.SSLError:
            self._abandon()
            return
        self._flush()

    def _flush(self) -> None:
        if self._transport is not None and (data := self._tls.outgoing()):
            self._transport.write(data)

    def _look_whether_idle(self) -> None:
        left_s = self._last + IDLE_S - self._loop.time()
        if left_s <= 0:
            self._finish()
        else:
            self._timer = self._loop.call_later(left_s, self._look_whether_idle)

    def _finish(self) -> None:
        """In order: what was said is sent, then the end."""
        if self._is_over:
            return
        self._tls.end()
        self._flush()
        self._leave()
        if self._transport is not None:
            self._transport.close()

    def _abandon(self) -> None:
        self._leave()
        if self._transport is not None:
            self._transport.abort()

    def _leave(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._timer.cancel()
        if self._attachment is not None:
            self._attachment.disconnect(self)
