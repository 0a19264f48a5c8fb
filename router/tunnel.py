"""After a 101: bytes both ways between a client and a backend, until both have ended or nothing moves any more.

Flow: the relay hands over both transports when it has written the 101; from then on there is no HTTP here.
Back-pressure and half-close are passed on. The idle limit is Heroku's rolling 55 s: bytes in either direction keep a
tunnel up.
"""

import asyncio
from collections.abc import Callable

from router.lazy_timer import LazyTimer


class _End(asyncio.Protocol):
    """One of the two sides."""

    __slots__ = ("ended", "far", "got", "transport", "tunnel")

    def __init__(self, tunnel: "Tunnel", transport: asyncio.Transport) -> None:
        self.tunnel = tunnel
        self.transport = transport
        self.far: _End
        self.ended = False
        self.got = 0

    def data_received(self, data: bytes) -> None:
        self.got += len(data)
        self.tunnel.touched()
        self.far.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        if self.far.ended:
            self.tunnel.close()
        elif self.far.transport.can_write_eof() and not self.far.transport.is_closing():
            self.far.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self.tunnel.close()

    def pause_writing(self) -> None:
        if not self.far.transport.is_closing():
            self.far.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.far.transport.is_closing():
            self.far.transport.resume_reading()


class Tunnel:
    """Two joined transports. `on_end(idle)` is called once, when it is over; `idle` if the limit ended it."""

    __slots__ = ("_backend", "_client", "_closed", "_idle_s", "_loop", "_on_end", "_timer")

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        client: asyncio.Transport,
        backend: asyncio.Transport,
        idle_s: float,
        on_end: Callable[["Tunnel", bool], None],
    ) -> None:
        self._loop = loop
        self._idle_s = idle_s
        self._on_end = on_end
        self._closed = False
        self._client = _End(self, client)
        self._backend = _End(self, backend)
        self._client.far, self._backend.far = self._backend, self._client
        client.set_protocol(self._client)
        backend.set_protocol(self._backend)
        for transport in (client, backend):
            if not transport.is_closing() and not transport.is_reading():
                transport.resume_reading()
        self._timer = LazyTimer(loop, self._idle)
        self.touched()

    @property
    def bytes_to_client(self) -> int:
        """What has come from the backend."""
        return self._backend.got

    @property
    def bytes_to_backend(self) -> int:
        """What has come from the client."""
        return self._client.got

    def touched(self) -> None:
        """Bytes have moved."""
        self._timer.set(self._loop.time() + self._idle_s)

    def close(self, *, idle: bool = False) -> None:
        """End both sides."""
        if self._closed:
            return
        self._closed = True
        self._timer.cancel()
        for end in (self._client, self._backend):
            end.transport.close()
            if end.transport.get_write_buffer_size():
                # What is written is still flushed, to a side that reads; one that does not is not waited for for ever.
                self._loop.call_later(self._idle_s, end.transport.abort)
        self._on_end(self, idle)

    def abort(self) -> None:
        """End both sides now."""
        self.close()
        self._client.transport.abort()
        self._backend.transport.abort()

    def _idle(self) -> None:
        self.close(idle=True)
