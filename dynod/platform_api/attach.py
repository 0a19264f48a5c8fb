"""`/apps/:app/dynos/:dyno/attach/:secret`: an HTTP connection that becomes an attached session.

    GET … Upgrade: dynod-attach, Window-Size: 24x80   →   101, then frames of core.attach_frame both ways

From the 101 on the socket is read and written here and no more by aiohttp, which gets it back to close. It is written
only when it takes a whole piece of output at once: what an attachment was told is sent is with the kernel then, and a
core that dies loses none of it. Heroku's rendezvous (TLS, raw bytes) would be another client of the same attachments.
"""

import asyncio
import os
import re
import select
import signal
import socket
from collections import deque
from http import HTTPStatus
from typing import Final, Protocol, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from dynod.core.attach_frame import (
    UPGRADE,
    WINDOW_BYTES,
    Data,
    EndOfInput,
    Exit,
    Frame,
    FrameError,
    FrameReader,
    SendSignal,
    Taken,
    WindowSize,
    encode,
)
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.exchange import operations

WINDOW_SIZE: Final = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
MOST_CELLS: Final = 65_535
READ_BYTES: Final = 64 * 1024
SWITCHED: Final = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: {UPGRADE}\r\nConnection: Upgrade\r\n\r\n".encode(
    "ascii"
)

routes = web.RouteTableDef()


class Attachment(Protocol):
    """A dyno's other end."""

    @property
    def is_taken(self) -> bool: ...
    @property
    def is_over(self) -> bool: ...
    def connect(self, client: "Session") -> None: ...
    def disconnect(self, client: "Session") -> None: ...
    def resume(self) -> None: ...
    def feed(self, data: bytes) -> int: ...  # how much waits to be taken
    def end_input(self) -> None: ...
    def resize(self, rows: int, columns: int) -> None: ...
    def signal(self, number: int) -> None: ...


@routes.get("/apps/{app}/dynos/{dyno}/attach/{secret}")
async def attach(request: web.Request) -> web.StreamResponse:
    """Attach to a dyno; one client at a time."""
    match = request.match_info
    attachment = operations(request).attachment(match["app"], match["dyno"], match["secret"])
    if request.headers.get("Upgrade", "").strip().lower() != UPGRADE:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"This is for clients that speak {UPGRADE}: `dynod run` does.")
    if attachment.is_taken:
        raise RefusedError(HTTPStatus.CONFLICT, f"Somebody else is attached to {match['dyno']}.")
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    if (window := _window(request.headers.get("Window-Size", ""))) is not None:
        attachment.resize(*window)
    cast("asyncio.ReadTransport", transport).pause_reading()  # uvloop's is one, and does not inherit from it
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as own:
        session = Session(own, attachment)
        await session.run()
    return Over()


class Session:
    """One client of an attachment: its `Client`."""

    def __init__(self, connection: socket.socket, attachment: Attachment) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._attachment = attachment
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader()
        self._unsent: deque[bytes] = deque()  # bounded: a piece of output, an exit, and counts of what was taken
        self._asks_room = False
        self._reads = False
        self._over = self._loop.create_future()
        self._room = select.poll()
        self._room.register(connection, select.POLLOUT)

    async def run(self) -> None:
        """Until either end goes."""
        self._send(SWITCHED)
        try:
            self._attachment.connect(self)
            self._read_on()
            await self._over
        finally:
            self._end()
            self._attachment.disconnect(self)

    # --- what the attachment tells (Client) -------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether it takes a whole piece of output now; if not, the attachment is told when it does."""
        if self._over.done():
            return False
        if not self._unsent and self._room.poll(0):
            return True
        self._ask_room()
        return False

    def send_output(self, data: bytes) -> None:
        """A piece of what the dyno wrote."""
        self._send(encode(Data(data)))

    def send_taken(self, total: int) -> None:
        """The dyno has so many bytes of the input."""
        self._send(encode(Taken(total)))
        self._read_on()

    def send_exit(self, status: int, reason: str) -> None:
        """The last word."""
        self._send(encode(Exit(status, reason)))

    def hang_up(self) -> None:
        """Nothing follows."""
        if not self._unsent:
            self._finish()

    # --- the socket -------------------------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        if self._over.done():
            return
        self._unsent.append(data)
        self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent[0])
                if sent == len(self._unsent[0]):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = self._unsent[0][sent:]
        except BlockingIOError:
            self._ask_room()
        except OSError:
            self._finish()

    def _ask_room(self) -> None:
        if not self._asks_room and not self._over.done():
            self._asks_room = True
            self._loop.add_writer(self._socket, self._got_room)

    def _got_room(self) -> None:
        self._asks_room = False
        self._loop.remove_writer(self._socket)
        self._flush()
        if not self._unsent:
            if self._attachment.is_over:
                self._finish()
            else:
                self._attachment.resume()

    def _read_on(self) -> None:
        if not self._reads and not self._over.done():
            self._reads = True
            self._loop.add_reader(self._socket, self._read)

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._finish()
            return
        try:
            for frame in self._reader.feed(data):
                self._heed(frame)
        except FrameError:
            self._finish()

    def _heed(self, frame: Frame) -> None:
        match frame:
            case Data(content):
                if self._attachment.feed(content) > WINDOW_BYTES and self._reads:
                    self._reads = False  # it sends more than it may: until some is taken
                    self._loop.remove_reader(self._socket)
            case EndOfInput():
                self._attachment.end_input()
            case WindowSize(rows, columns):
                self._attachment.resize(rows, columns)
            case SendSignal(name):
                self._attachment.signal(signal.Signals[f"SIG{name}"])
            case Taken() | Exit():
                raise FrameError("a client does not send this")

    def _finish(self) -> None:
        if not self._over.done():
            self._end()
            self._over.set_result(None)

    def _end(self) -> None:
        if self._asks_room:
            self._asks_room = False
            self._loop.remove_writer(self._socket)
        if self._reads:
            self._reads = False
            self._loop.remove_reader(self._socket)


class Over(web.StreamResponse):
    """The answer was given long ago: aiohttp closes the connection and writes nothing."""

    def __init__(self) -> None:
        super().__init__(status=HTTPStatus.SWITCHING_PROTOCOLS)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Nothing is sent."""
        del request
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is sent."""
        del data


def _window(text: str) -> tuple[int, int] | None:
    match = WINDOW_SIZE.fullmatch(text.strip())
    if match is None:
        return None
    rows, columns = int(match[1]), int(match[2])
    return (rows, columns) if max(rows, columns) <= MOST_CELLS else None
