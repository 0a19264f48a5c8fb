"""One client's connection: bytes → heads → exchanges, one after the other. On the hot path.

Flow: socket → `data_received` → http_head → `Exchange` (relay.py) → … → `next_request`. Requests of a connection are
relayed one at a time; what a client sends ahead waits in `buffer` and its answers keep their order. Nothing awaits.

Deliberately not here: what happens to a request once its head is understood (relay.py).
"""

import asyncio
from time import perf_counter, time
from typing import Final

from router import tcp
from router.core import proxy_line
from router.core.codes import Code
from router.core.pool import Outcome
from router.core.request_record import RequestRecord, printable
from router.errors import HeadError
from router.head_grammar import bare_line_end
from router.head_values import NOTHING_SPECIAL, Asks, Forwarding
from router.http_head import RequestReader, judge_request
from router.lazy_timer import LazyTimer
from router.relay import CONTINUE_HEAD, Exchange
from router.relay_client import PAUSED_AHEAD, PAUSED_ALL, PAUSED_ANSWER, Reading
from router.relay_context import RelayContext

_PIPELINE_BYTES: Final = 65536  # what a client may send ahead before it is no longer read
_LINGER_BYTES: Final = 4 << 20
_PROBE_S: Final = 0.5  # see _probe
_LONGEST_METHOD_LOGGED: Final = 30
_MOST_PROBES: Final = 4
_HTTPS_PORT: Final = 443  # Heroku: a client that came in on it spoke TLS
_SLASH: Final = 0x2F


_HEAD: Final = Reading.HEAD  # as in relay.py
_GONE: Final = Reading.GONE


