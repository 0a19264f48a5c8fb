"""Sends frames as syslog over TCP and TLS: octet counting, RFC 6587 and 5425 (heroku-semantics 6.8).

Syslog has no acknowledgement, and logplex takes bytes for delivered that its kernel has; what is in flight when a
receiver dies is lost then. Here they are delivered once the receiver's kernel has acknowledged them, where the system
can tell (Linux, SIOCOUTQ); else as with logplex. What was not acknowledged is sent again on the next connection.
"""

import asyncio
import fcntl
import socket
import ssl
import struct
import sys
import termios
from collections.abc import Callable
from typing import Final

from dynod.core.drain_policy import Outcome
from dynod.core.drain_url import DrainUrl
from dynod.logs.drain_transport import DELIVERED, Delivery, Frame, describe

CONNECT_S: Final = 4.0
SEND_S: Final = 4.0  # without the receiver taking anything
IDLE_S: Final = 240.0
OLDEST_S: Final = 5 * 3600.0
LOOK_S: Final = 0.001  # nothing tells when bytes are acknowledged: looked at after 1 ms, then less and less often
LONGEST_LOOK_S: Final = 0.05
CLOSE_S: Final = 1.0
ESTABLISHED: Final = 1  # TCP_INFO's states, tcp_states.h
CLOSE_WAIT: Final = 8  # the receiver has closed its side

MakeContext = Callable[[], ssl.SSLContext]


class SyslogTransport:
    """Made without a loop; connects when there is something to send."""

    def __init__(
        self,
        url: DrainUrl,
        *,
        make_context: MakeContext = ssl.create_default_context,
        connect_s: float = CONNECT_S,
        send_s: float = SEND_S,
    ) -> None:
        self._url = url
        self._make_context = make_context
        self._connect_s = connect_s
        self._send_s = send_s
        self._context: ssl.SSLContext | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self._connected_at = 0.0
        self._sent_at = 0.0

    async def send(self, frame: Frame) -> Delivery:
        loop = asyncio.get_running_loop()
        if self._writer is not None and self._is_used_up(loop.time()):
            await self.close()
        if self._writer is None:
            try:
                async with asyncio.timeout(self._connect_s):
                    await self._connect()
            except (OSError, ValueError) as error:  # TLS's errors and timeouts are OSErrors
                distrusted = isinstance(error, ssl.SSLCertVerificationError)
                return Delivery(outcome=Outcome.UNREACHABLE, error=describe(error), distrusted=distrusted)
            self._connected_at = loop.time()
        try:
            await self._write(frame.body)
        except OSError as error:
            await self._abort()
            return Delivery(outcome=Outcome.FAILED, error=describe(error))
        except asyncio.CancelledError:
            await self._abort()
            raise
        self._sent_at = loop.time()
        return DELIVERED

    async def close(self) -> None:
        """In order, so that what was sent arrives."""
        writer, self._writer, self._reader = self._writer, None, None
        if writer is None:
            return
        writer.close()
        await _gone(writer)

    async def _connect(self) -> None:
        context = None
        if self._url.tls:
            if self._context is None:
                self._context = await asyncio.to_thread(self._make_context)
            context = self._context
        self._reader, self._writer = await asyncio.open_connection(
            self._url.host, self._url.port, ssl=context, server_hostname=self._url.host if context else None
        )
        self._writer.transport.set_write_buffer_limits(high=0)  # `drain` then waits until the kernel has it all

    async def _write(self, data: bytes) -> None:
        writer = self._writer
        assert writer is not None  # noqa: S101 (connected by `send`)
        connection = writer.get_extra_info("socket")
        view = memoryview(data)
        while view:
            piece, view = view[: 64 * 1024], view[64 * 1024 :]
            async with asyncio.timeout(self._send_s):
                writer.write(piece)
                await writer.drain()
        if connection is None or sys.platform != "linux":
            return
        look_s, left = LOOK_S, 1 << 62
        deadline = asyncio.get_running_loop().time() + self._send_s
        while True:
            unacknowledged = _unacknowledged(connection)
            # Of a connection that was reset nothing is unacknowledged either: its queue is gone.
            if _state(connection) not in {ESTABLISHED, CLOSE_WAIT}:
                raise ConnectionResetError
            if unacknowledged == 0:
                return
            now = asyncio.get_running_loop().time()
            if unacknowledged < left:
                left, deadline = unacknowledged, now + self._send_s
            elif now >= deadline:
                raise TimeoutError
            await asyncio.sleep(look_s)
            look_s = min(look_s * 2, LONGEST_LOOK_S)

    async def _abort(self) -> None:
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            writer.transport.abort()
            await _gone(writer)

    def _is_used_up(self, now: float) -> bool:
        """Closed by the receiver, silent for so long that something between may have forgotten it, or old."""
        assert self._reader is not None  # noqa: S101 (there with the writer)
        assert self._writer is not None  # noqa: S101
        return (
            self._reader.at_eof()
            or self._reader.exception() is not None
            or self._writer.is_closing()
            or _state(self._writer.get_extra_info("socket")) not in {None, ESTABLISHED}
            or now - self._sent_at > IDLE_S
            or now - self._connected_at > OLDEST_S
        )


async def _gone(writer: asyncio.StreamWriter) -> None:
    """Wait for the end of a connection; a peer that does not answer TLS's goodbye does not get for ever."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await writer.wait_closed()
    except OSError:  # TimeoutError is one
        writer.transport.abort()  # also uvloop's loop, closed with such a connection, would not end


def _unacknowledged(connection: socket.socket) -> int:
    """Bytes that the receiver's kernel has not acknowledged (tcp(7), SIOCOUTQ, which is TIOCOUTQ)."""
    answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * struct.calcsize("i"))
    (count,) = struct.unpack("i", answer)
    return int(count)


def _state(connection: socket.socket | None) -> int | None:
    """The TCP state; None where the system does not say."""
    if connection is None or sys.platform != "linux":
        return None
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
