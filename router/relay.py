"""One client connection: head → claim → relay → release, again and again. The hot path of the router.

Flow: bytes from the client → http_head → apps (which app) → pool (which backend) → backend_link → bytes to the client.
One request at a time is relayed per connection; what a client sends ahead waits in `_buffer` and its answers keep their
order. Nothing here awaits: asyncio calls the methods, each reads the state, decides and writes the state in one go,
so a cancellation cannot land in between. Every exchange ends in `_finish`, exactly once, where its claim is released
and its record handed on.

Deliberately not here: what codes mean (core/codes.py), which backend (core/pool.py), retry rules (core/retry.py),
tunnels (tunnel.py), pages (local_pages.py).
"""

import asyncio
from enum import IntEnum
from http import HTTPStatus
from math import inf
from time import perf_counter, time
from typing import Final

from router import local_pages, tcp
from router.apps import RoutedApp
from router.backend_link import BackendLink
from router.core import affinity, proxy_line
from router.core.backend import PooledBackend
from router.core.codes import CODES, Code
from router.core.deadlines import Waiting, code_for
from router.core.pool import Hold, Outcome, Refuse
from router.core.request_body import RequestBody
from router.core.request_record import RequestRecord, printable
from router.core.retry import IDEMPOTENT, Verdict, verdict
from router.errors import BodyTooLargeError, ChunkError, HeadError
from router.http_head import (
    CONTINUE,
    SWITCHING_PROTOCOLS,
    Forwarding,
    RequestFields,
    ResponseHead,
    allowed_trailers,
    bare_line_end,
    client_head,
    host_key,
    match_request_line,
    origin_form,
    parse_request_fields,
    request_line,
)
from router.lazy_timer import LazyTimer
from router.relay_context import RelayContext
from router.settings import RouterSettings
from router.upgrade import agreed, open_tunnel

_PIPELINE_BYTES: Final = 65536  # what a client may send ahead before it is no longer read
_LINGER_BYTES: Final = 4 << 20
_PROBE_S: Final = 0.5  # see _probe
_RATE_GRACE_S: Final = 30.0
_LONGEST_METHOD_LOGGED: Final = 30
_MOST_PROBES: Final = 4
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_HTTPS_PORT: Final = 443  # Heroku: a client that came in on it spoke TLS
_SLASH: Final = 0x2F


class Reading(IntEnum):
    """What the next bytes from the client are."""

    HEAD = 0  # the next request, or nothing yet
    BODY = 1  # the current request's body
    AHEAD = 2  # the request is whole; what comes is the next one, early
    LINGER = 3  # nothing that matters: the last answer is written, what is sent is thrown away
    GONE = 4  # the connection is lost, or is a tunnel now