class ClientConnection(asyncio.Protocol):
    """See the module."""

    __slots__ = (
        "_context",
        "_keepalive_s",
        "_lingered",
        "_loop",
        "_pauses",
        "_probes",
        "_proxy_line_due",
        "_reader",
        "_searched",
        "_settings",
        "buffer",
        "close_after",
        "exchange",
        "forwarding",
        "full",
        "half_closed",
        "port",
        "reading",
        "scheme",
        "timer",
        "transport",
        "unsent_at_look",
    )

    def __init__(self, context: RelayContext, *, port: bytes, scheme: bytes) -> None:
        self._context = context
        self._loop = context.loop
        self._settings = context.settings
        self.port = port
        self.scheme = scheme
        self.transport: asyncio.Transport
        self.reading = Reading.HEAD
        self.buffer = b""
        self.forwarding: Forwarding
        self.exchange = Exchange(self, context)
        self.timer = LazyTimer(context.loop, self._time_passed)
        self.full = False  # the client is slow to read
        self.half_closed = False
        self.close_after = False
        self.unsent_at_look = 0
        self._searched = 0
        self._pauses = 0
        self._lingered = 0

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream protocol is given a stream transport
        context, settings = self._context, self._settings
        self.transport.set_write_buffer_limits(high=settings.write_buffer)
        peer = transport.get_extra_info("peername")
        address = peer[0] if isinstance(peer, tuple) else ""
        trusted = context.trusts(address) if address else True
        self._set_peer(address, trusted=trusted)
        self._proxy_line_due = settings.proxy_protocol and trusted
        context.connections.add(self)
        context.connection_made()
        self.timer.set(self._loop.time() + settings.keepalive_timeout_s)

    def _set_peer(self, address: str, *, trusted: bool) -> None:
        address = address.removeprefix("::ffff:")
        settings = self._settings
        self._keepalive_s = settings.trusted_keepalive_timeout_s if trusted else settings.keepalive_timeout_s
        self.forwarding = Forwarding(
            peer=address.encode("ascii", "replace") or b"unix",
            port=self.port,
            scheme=self.scheme,
            trusted=trusted,
            via=self._context.via,
        )
        self._reader = RequestReader(self.forwarding, self._context.limits)

    def data_received(self, data: bytes) -> None:
        reading = self.reading
        if reading is _HEAD:
            if self.buffer:
                data = self.buffer + data
            if self._proxy_line_due:
                self._proxy_line(data)
            else:
                self._head(data)
        elif reading is Reading.BODY:
            self.exchange.request_body(data)
        elif reading is Reading.AHEAD:
            self.buffer += data
            if len(self.buffer) > _PIPELINE_BYTES:
                self.pause(PAUSED_AHEAD)
        elif reading is Reading.LINGER:
            self._lingered += len(data)
            if self._lingered > _LINGER_BYTES:
                self.transport.abort()

    def eof_received(self) -> bool:
        if self.exchange.record is None or self.reading is not Reading.AHEAD:
            # Between requests, inside a head or inside a body: there is nothing whole left to answer.
            return False
        self.half_closed = True
        if self.exchange.asks.persistent and not self.buffer:
            # It meant to go on, so this may be a client that has gone rather than one that has said all.
            self._probes = 0
            self._loop.call_later(_PROBE_S, self._probe, self.exchange.record)
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self.reading = Reading.GONE
        context = self._context
        context.connections.discard(self)
        if self._pauses:
            context.hangups.forget(self.transport)
        self.timer.cancel()
        record = self.exchange.record
        if record is not None:
            record.fail(Code.CLIENT_INTERRUPTED)
            self.exchange.finish(record, Outcome.ABANDONED)
        self.buffer = b""
        context.connection_gone()

    def pause_writing(self) -> None:
        self.full = True
        if self.exchange.link is not None:
            self.exchange.link.transport.pause_reading()

    def resume_writing(self) -> None:
        self.full = False
        if not self.exchange.client_reads_again() and self.reading is Reading.HEAD:
            self.resume(PAUSED_ANSWER)
            self._loop.call_soon(self._next_buffered)

    # -- heads ---------------------------------------------------------------------------------------------------------

    def _head(self, data: bytes) -> None:
        """The client's next head, perhaps a part of it, perhaps with more behind it."""
        searched = self._searched
        if searched:
            # A head in pieces is searched from where the last search ended: bytes one by one stay linear.
            if data.find(b"\r\n\r\n", max(0, searched - 3)) < 0:
                self._partial_head(data)
                return
            self._searched = 0
        exchange, context = self.exchange, self._context
        exchange.request_from = perf_counter()
        now = time()
        plain = self._reader.read(data, context.new_request_id(), int(now * 1000.0))
        if plain is None:
            self._judge_head(data, now)
            return
        method, target, host, request_id, fwd, protocol, out, length, persistent, end = plain
        if end != len(data):
            self.buffer = data[end:]
        elif self.buffer:
            self.buffer = b""
        # A value made anew costs 0.9 µs; nearly always it would be this one.
        asks = NOTHING_SPECIAL if persistent and length <= 0 else Asks(length=length, persistent=persistent)
        exchange.begin(method, target, host, request_id, fwd, protocol, out, asks, now)

    def _judge_head(self, data: bytes, now: float) -> None:
        """`_head` for any head there may be."""
        if data[:2] == b"\r\n":
            data = data[2:]  # RFC 9112 section 2.2: at least one empty line before a request is ignored
            if not data:
                self.buffer = b""
                return
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._partial_head(data)
            return
        end += 4
        head = data[:end]
        self.buffer = data[end:]
        context = self._context
        try:
            request = judge_request(
                head,
                by=self.forwarding,
                limits=context.limits,
                fresh_id=context.new_request_id(),
                at_ms=int(now * 1000.0),
            )
        except HeadError as error:
            self._refuse_head(head, error)
            return
        self.exchange.begin(
            request.method,
            request.target,
            request.host,
            request.request_id,
            request.fwd,
            request.protocol,
            request.out,
            request.asks,
            now,
        )

    def _proxy_line(self, data: bytes) -> None:
        """The line that a trusted proxy says before the first request."""
        end = data.find(b"\r\n", 0, proxy_line.LONGEST)
        try:
            if end < 0:
                if len(data) >= proxy_line.LONGEST or not data.startswith(b"PROXY "[: len(data)]):
                    raise HeadError("bad PROXY line")  # noqa: TRY301  # as parse() raises it
                self.buffer = data
                return
            client = proxy_line.parse(data[:end])
        except HeadError as error:
            self._context.client_fault(error.cause)
            self.transport.abort()  # no answer: what is there does not speak HTTP yet
            return
        self._proxy_line_due = False
        if client is not None:
            self.port = str(client.port).encode()
            self.scheme = b"https" if client.port == _HTTPS_PORT else self.scheme
            self._set_peer(client.address, trusted=self._context.trusts(client.address))
        self.buffer = b""
        if len(data) > end + 2:
            self._head(data[end + 2 :])

    def _partial_head(self, data: bytes) -> None:
        """Keep what has come, and refuse at once what can no longer become a head."""
        if not self.buffer:
            self.timer.set(self._loop.time() + self._settings.head_timeout_s)
        fresh = data[self._searched - 1 if self._searched else 0 :]
        if len(data) > self._settings.max_head:
            error = HeadError("oversized head")
        elif b"\r\n" not in data and len(data) > self._settings.max_request_line:
            error = HeadError("oversized request line")
        elif b"\0" in fresh or bare_line_end(fresh, first=not self._searched):
            error = HeadError("bad header")
        else:
            self.buffer = data
            self._searched = len(data)
            return
        self._searched = 0
        self.buffer = b""
        self._refuse_head(data, error)

    def _refuse_head(self, head: bytes, error: HeadError) -> None:
        """A head that is no request: its record says what can be said, the connection ends."""
        line = head.split(b"\n", 1)[0].split(b" ")
        method = line[0] if line[0].isalpha() and len(line[0]) <= _LONGEST_METHOD_LOGGED else b""
        path = line[1] if len(line) > 2 else b""  # noqa: PLR2004  # method, path, version
        path = printable(path[:2048])
        record = RequestRecord("", method, path, b"", time())
        record.request_id = self._context.new_request_id()
        record.fwd = self.forwarding.peer
        record.fail(Code.REQUEST_ERROR, cause=error.cause, status=error.status)
        self.close_after = True
        self._context.client_fault(error.cause)
        self.exchange.refuse(record, method, error)

    # -- after an exchange ---------------------------------------------------------------------------------------------

    def next_request(self, now: float) -> None:
        """After an exchange: the next request, or the end of the connection."""
        if self.reading is _GONE:
            return
        if self.close_after or self._context.closing or (self.half_closed and not self.buffer):
            self._say_goodbye()
            return
        self.reading = _HEAD
        deadline = now + self._keepalive_s
        timer = self.timer
        if timer.at <= deadline:
            timer.deadline = deadline
        else:
            timer.set(deadline)
        if self._pauses:
            self.resume(PAUSED_ALL)
        if self.full:
            # It does not take the answers it has; no further ones are made until it does.
            self.pause(PAUSED_ANSWER)
        elif self.buffer:
            # Not from here: a client that pipelines a thousand requests would nest a thousand calls.
            self._loop.call_soon(self._next_buffered)

    def _next_buffered(self) -> None:
        if self.reading is Reading.HEAD and self.buffer and not self.full:
            data, self.buffer = self.buffer, b""
            self._head(data)

    def _say_goodbye(self) -> None:
        if self.reading is Reading.AHEAD and not self.buffer:
            self.reading = Reading.LINGER
            self.transport.close()
            return
        # The client may still be sending. Closing now would answer its bytes with a reset, which destroys what it has
        # not read yet of our answer (RFC 9112 section 9.6).
        self.reading = Reading.LINGER
        self._lingered = 0
        self.buffer = b""
        self.resume(PAUSED_ALL)
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        self.timer.set(self._loop.time() + self._settings.linger_s)

    def leave(self) -> None:
        """The socket is a tunnel's now."""
        self.reading = Reading.GONE
        self.timer.cancel()
        self._context.hangups.forget(self.transport)
        self._context.connections.discard(self)

    def cut(self, *, shows: bool) -> None:
        """End an answer that cannot be finished, so that the client sees that it is not whole."""
        self.reading = Reading.GONE
        if shows:
            self.transport.close()  # its framing shows what is missing; what there is still arrives
            self.unsent_at_look = 0
            self.timer.set(self._loop.time() + self._settings.linger_s)
            return
        tcp.reset(self.transport)

    def _probe(self, record: RequestRecord) -> None:
        """Find out whether a client that ended its side still listens.

        A closed socket answers the interim with a reset, a half-closed one takes it and waits on; both look alike
        before. Only an HTTP/1.1 client may be sent a 1xx; with HTTP/1.0 the answer itself will tell.
        """
        exchange = self.exchange
        if exchange.record is not record or exchange.answered or exchange.http10 or self.transport.is_closing():
            return
        if self._probes == 0:
            self.transport.write(CONTINUE_HEAD)
        elif not tcp.connected(self.transport):
            self.transport.abort()
            return
        self._probes += 1
        if self._probes < _MOST_PROBES:
            self._loop.call_later(_PROBE_S, self._probe, record)

    # -- pausing the client --------------------------------------------------------------------------------------------

    def pause(self, why: int) -> None:
        """Read no more, for one more reason."""
        if not self._pauses and not self.transport.is_closing():
            self.transport.pause_reading()
            self._context.hangups.watch(self.transport)
        self._pauses |= why

    def resume(self, why: int) -> None:
        """That reason is over; without any left, read on."""
        if self._pauses:
            self._pauses &= ~why
            if not self._pauses and not self.transport.is_closing():
                self._context.hangups.forget(self.transport)
                self.transport.resume_reading()

    # -- time, and the end ---------------------------------------------------------------------------------------------

    def _time_passed(self) -> None:
        if self.exchange.record is None:
            self._idle_too_long()
        else:
            self.exchange.time_passed()

    def _idle_too_long(self) -> None:
        if self.reading is Reading.HEAD and self.buffer:
            self._refuse_head(self.buffer, HeadError("slow head", 408))
            return
        closing = self.transport.is_closing() or self.reading is not Reading.HEAD
        unsent = self.transport.get_write_buffer_size()
        if closing and unsent in (0, self.unsent_at_look):
            self.transport.abort()
            return
        if not closing:
            self.transport.close()
        self.unsent_at_look = unsent  # it may take the rest of its answer, as long as it takes something
        self.timer.set(self._loop.time() + self._settings.idle_timeout_s)

    def end_if_idle(self) -> None:
        """The router shuts down: a connection without a request is closed."""
        if self.exchange.record is None and self.reading is Reading.HEAD and not self.buffer:
            self.transport.close()

    def cut_short(self) -> bool:
        """The router's patience is over: end whatever is under way (H24). True if a request was."""
        record = self.exchange.record
        if record is not None:
            record.fail(Code.FORCED_CLOSE)
            self.exchange.finish(record, Outcome.ABANDONED)
        self.reading = Reading.GONE
        tcp.reset(self.transport)
        return record is not None
