"""What a TCP connection to the API turns out to be: HTTP, or the TLS of a rendezvous. Its first byte says.

One port for both, so that one listener is held by the keeper, and one port goes through a tunnel: a client comes to the
rendezvous by the same address as to the API.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

from dynod.access import Access
from dynod.core.rate_limit import CALLS_AN_HOUR
from dynod.platform_api.connection import KEEP_ALIVE_S, MOST_CONNECTIONS, Refusal
from dynod.platform_api.rendezvous import Find, Rendezvous

TLS_HANDSHAKE: Final = 0x16  # RFC 8446, 5.1: the type of the first record; no method of HTTP begins with it


class Authority(Protocol):
    """Who vouches for this server on loopback. Both raise OSError."""

    async def context(self) -> ssl.SSLContext: ...
    async def certificate(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OverTcp:
    """What the API needs to be used over TCP; given by the composition root."""

    access: Access
    authority: Authority
    open: Callable[[], Awaitable[str]]  # listen on loopback, unless it listens already; returns the URL
    calls_an_hour: int = CALLS_AN_HOUR  # 0: no limit
    names: tuple[str, ...] = ()  # by which it may be called, besides localhost and addresses


class TcpDoor:
    """The connections of the TCP listeners that are no HTTP, or not yet. Owned by the server."""

    def __init__(
        self,
        authority: Authority,
        find: Find,
        http: Callable[[], asyncio.BaseProtocol],
        loop: asyncio.AbstractEventLoop,
        on_bug: Callable[[str, Exception], None],
    ) -> None:
        """`http`: makes the protocol of a connection that is HTTP."""
        self.loop = loop
        self._authority = authority
        self._find = find
        self._http = http
        self._on_bug = on_bug
        self._undecided: set[FirstByte] = set()
        self._attached: set[Rendezvous] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> asyncio.BaseProtocol:
        """The protocol of a connection that was just accepted."""
        if len(self._undecided) + len(self._attached) >= MOST_CONNECTIONS:
            return Refusal()
        connection = FirstByte(self)
        self._undecided.add(connection)
        return connection

    def decided(self, connection: "FirstByte") -> None:
        """It is something else now, or gone."""
        self._undecided.discard(connection)

    def turn_into_http(self, transport: asyncio.Transport, data: bytes) -> None:
        """From now on aiohttp has it."""
        protocol = self._http()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if isinstance(protocol, asyncio.Protocol):
            protocol.data_received(data)

    def turn_into_tls(self, transport: asyncio.Transport, data: bytes) -> None:
        """From now on it is a rendezvous', as soon as there is a certificate."""
        transport.pause_reading()
        task = self.loop.create_task(self._begin_tls(transport, data), name="rendezvous")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Every connection here ends."""
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for undecided in tuple(self._undecided):
            undecided.abort()
        for attached in tuple(self._attached):
            attached.abort()

    async def _begin_tls(self, transport: asyncio.Transport, data: bytes) -> None:
        try:
            context = await self._authority.context()
        except OSError:
            transport.abort()  # no place for the authority: whoever asked for the dyno was told so
            return
        except asyncio.CancelledError:
            transport.abort()
            raise
        except Exception as error:  # noqa: BLE001 - the boundary of a connection: reported, not spread
            self._on_bug("a TLS connection", error)
            transport.abort()
            return
        if transport.is_closing():
            return
        rendezvous = _Counted(context, self._find, self.loop, self._attached)
        transport.set_protocol(rendezvous)
        rendezvous.connection_made(transport)
        rendezvous.data_received(data)
        transport.resume_reading()


class _Counted(Rendezvous):
    """A rendezvous that is in a set while it is open."""

    def __init__(
        self, context: ssl.SSLContext, find: Find, loop: asyncio.AbstractEventLoop, open_ones: set[Rendezvous]
    ) -> None:
        super().__init__(context, find, loop)
        self._open_ones = open_ones
        open_ones.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_ones.discard(self)
        super().connection_lost(exc)


class FirstByte(asyncio.Protocol):
    """A connection that has not said anything yet."""

    def __init__(self, door: TcpDoor) -> None:
        self._door = door
        self._transport: asyncio.Transport | None = None
        self._timer = door.loop.call_later(KEEP_ALIVE_S, self.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, and does not inherit from it

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        self._decided()
        if transport is None:
            return
        if data[0] == TLS_HANDSHAKE:
            self._door.turn_into_tls(transport, data)
        else:
            self._door.turn_into_http(transport, data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._decided()

    def abort(self) -> None:
        """Nothing has come for too long, or the server ends."""
        if self._transport is not None:
            self._transport.abort()

    def _decided(self) -> None:
        self._timer.cancel()
        self._transport = None
        self._door.decided(self)