class ClientConnection(asyncio.Protocol):
    """See the module."""

    __slots__ = (
        "_answer_bytes",
        "_answered",
        "_app",
        "_attempt",
        "_attempts",
        "_block",
        "_block_minor",
        "_body",
        "_buffer",
        "_close_after",
        "_connect_from",
        "_context",
        "_continued",
        "_entry",
        "_failed_at",
        "_fields",
        "_first_byte_s",
        "_forwarding",
        "_framed",
        "_full",
        "_half_closed",
        "_held_code",
        "_held_from",
        "_idle_s",
        "_keepalive_s",
        "_last_call",
        "_last_failure",
        "_lingered",
        "_link",
        "_loop",
        "_pauses",
        "_pinned",
        "_probes",
        "_proxy_line_due",
        "_rechunk",
        "_record",
        "_request_from",
        "_routed_app",
        "_routed_generation",
        "_routed_host",
        "_searched",
        "_sent",
        "_service_from",
        "_settings",
        "_target",
        "_timer",
        "_unsent_at_look",
        "http10",
        "method",
        "port",
        "reading",
        "scheme",
        "transport",
    )

    def __init__(self, context: RelayContext, *, port: bytes, scheme: bytes) -> None:
        self._context = context
        self._loop = context.loop
        self._settings = context.settings
        self.port = port
        self.scheme = scheme
        self.transport: asyncio.Transport
        self.reading = Reading.HEAD
        self._buffer = b""
        self._searched = 0
        self._block = b""
        self._block_minor = -1
        self._fields: RequestFields
        self._forwarding: Forwarding
        self._record: RequestRecord | None = None
        self._app: RoutedApp | None = None
        self._entry: PooledBackend | None = None
        self._link: BackendLink | None = None
        self._attempt: object = None  # the connection attempt under way
        self._body: RequestBody | None = None
        self._continued = True  # nothing is left to be said about `Expect`
        self._idle_s = context.settings.idle_timeout_s
        self._first_byte_s = context.settings.first_byte_timeout_s
        self._last_call = inf  # when the whole request must be over
        self._pauses = 0
        self._half_closed = False
        self._close_after = False
        self._held_code: Code | None = None
        self._held_from = 0.0
        self._timer = LazyTimer(context.loop, self._time_passed)
        self._lingered = 0
        self._unsent_at_look = 0
        self._failed_at: tuple[str, ...] = ()
        self._last_failure: Code | None = None
        self._routed_host = b""
        self._routed_app: RoutedApp | None = None
        self._routed_generation = -1
        self._answered = False
        self._rechunk = False
        self._framed = True
        self._full = False  # the client is slow to read
        self._answer_bytes = 0
        self._service_from = 0.0
        self._request_from = 0.0
        self.method = b""
        self.http10 = False

    # -- asyncio.Protocol: the client's side -----------------------------------------------------------------------

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
        self._timer.set(self._loop.time() + settings.keepalive_timeout_s)

    def _set_peer(self, address: str, *, trusted: bool) -> None:
        address = address.removeprefix("::ffff:")
        settings = self._settings
        self._keepalive_s = settings.trusted_keepalive_timeout_s if trusted else settings.keepalive_timeout_s
        self._forwarding = Forwarding(
            peer=address.encode("ascii", "replace") or b"unix",
            port=self.port,
            scheme=self.scheme,
            trusted=trusted,
            via=self._context.via,
        )

    def data_received(self, data: bytes) -> None:
        reading = self.reading
        if reading is Reading.HEAD:
            if self._buffer:
                data = self._buffer + data
            if self._proxy_line_due:
                self._proxy_line(data)
            else:
                self._head(data)
        elif reading is Reading.BODY:
            self._request_body(data)
        elif reading is Reading.AHEAD:
            self._buffer += data
            if len(self._buffer) > _PIPELINE_BYTES:
                self._pause(_P_AHEAD)
        elif reading is Reading.LINGER:
            self._lingered += len(data)
            if self._lingered > _LINGER_BYTES:
                self.transport.abort()

    def eof_received(self) -> bool:
        if self._record is None or self.reading is not Reading.AHEAD:
            # Between requests, inside a head or inside a body: there is nothing whole left to answer.
            return False
        self._half_closed = True
        if self._fields.persistent and not self._buffer:
            # It meant to go on, so this may be a client that has gone rather than one that has said all.
            self._probes = 0
            self._loop.call_later(_PROBE_S, self._probe, self._record)
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self.reading = Reading.GONE
        context = self._context
        context.connections.discard(self)
        self._timer.cancel()
        record = self._record
        if record is not None:
            record.fail(Code.CLIENT_INTERRUPTED)
            self._finish(record, Outcome.ABANDONED)
        self._buffer = b""
        context.connection_gone()

    def pause_writing(self) -> None:
        self._full = True
        if self._link is not None:
            self._link.transport.pause_reading()

    def resume_writing(self) -> None:
        self._full = False
        link = self._link
        if link is not None and not link.transport.is_closing():
            self._within(self._idle_s)
            link.transport.resume_reading()
        elif self.reading is Reading.HEAD:
            self._resume(_P_ANSWER)
            self._loop.call_soon(self._next_buffered)

    # -- the request -----------------------------------------------------------------------------------------------

    def _head(self, data: bytes) -> None:
        """The client's next head, perhaps a part of it, perhaps with more behind it."""
        block = self._block
        lf = len(data) - len(block)
        if lf > 0 and data.endswith(block):
            # The same fields again and nothing behind them, as nearly always on one connection: 0.3 µs instead of
            # 9 (3 compiled).
            # `block` ends with the only empty line there is, as its request line ends where it begins.
            match = match_request_line(data)
            if match is not None and match.end() == lf <= self._context.limits.request_line:
                method, target, version = match.groups()
                if (version == b"1") == self._block_minor and target[0] == _SLASH and method != b"CONNECT":
                    self._request_from = perf_counter()
                    if self._buffer:
                        self._buffer = b""
                    self._searched = 0
                    self._begin(method, target, self._fields)
                    return
        self._new_head(data)

    def _new_head(self, data: bytes) -> None:
        """`_head` for any head there may be."""
        if data[:2] == b"\r\n":
            data = data[2:]  # RFC 9112 section 2.2: at least one empty line before a request is ignored
            self._searched = 0
            if not data:
                self._buffer = b""
                return
        # Heads cut anywhere are searched from where the last search ended: bytes one by one stay linear.
        end = data.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0:
            self._partial_head(data)
            return
        end += 4
        self._searched = 0
        limits = self._context.limits
        head = data[:end]
        self._buffer = data[end:]
        self._request_from = perf_counter()
        try:
            if end > self._settings.max_head:
                raise HeadError("oversized head")  # noqa: TRY301  # one place for all refusals
            method, target, minor, lf = request_line(head, limits)
            block = head[lf:]
            if block == self._block and minor == self._block_minor:
                fields = self._fields
            else:
                fields = parse_request_fields(block, minor=minor, by=self._forwarding, limits=limits)
                self._fields, self._block, self._block_minor = fields, block, minor
            if target[0] != _SLASH or method == b"CONNECT":
                target = origin_form(method, target, fields.host)
        except HeadError as error:
            self._block, self._block_minor = b"", -1
            self._refuse_head(head, error)
            return
        self._begin(method, target, fields)

    def _begin(self, method: bytes, target: bytes, fields: RequestFields) -> None:
        """A request: make its record, find its app, and route it."""
        context = self._context
        self.method = method
        self.http10 = not self._block_minor
        self._target = target
        apps = context.apps
        if fields.host == self._routed_host and apps.generation == self._routed_generation:
            app = self._routed_app
        else:
            app = self._routed_app = apps.find(host_key(fields.host))
            self._routed_host, self._routed_generation = fields.host, apps.generation
        record = RequestRecord(app.name if app is not None else "", method, target, fields.host, time())
        self._record = record
        record.request_id = fields.request_id or context.new_request_id()
        record.fwd = fields.fwd
        record.protocol = fields.protocol
        self._answered = self._rechunk = self._close_after = False
        self._answer_bytes = 0
        self.reading = Reading.BODY if fields.has_body else Reading.AHEAD
        if app is None:
            self._unknown_host(record)
            return
        self._app = app
        app.open += 1
        settings = app.settings
        app.budget.deposit()
        self._idle_s = settings.idle_timeout_s
        self._first_byte_s = settings.first_byte_timeout_s
        if settings.request_deadline_s:
            self._last_call = self._loop.time() + settings.request_deadline_s
        if fields.has_body:
            self._continued = not fields.expects_continue
            self._body = RequestBody(length=fields.length, chunked=fields.chunked, most=settings.max_body)
            if settings.max_body and fields.length > settings.max_body:
                self._fail(Code.REQUEST_ERROR, cause="oversized body", status=413)
                return
        if settings.max_open and app.open > settings.max_open:
            self._fail(Code.CONNECTION_LIMIT)
        else:
            self._route()

    def _proxy_line(self, data: bytes) -> None:
        """The line that a trusted proxy says before the first request."""
        end = data.find(b"\r\n", 0, proxy_line.LONGEST)
        try:
            if end < 0:
                if len(data) >= proxy_line.LONGEST or not data.startswith(b"PROXY "[: len(data)]):
                    raise HeadError("bad PROXY line")  # noqa: TRY301  # as parse() raises it
                self._buffer = data
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
        self._buffer = b""
        if len(data) > end + 2:
            self._head(data[end + 2 :])

    def _partial_head(self, data: bytes) -> None:
        """Keep what has come, and refuse at once what can no longer become a head."""
        if not self._buffer:
            self._timer.set(self._loop.time() + self._settings.head_timeout_s)
        fresh = data[self._searched - 1 if self._searched else 0 :]
        if len(data) > self._settings.max_head:
            error = HeadError("oversized head")
        elif b"\r\n" not in data and len(data) > self._settings.max_request_line:
            error = HeadError("oversized request line")
        elif b"\0" in fresh or bare_line_end(fresh, first=not self._searched):
            error = HeadError("bad header")
        else:
            self._buffer = data
            self._searched = len(data)
            return
        self._searched = 0
        self._buffer = b""
        self._refuse_head(data, error)

    def _refuse_head(self, head: bytes, error: HeadError) -> None:
        """A head that is no request: its record says what can be said, the connection ends."""
        line = head.split(b"\n", 1)[0].split(b" ")
        method = line[0] if line[0].isalpha() and len(line[0]) <= _LONGEST_METHOD_LOGGED else b""
        path = line[1] if len(line) > 2 else b""  # noqa: PLR2004  # method, path, version
        path = printable(path[:2048])
        record = RequestRecord("", method, path, b"", time())
        record.request_id = self._context.new_request_id()
        record.fwd = self._forwarding.peer
        record.fail(Code.REQUEST_ERROR, cause=error.cause, status=error.status)
        self.method, self.http10 = method, False
        self._record = record
        self._request_from = perf_counter()
        self._close_after = True
        self._answered = False
        self._context.client_fault(error.cause)
        self._local_answer(record, error.status, local_pages.error_page(record.code, error.status, cause=error.cause))

    def _request_body(self, data: bytes) -> None:
        link = self._link
        if link is None:
            # No backend yet: reading is paused, this read was under way.
            self._buffer += data
            return
        out = self._body_part(data)
        if out is None:
            return
        if out:
            self._continued = True
            link.transport.write(out)
            if link.full:
                self._pause(_P_FULL)
        self._within(self._idle_s if self.reading is Reading.BODY or self._answered else self._first_byte_s)

    def _body_part(self, data: bytes) -> bytes | None:
        """What of `data` goes on, with the state moved; None if the request ended in an error."""
        record, body = self._record, self._body
        if record is None or body is None:
            return None
        try:
            out = body.feed(data)
            if body.done:
                self.reading = Reading.AHEAD
                self._buffer = body.surplus
                trailers = body.trailers
                if trailers is not None:
                    out += b"0\r\n" + allowed_trailers(trailers, self._context.limits) + b"\r\n"
        except (ChunkError, HeadError) as error:
            self._context.client_fault(str(error))
            self.reading = Reading.BODY
            self._fail(Code.REQUEST_ERROR, cause="bad chunk", status=400)
            return None
        except BodyTooLargeError:
            self._fail(Code.REQUEST_ERROR, cause="oversized body", status=413)
            return None
        record.bytes_in = body.size
        least = self._settings_of_app().min_body_rate
        if least and not body.done:
            seconds = perf_counter() - self._request_from
            if seconds > _RATE_GRACE_S and body.size < least * seconds:
                self._context.client_fault("slow body")
                self._fail(Code.CLIENT_IDLE)
                return None
        return out

    # -- choosing a backend ----------------------------------------------------------------------------------------

    def _route(self) -> None:
        app, record = self._app, self._record
        if app is None or record is None:
            return
        now = self._loop.time()
        pinned = self._pinned = (
            affinity.pinned(self._context.affinity_key, self._fields.tail) if app.settings.session_affinity else None
        )
        claim = app.pool.claim(now, passed_over=self._failed_at, prefer=pinned)
        if type(claim) is PooledBackend:
            self._entry = claim
            record.attempts += 1
            record.dyno = claim.label_bytes
            record.backend_id = claim.id
            if self._last_failure is None:  # after a failure only a fresh connection will do
                repeatable = self.reading is Reading.AHEAD and self.method in IDEMPOTENT
                link = app.idle.take(claim.id, now, repeatable=repeatable)
                if link is not None:
                    record.connect_ms = 0.0
                    self._send(link)
                    return
            self._pause_body()
            self._attempt = attempt = object()
            self._connect_from = perf_counter()
            app.connect(self, attempt, claim)
        elif type(claim) is Hold:
            self._hold(app, claim)
        elif type(claim) is Refuse:
            self._fail(self._last_failure or claim.code)

    def _hold(self, app: RoutedApp, hold: Hold) -> None:
        if len(app.waiting) >= app.settings.max_queue:
            self._fail(Code.BACKLOG_TOO_DEEP)
            return
        waited = perf_counter() - self._request_from
        if waited >= hold.limit_s:
            self._fail(hold.code)
            return
        self._held_code = hold.code
        self._held_from = perf_counter()
        self._pause_body()
        self._within(hold.limit_s - waited)
        app.wait(self, hold.retry_at)

    def room(self) -> None:
        """Parked, and told that there may be room now."""
        self._held_code = None
        if self._record is not None:
            self._record.queue_ms += (perf_counter() - self._held_from) * 1000.0
        self._route()

    def connected(self, attempt: object, link: BackendLink) -> bool:
        """The connection that `attempt` asked for; False if it is not wanted any more."""
        record = self._record
        if attempt is not self._attempt or record is None:
            return False
        self._attempt = None
        record.connect_ms = (perf_counter() - self._connect_from) * 1000.0
        if link.lost:
            self._attempt_failed(Code.NO_RESPONSE, sent=False, reused=False)
        else:
            self._send(link)
        return True

    def connect_failed(self, attempt: object, code: Code) -> None:
        """The connection that `attempt` asked for could not be made."""
        record = self._record
        if attempt is not self._attempt or record is None:
            return
        self._attempt = None
        record.connect_ms = (perf_counter() - self._connect_from) * 1000.0
        if code is Code.PLATFORM_ERROR:
            self._fail(code)
            return
        self._attempt_failed(code, sent=False, reused=False)

    def _attempt_failed(self, code: Code, *, sent: bool, reused: bool) -> None:
        """The backend did not answer: give its claim back, and ask another if that is allowed."""
        app, entry, record = self._app, self._entry, self._record
        if app is None or entry is None or record is None:
            return
        decision = verdict(
            method=self.method,
            request_sent=sent,
            has_body=self._fields.has_body,
            answered=False,  # link_lost sees to those
            connection_reused=reused,
            attempts=record.attempts,
            others=app.pool.others(entry.id, self._failed_at),
        )
        outcome = Outcome.BROKEN if sent else Outcome.CONNECT_FAILED
        stale = decision is Verdict.SAME_OR_OTHER
        if stale:
            outcome = Outcome.ABANDONED  # an idle connection that was closed says nothing about the backend
        if decision is Verdict.GIVE_UP or (sent and not stale and not app.budget.take()):
            self._fail(code, outcome=outcome)
            return
        self._last_failure = code
        if decision is Verdict.OTHER:
            self._failed_at = (*self._failed_at, entry.id)
        self._entry = None
        app.release(entry, outcome)
        self._route()

    # -- sending ---------------------------------------------------------------------------------------------------

    def _send(self, link: BackendLink) -> None:
        record = self._record
        if record is None:
            return
        self._link = link
        link.serve(self)
        if self._full:
            link.transport.pause_reading()
        fields = self._fields
        out = b"%b %b HTTP/1.1\r%b%d\r\nX-Request-Id: %b\r\n\r\n" % (
            self.method,
            self._target,
            fields.tail,
            record.started_at * 1000.0,
            record.request_id,
        )
        self._service_from = perf_counter()
        if self.reading is Reading.BODY:
            early = self._buffer
            if early:
                self._buffer = b""
                part = self._body_part(early)
                if part is None:
                    return
                self._continued = True
                out += part
            if not self._continued:
                self._loop.call_later(self._settings.continue_after_s, self._continue_ourselves, record)
            self._resume(_P_BODY)
        link.transport.write(out)
        # `_within`, written out here and in `_next`: 0.2 µs less each.
        deadline = self._loop.time() + (self._first_byte_s if self.reading is Reading.AHEAD else self._idle_s)
        timer = self._timer
        if timer.at <= deadline <= self._last_call:
            timer.deadline = deadline
        else:
            timer.set(min(deadline, self._last_call))

    def _continue_ourselves(self, record: RequestRecord) -> None:
        """The dyno has not said 100 for a second: say it for it (contracts.md section 8)."""
        if self._record is record and not self._continued and not self._answered and self.reading is Reading.BODY:
            self._continued = True
            self.transport.write(_CONTINUE)

    def link_full(self) -> None:
        """The backend reads slowly."""
        if self.reading is Reading.BODY:
            self._pause(_P_FULL)

    def link_ready(self) -> None:
        """The backend reads again."""
        self._resume(_P_FULL)
        self._within(self._idle_s)

    # -- the answer ------------------------------------------------------------------------------------------------

    def interim(self, answer: ResponseHead) -> None:
        """A 1xx: 100 at most once and bare, others as they are; none to an HTTP/1.0 client."""
        self._within(self._first_byte_s)
        if self.http10:
            return
        if answer.status == CONTINUE:
            if not self._continued and self.reading is Reading.BODY:
                self._continued = True
                self.transport.write(_CONTINUE)
            return
        self.transport.write(answer.before_framing + b"\r\n")

    def answer_starts(self, answer: ResponseHead, data: bytes, *, bodyless: bool, framed: bool, last: bool) -> None:
        """The final head, and what came with it."""
        record = self._record
        if record is None:
            return
        record.status = answer.status
        record.first_byte_ms = (perf_counter() - self._service_from) * 1000.0
        self._answered = True
        close = (
            self._close_after
            or not self._fields.persistent
            or self._context.closing
            or self._half_closed
            or self.reading is Reading.BODY
        )
        app, entry = self._app, self._entry
        if app is not None and entry is not None and app.settings.session_affinity and self._pinned != entry.id:
            cookie = affinity.set_cookie(self._context.affinity_key, entry.id)
        else:
            cookie = b""
        if cookie or close or self.http10 or not framed:
            form = client_head(answer, http10=self.http10, close=close, framed=framed, bodyless=bodyless, extra=cookie)
            head, self._close_after, self._rechunk, self._framed = form
        else:
            head = answer.ready
            self._framed = True
        if self._rechunk and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        out = head + data
        self._answer_bytes += len(out)
        self.transport.write(out)
        if not last:
            self._within(self._idle_s)

    def answer_data(self, data: bytes) -> None:
        """More of the body."""
        if self._rechunk:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._answer_bytes += len(data)
        self._within(self._idle_s)
        self.transport.write(data)

    def answer_ends(self, link: BackendLink, *, clean: bool) -> None:
        """The answer is whole."""
        record, app = self._record, self._app
        self._link = None
        if record is None or app is None:
            link.transport.close()
            return
        if self._rechunk:
            self._answer_bytes += 5
            self.transport.write(b"0\r\n\r\n")
        if self.reading is Reading.BODY:
            clean = False  # the request is not whole: what it still sends belongs to nobody
            self._close_after = True
        if self._full and not link.transport.is_closing():
            link.transport.resume_reading()
        if clean:
            app.keep(link)
        elif not link.lost:
            link.transport.close()
        self._finish(record, Outcome.ANSWERED)
        self._next()

    def answer_refused(self, link: BackendLink, error: HeadError) -> None:
        """The backend's answer may not be passed on: it is cut, or a page is given in its place."""
        link.transport.abort()
        self._link = None
        code = Code.HTTP_RESTRICTION if error.status == HTTPStatus.BAD_GATEWAY else Code.POOR_RESPONSE
        self._fail(code, cause=error.cause if code is Code.HTTP_RESTRICTION else "", outcome=Outcome.BROKEN)

    def link_lost(self, link: BackendLink, error: Exception | None, *, partial: bool) -> None:  # noqa: ARG002  # seam
        """The backend's connection ended too early."""
        self._link = None
        if self._answered or partial or self.reading is Reading.BODY:
            self._fail(Code.SERVER_INTERRUPTED, outcome=Outcome.BROKEN)
        else:
            self._attempt_failed(Code.NO_RESPONSE, sent=True, reused=link.reused)

    def switch(self, link: BackendLink, answer: ResponseHead, data: bytes) -> None:
        """A 101. Only one that was asked for becomes a tunnel."""
        record, app, entry = self._record, self._app, self._entry
        self._link = None
        if record is None or app is None or entry is None:
            link.transport.abort()
            return
        if self.reading is not Reading.AHEAD or not agreed(self._fields.upgrade, answer.upgrade):
            link.transport.abort()
            self._fail(Code.POOR_RESPONSE, outcome=Outcome.BROKEN)
            return
        record.status = SWITCHING_PROTOCOLS
        record.upgraded = True
        head = b"%bConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % (answer.before_framing, answer.upgrade)
        self.transport.write(head + data)
        record.bytes_out = len(head) + len(data)
        early, self._buffer = self._buffer, b""
        if early:
            link.transport.write(early)
            record.bytes_in = len(early)
        self._record = self._entry = self._app = None
        self.reading = Reading.GONE
        self._timer.cancel()
        self._context.connections.discard(self)
        open_tunnel(
            self._context,
            app=app,
            entry=entry,
            record=record,
            client=self.transport,
            backend=link.transport,
            request_from=self._request_from,
            service_from=self._service_from,
        )

    # -- ends ------------------------------------------------------------------------------------------------------

    def _fail(
        self, code: Code, *, cause: str = "", status: int | None = None, outcome: Outcome = Outcome.ABANDONED
    ) -> None:
        """End the exchange with a code: a page if nothing has been answered yet, else the connection is cut."""
        record = self._record
        if record is None:
            return
        record.fail(code, cause=cause, status=status)
        if self._answered:
            # An error page here would look like a part of the answer and hide that it is cut.
            self._finish(record, outcome)
            self._cut()
            return
        link, self._link = self._link, None
        if link is not None:
            link.abandon()
        if self.reading is Reading.BODY:
            self._close_after = True
        shown = 408 if code is Code.CLIENT_IDLE else status or CODES[code].status or 503  # 499 is for the log only
        settings = self._settings_of_app()
        url = (
            settings.maintenance_page_url
            if code is Code.MAINTENANCE
            else settings.error_page_url
            if shown >= HTTPStatus.INTERNAL_SERVER_ERROR
            else ""
        )
        self._local_answer(record, shown, local_pages.error_page(code, shown, cause=cause, page_url=url), outcome)

    def _unknown_host(self, record: RequestRecord) -> None:
        local = self._forwarding.peer in (b"127.0.0.1", b"::1") and b"," not in record.fwd
        record.status = 404
        if self.reading is Reading.BODY:
            self._close_after = True
        self._local_answer(record, 404, local_pages.no_such_app_page(self._context.apps.hosts() if local else ()))

    def _local_answer(
        self, record: RequestRecord, status: int, page: bytes, outcome: Outcome = Outcome.ABANDONED
    ) -> None:
        keep = not (
            self._close_after
            or record.code is Code.REQUEST_ERROR
            or not self._fields.persistent
            or self._context.closing
            or self._half_closed
        )
        self._close_after = not keep
        out = local_pages.answer(
            status,
            page,
            head_only=self.method == b"HEAD",
            keep_alive=keep,
            http10=self.http10,
            date=self._context.date(),
        )
        if record.dyno:
            self._answer_bytes = 0
        self.transport.write(out)
        self._finish(record, outcome)
        self._next()

    def _finish(self, record: RequestRecord, outcome: Outcome) -> None:
        """The one end of every exchange: claim back, record out."""
        now = perf_counter()
        self._record = None
        self._attempt = None
        if self._last_failure is not None:
            self._last_failure = None
            self._failed_at = ()
        app, entry, link = self._app, self._entry, self._link
        if link is not None:
            self._link = None
            link.abandon()
        record.total_ms = (now - self._request_from) * 1000.0
        if entry is not None:
            self._entry = None
            if record.connect_ms is not None and self._service_from >= self._request_from:
                record.service_ms = (now - self._service_from) * 1000.0
                record.bytes_out = self._answer_bytes
            if app is not None:
                app.release(entry, outcome)
        if app is not None:
            self._app = None
            app.open -= 1
            if self._held_code is not None:
                self._held_code = None
                record.queue_ms += (now - self._held_from) * 1000.0
                app.stop_waiting(self)
        self._context.finished(record)

    def _next(self) -> None:
        """After an exchange: the next request, or the end of the connection."""
        if self.reading is Reading.GONE:
            return
        if self._close_after or self._context.closing or (self._half_closed and not self._buffer):
            self._say_goodbye()
            return
        self.reading = Reading.HEAD
        self._last_call = inf
        deadline = self._loop.time() + self._keepalive_s
        timer = self._timer
        if timer.at <= deadline:
            timer.deadline = deadline
        else:
            timer.set(deadline)
        if self._pauses:
            self._resume(_P_ALL)
        if self._full:
            # It does not take the answers it has; no further ones are made until it does.
            self._pause(_P_ANSWER)
        elif self._buffer:
            # Not from here: a client that pipelines a thousand requests would nest a thousand calls.
            self._loop.call_soon(self._next_buffered)

    def _next_buffered(self) -> None:
        if self.reading is Reading.HEAD and self._buffer and not self._full:
            data, self._buffer = self._buffer, b""
            self._searched = 0
            self._head(data)

    def _say_goodbye(self) -> None:
        if self.reading is Reading.AHEAD and not self._buffer:
            self.reading = Reading.LINGER
            self.transport.close()
            return
        # The client may still be sending. Closing now would answer its bytes with a reset, which destroys what it has
        # not read yet of our answer (RFC 9112 section 9.6).
        self.reading = Reading.LINGER
        self._lingered = 0
        self._buffer = b""
        self._resume(_P_ALL)
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        self._timer.set(self._loop.time() + self._settings.linger_s)

    def _cut(self) -> None:
        """End an answer that cannot be finished, so that the client sees that it is not whole."""
        self.reading = Reading.GONE
        if self._framed or self._rechunk:
            self.transport.close()  # its framing shows what is missing; what there is still arrives
            self._unsent_at_look = 0
            self._timer.set(self._loop.time() + self._settings.linger_s)
            return
        tcp.reset(self.transport)

    def _probe(self, record: RequestRecord) -> None:
        """Find out whether a client that ended its side still listens.

        A closed socket answers the interim with a reset, a half-closed one takes it and waits on; both look alike
        before. Only an HTTP/1.1 client may be sent a 1xx; with HTTP/1.0 the answer itself will tell.
        """
        if self._record is not record or self._answered or self.http10 or self.transport.is_closing():
            return
        if self._probes == 0:
            self.transport.write(_CONTINUE)
        elif not tcp.connected(self.transport):
            self.transport.abort()
            return
        self._probes += 1
        if self._probes < _MOST_PROBES:
            self._loop.call_later(_PROBE_S, self._probe, record)

    # -- pausing the client ----------------------------------------------------------------------------------------

    def _pause_body(self) -> None:
        if self.reading is Reading.BODY:
            self._pause(_P_BODY)

    def _pause(self, why: int) -> None:
        if not self._pauses and not self.transport.is_closing():
            self.transport.pause_reading()
        self._pauses |= why

    def _resume(self, why: int) -> None:
        if self._pauses:
            self._pauses &= ~why
            if not self._pauses and not self.transport.is_closing():
                self.transport.resume_reading()

    # -- time ------------------------------------------------------------------------------------------------------

    def _settings_of_app(self) -> RouterSettings:
        return self._app.settings if self._app is not None else self._settings

    def _within(self, seconds: float) -> None:
        """Something must happen within so many seconds, and within the whole request's limit."""
        deadline = self._loop.time() + seconds
        self._timer.set(min(self._last_call, deadline))

    def _time_passed(self) -> None:
        """The deadline of whatever is being waited for has passed."""
        if self._record is None:
            self._idle_too_long()
            return
        settings = self._settings_of_app()
        waiting = self._waiting_for()
        unsent = self.transport.get_write_buffer_size()
        code = code_for(
            waiting,
            over_all=self._loop.time() >= self._last_call,
            held_for=self._held_code,
            backend_full=self._link is not None and self._link.full,
            client_behind=unsent > 0,
            client_moved=unsent != self._unsent_at_look,
            enforce_first_byte=settings.enforce_first_byte,
        )
        self._unsent_at_look = unsent
        if code is not None:
            blame = waiting is Waiting.FIRST_BYTE and code is Code.REQUEST_TIMEOUT
            self._fail(code, outcome=Outcome.BROKEN if blame else Outcome.ABANDONED)
        elif waiting is Waiting.CONNECTION:
            self._within(settings.connect_timeout_s)
        elif waiting is Waiting.ANSWER_BODY:
            self._within(self._idle_s)
        else:
            if self._record.code is None:
                self._record.fail(Code.REQUEST_TIMEOUT)  # said, not done: `enforce_first_byte` is off
            self._within(max(self._first_byte_s, 1.0))

    def _waiting_for(self) -> Waiting:
        if self._held_code is not None:
            return Waiting.BACKEND
        if self._attempt is not None:
            return Waiting.CONNECTION
        if self._answered:
            return Waiting.ANSWER_BODY
        return Waiting.REQUEST_BODY if self.reading is Reading.BODY else Waiting.FIRST_BYTE

    def _idle_too_long(self) -> None:
        if self.reading is Reading.HEAD and self._buffer:
            self._refuse_head(self._buffer, HeadError("slow head", 408))
            return
        closing = self.transport.is_closing() or self.reading is not Reading.HEAD
        unsent = self.transport.get_write_buffer_size()
        if closing and unsent in (0, self._unsent_at_look):
            self.transport.abort()
            return
        if not closing:
            self.transport.close()
        self._unsent_at_look = unsent  # it may take the rest of its answer, as long as it takes something
        self._timer.set(self._loop.time() + self._settings.idle_timeout_s)

    # -- shutdown --------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a request is under way, or an answer is still being written."""
        return self._record is not None

    def end_if_idle(self) -> None:
        """The router shuts down: a connection without a request is closed."""
        if self._record is None and self.reading is Reading.HEAD and not self._buffer:
            self.transport.close()

    def cut_short(self) -> bool:
        """The router's patience is over: end whatever is under way (H24). True if a request was."""
        record = self._record
        if record is not None:
            record.fail(Code.FORCED_CLOSE)
            self._finish(record, Outcome.ABANDONED)
        self.reading = Reading.GONE
        tcp.reset(self.transport)
        return record is not None


# Why the client is not read at the moment.
_P_BODY: Final = 1  # its request has no backend yet
_P_FULL: Final = 2  # its backend is slow
_P_AHEAD: Final = 4  # it has sent too much ahead
_P_ANSWER: Final = 8  # it does not read its answers
_P_ALL: Final = 15
