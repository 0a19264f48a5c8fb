"""One request of a client connection: head → claim → relay → release. The hot path of the router.

Flow: client_connection.py has understood a head → `begin` → apps (which app) → pool (which backend) → backend_link →
bytes to the client → `finish`. A connection has one exchange and uses it for one request after the other. Nothing here
awaits: asyncio calls the methods, each reads the state, decides and writes the state in one go, so a cancellation
cannot land in between. Every request ends in `finish`, exactly once, where its claim is released and its record handed
on.

Deliberately not here: the client's socket (client_connection.py), what codes mean (core/codes.py), which backend
(core/pool.py), retry rules (core/retry.py), tunnels (tunnel.py), pages (local_pages.py).
"""

from http import HTTPStatus
from math import inf
from time import perf_counter
from typing import Final

from router import local_pages
from router.apps import RoutedApp
from router.backend_link import BackendLink
from router.core import affinity
from router.core.backend import PooledBackend
from router.core.codes import CODES, Code
from router.core.deadlines import Waiting, code_for, too_slow
from router.core.pool import Hold, Outcome, Refuse
from router.core.request_body import RequestBody
from router.core.request_record import RequestRecord
from router.core.retry import IDEMPOTENT, Verdict, verdict
from router.core.traceparent import traceparent
from router.errors import BodyTooLargeError, ChunkError, HeadError
from router.head_grammar import allowed_trailers
from router.head_values import CONTINUE, NOTHING_SPECIAL, SWITCHING_PROTOCOLS, Asks, ResponseHead
from router.http_head import client_head, host_key
from router.relay_client import PAUSED_BODY, PAUSED_FULL, Client, Reading
from router.relay_context import RelayContext
from router.settings import RouterSettings
from router.upgrade import agreed, open_tunnel

CONTINUE_HEAD: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


# What is asked for every request, by itself: a member of an Enum costs a look-up of 0.1 µs each time in Python 3.11.
_BODY: Final = Reading.BODY
_AHEAD: Final = Reading.AHEAD


class Exchange:
    """See the module. `record` is the request under way, None between two."""

    __slots__ = (
        "_answer_bytes",
        "_app",
        "_attempt",
        "_attempts",
        "_body",
        "_connect_from",
        "_context",
        "_continued",
        "_entry",
        "_failed_at",
        "_first_byte_s",
        "_framed",
        "_held_code",
        "_held_from",
        "_idle_s",
        "_last_call",
        "_last_failure",
        "_loop",
        "_out",
        "_pinned",
        "_rechunk",
        "_routed_app",
        "_routed_generation",
        "_routed_host",
        "_service_from",
        "_settings",
        "_usual",
        "answered",
        "asks",
        "client",
        "http10",
        "link",
        "method",
        "record",
        "request_from",
    )

    def __init__(self, client: Client, context: RelayContext) -> None:
        self.client = client
        self._context = context
        self._loop = context.loop
        self._settings = context.settings
        self.asks = NOTHING_SPECIAL
        self.record: RequestRecord | None = None
        self.link: BackendLink | None = None
        self._app: RoutedApp | None = None
        self._entry: PooledBackend | None = None
        self._attempt: object = None  # the connection attempt under way
        self._body: RequestBody | None = None
        self._continued = True  # nothing is left to be said about `Expect`
        self._idle_s = context.settings.idle_timeout_s
        self._first_byte_s = context.settings.first_byte_timeout_s
        self._last_call = inf  # when the whole request must be over
        self._held_code: Code | None = None
        self._held_from = 0.0
        self._failed_at: tuple[str, ...] = ()
        self._last_failure: Code | None = None
        self._routed_host = b""
        self._routed_app: RoutedApp | None = None
        self._routed_generation = -1
        self.answered = False
        self._usual = False  # the whole answer may be passed on in one step
        self._out = b""  # the head for the backend
        self._rechunk = False
        self._framed = True
        self._answer_bytes = 0
        self._service_from = 0.0
        self.request_from = 0.0  # reading of `perf_counter` when the head was whole
        self.method = b""
        self.http10 = False

    def begin(  # noqa: PLR0917  # by keyword it costs 0.2 µs more, and this is every request
        self,
        method: bytes,
        target: bytes,
        host: bytes,
        request_id: bytes,
        fwd: bytes,
        protocol: str,
        out: bytes,
        asks: Asks,
        now: float,
    ) -> None:
        """A request: make its record, find its app, and route it. See `RequestHead`; `now` is Unix time."""
        context, client = self._context, self.client
        self.method = method
        self.asks = asks
        self.http10 = asks.http10
        self._out = out
        apps = context.apps
        if host == self._routed_host and apps.generation == self._routed_generation:
            app = self._routed_app
        else:
            app = self._routed_app = apps.find(host_key(host))
            self._routed_host, self._routed_generation = host, apps.generation
        record = self.record = RequestRecord(
            app.name if app is not None else "", method, target, host, now, request_id, fwd, protocol
        )
        self.answered = self._rechunk = client.close_after = False
        self._answer_bytes = 0
        client.reading = _BODY if asks.has_body else _AHEAD
        if app is None:
            self._unknown_host(record)
            return
        self._app = app
        if app.settings.log_traceparent:
            record.traceparent = traceparent(out)
        app.open += 1
        self._usual = asks is NOTHING_SPECIAL and method != b"HEAD" and app.is_usual
        settings = app.settings
        app.budget.deposit()
        self._idle_s = settings.idle_timeout_s
        self._first_byte_s = settings.first_byte_timeout_s
        if settings.request_deadline_s:
            self._last_call = self._loop.time() + settings.request_deadline_s
        if asks.has_body:
            self._continued = not asks.expects_continue
            self._body = RequestBody(length=asks.length, chunked=asks.chunked, most=settings.max_body)
            if settings.max_body and asks.length > settings.max_body:
                self.fail(Code.REQUEST_ERROR, cause="oversized body", status=413)
                return
        if settings.max_open and app.open > settings.max_open:
            self.fail(Code.CONNECTION_LIMIT)
        else:
            self._route()

    def request_body(self, data: bytes) -> None:
        """More of the request's body."""
        link = self.link
        if link is None:
            # No backend yet: reading is paused, this read was under way.
            self.client.buffer += data
            return
        out = self._body_part(data)
        if out is None:
            return
        if out:
            self._continued = True
            link.transport.write(out)
            if link.full:
                self.client.pause(PAUSED_FULL)
        self._within(self._idle_s if self.client.reading is Reading.BODY or self.answered else self._first_byte_s)

    def _body_part(self, data: bytes) -> bytes | None:
        """What of `data` goes on, with the state moved; None if the request ended in an error."""
        record, body = self.record, self._body
        if record is None or body is None:
            return None
        try:
            out = body.feed(data)
            if body.done:
                self.client.reading = Reading.AHEAD
                self.client.buffer = body.surplus
                trailers = body.trailers
                if trailers is not None:
                    out += b"0\r\n" + allowed_trailers(trailers, self._context.limits) + b"\r\n"
        except (ChunkError, HeadError) as error:
            self._context.client_fault(str(error))
            self.client.reading = Reading.BODY
            self.fail(Code.REQUEST_ERROR, cause="bad chunk", status=400)
            return None
        except BodyTooLargeError:
            self.fail(Code.REQUEST_ERROR, cause="oversized body", status=413)
            return None
        record.bytes_in = body.size
        least = self._settings_of_app().min_body_rate
        if least and not body.done:
            seconds = perf_counter() - self.request_from
            if too_slow(body.size, seconds=seconds, least=least, grace_s=self._settings_of_app().min_body_rate_after_s):
                self._context.client_fault("slow body")
                self.fail(Code.CLIENT_IDLE)
                return None
        return out

    # -- choosing a backend --------------------------------------------------------------------------------------------

    def _route(self) -> None:
        app, record = self._app, self.record
        if app is None or record is None:
            return
        now = self._loop.time()
        if app.settings.session_affinity:
            pinned = self._pinned = affinity.pinned(self._context.affinity_key, self._out)
            claim = app.pool.claim(now, passed_over=self._failed_at, prefer=pinned)
        else:
            claim = app.pool.claim(now, passed_over=self._failed_at)
        if type(claim) is PooledBackend:
            self._entry = claim
            record.attempts += 1
            record.dyno = claim.label_bytes
            record.backend_id = claim.id
            if self._last_failure is None:  # after a failure only a fresh connection will do
                repeatable = self.client.reading is _AHEAD and self.method in IDEMPOTENT
                link = app.idle.take(claim.id, now, repeatable=repeatable)
                if link is not None:
                    record.connect_ms = 0.0
                    self._send(link, now)
                    return
            self._pause_body()
            self._attempt = attempt = object()
            self._connect_from = perf_counter()
            app.connect(self, attempt, claim)
        elif type(claim) is Hold:
            self._hold(app, claim)
        elif type(claim) is Refuse:
            self.fail(self._last_failure or claim.code)

    def _hold(self, app: RoutedApp, hold: Hold) -> None:
        if len(app.waiting) >= app.settings.max_queue:
            self.fail(Code.BACKLOG_TOO_DEEP)
            return
        waited = perf_counter() - self.request_from
        if waited >= hold.limit_s:
            self.fail(hold.code)
            return
        self._held_code = hold.code
        self._held_from = perf_counter()
        self._pause_body()
        self._within(hold.limit_s - waited)
        app.wait(self, hold.retry_at)

    def room(self) -> None:
        """Parked, and told that there may be room now."""
        self._held_code = None
        if self.record is not None:
            self.record.queue_ms += (perf_counter() - self._held_from) * 1000.0
        self._route()

    def connected(self, attempt: object, link: BackendLink) -> bool:
        """The connection that `attempt` asked for; False if it is not wanted any more."""
        record = self.record
        if attempt is not self._attempt or record is None:
            return False
        self._attempt = None
        record.connect_ms = (perf_counter() - self._connect_from) * 1000.0
        if link.lost:
            self._attempt_failed(Code.NO_RESPONSE, sent=False, reused=False)
        else:
            self._send(link, self._loop.time())
        return True

    def connect_failed(self, attempt: object, code: Code) -> None:
        """The connection that `attempt` asked for could not be made."""
        record = self.record
        if attempt is not self._attempt or record is None:
            return
        self._attempt = None
        record.connect_ms = (perf_counter() - self._connect_from) * 1000.0
        if code is Code.PLATFORM_ERROR:
            self.fail(code)
            return
        self._attempt_failed(code, sent=False, reused=False)

    def _attempt_failed(self, code: Code, *, sent: bool, reused: bool) -> None:
        """The backend did not answer: give its claim back, and ask another if that is allowed."""
        app, entry, record = self._app, self._entry, self.record
        if app is None or entry is None or record is None:
            return
        decision = verdict(
            method=self.method,
            request_sent=sent,
            has_body=self.asks.has_body,
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
            self.fail(code, outcome=outcome)
            return
        self._last_failure = code
        self._usual = False
        if decision is Verdict.OTHER:
            self._failed_at = (*self._failed_at, entry.id)
        self._entry = None
        app.release(entry, outcome)
        self._route()

    # -- sending -------------------------------------------------------------------------------------------------------

    def _send(self, link: BackendLink, now: float) -> None:
        client = self.client
        self.link = link
        link.taker = self
        if client.full:
            link.transport.pause_reading()
        out = self._out
        self._service_from = perf_counter()
        if client.reading is _BODY:
            early = client.buffer
            if early:
                client.buffer = b""
                part = self._body_part(early)
                if part is None:
                    return
                self._continued = True
                out += part
            if not self._continued:
                self._loop.call_later(self._settings.continue_after_s, self._continue_ourselves, self.record)
            client.resume(PAUSED_BODY)
        link.transport.write(out)
        # `_within`, written out here and in `next_request`: 0.2 µs less each.
        deadline = now + (self._first_byte_s if client.reading is _AHEAD else self._idle_s)
        timer = client.timer
        if timer.at <= deadline <= self._last_call:
            timer.deadline = deadline
        else:
            timer.set(min(deadline, self._last_call))

    def _continue_ourselves(self, record: RequestRecord | None) -> None:
        """The dyno has not said 100 for a second: say it for it (contracts.md section 8)."""
        if self.record is record and not self._continued and not self.answered and self.client.reading is Reading.BODY:
            self._continued = True
            self.client.transport.write(CONTINUE_HEAD)

    def link_full(self) -> None:
        """The backend reads slowly."""
        if self.client.reading is Reading.BODY:
            self.client.pause(PAUSED_FULL)

    def link_ready(self) -> None:
        """The backend reads again."""
        self.client.resume(PAUSED_FULL)
        self._within(self._idle_s)

    def _pause_body(self) -> None:
        if self.client.reading is Reading.BODY:
            self.client.pause(PAUSED_BODY)

    # -- the answer ----------------------------------------------------------------------------------------------------

    def interim(self, answer: ResponseHead) -> None:
        """A 1xx: 100 at most once and bare, others as they are; none to an HTTP/1.0 client."""
        self._within(self._first_byte_s)
        if self.http10:
            return
        if answer.status == CONTINUE:
            if not self._continued and self.client.reading is Reading.BODY:
                self._continued = True
                self.client.transport.write(CONTINUE_HEAD)
            return
        self.client.transport.write(answer.before_framing + b"\r\n")

    def answer_whole(self, link: BackendLink, status: int, out: bytes, *, clean: bool) -> bool:
        """All of a usual answer: `answer_starts`, `answer_ends`, `finish` and `next_request` in one."""
        client, record, app, entry = self.client, self.record, self._app, self._entry
        if (
            not self._usual
            or record is None
            or app is None
            or entry is None
            or client.half_closed
            or client.full
            or self._context.closing
        ):
            return False
        now = perf_counter()
        record.status = status
        record.first_byte_ms = record.service_ms = (now - self._service_from) * 1000.0
        record.total_ms = (now - self.request_from) * 1000.0
        record.bytes_out = len(out)
        self.record = self.link = self._entry = self._app = link.taker = None
        client.transport.write(out)
        loop_now = self._loop.time()
        app.answered(link, entry, loop_now, clean=clean)
        self._context.finished(record)
        client.next_request(loop_now)
        return True

    def answer_starts(self, answer: ResponseHead, data: bytes, *, bodyless: bool, framed: bool, last: bool) -> None:
        """The final head, and what came with it."""
        record = self.record
        if record is None:
            return
        record.status = answer.status
        record.first_byte_ms = (perf_counter() - self._service_from) * 1000.0
        self.answered = True
        close = (
            self.client.close_after
            or not self.asks.persistent
            or self._context.closing
            or self.client.half_closed
            or self.client.reading is Reading.BODY
        )
        app, entry = self._app, self._entry
        if app is not None and entry is not None and app.settings.session_affinity and self._pinned != entry.id:
            cookie = affinity.set_cookie(self._context.affinity_key, entry.id)
        else:
            cookie = b""
        if cookie or close or self.http10 or not framed:
            form = client_head(answer, http10=self.http10, close=close, framed=framed, bodyless=bodyless, extra=cookie)
            head, self.client.close_after, self._rechunk, self._framed = form
        else:
            head = answer.ready
            self._framed = True
        if self._rechunk and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        out = head + data
        self._answer_bytes += len(out)
        self.client.transport.write(out)
        if not last:
            self._within(self._idle_s)

    def answer_data(self, data: bytes) -> None:
        """More of the body."""
        if self._rechunk:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._answer_bytes += len(data)
        self._within(self._idle_s)
        self.client.transport.write(data)

    def answer_ends(self, link: BackendLink, *, clean: bool) -> None:
        """The answer is whole."""
        record, app = self.record, self._app
        self.link = None
        if record is None or app is None:
            link.transport.close()
            return
        if self._rechunk:
            self._answer_bytes += 5
            self.client.transport.write(b"0\r\n\r\n")
        if self.client.reading is Reading.BODY:
            clean = False  # the request is not whole: what it still sends belongs to nobody
            self.client.close_after = True
        if self.client.full and not link.transport.is_closing():
            link.transport.resume_reading()
        if clean:
            app.keep(link)
        elif not link.lost:
            link.transport.close()
        self.finish(record, Outcome.ANSWERED)
        self.client.next_request(self._loop.time())

    def answer_refused(self, link: BackendLink, error: HeadError) -> None:
        """The backend's answer may not be passed on: it is cut, or a page is given in its place."""
        link.transport.abort()
        self.link = None
        code = Code.HTTP_RESTRICTION if error.status == HTTPStatus.BAD_GATEWAY else Code.POOR_RESPONSE
        self.fail(code, cause=error.cause if code is Code.HTTP_RESTRICTION else "", outcome=Outcome.BROKEN)

    def link_lost(self, link: BackendLink, error: Exception | None, *, partial: bool) -> None:  # noqa: ARG002  # seam
        """The backend's connection ended too early."""
        self.link = None
        if self.answered or partial or self.client.reading is Reading.BODY:
            self.fail(Code.SERVER_INTERRUPTED, outcome=Outcome.BROKEN)
        else:
            self._attempt_failed(Code.NO_RESPONSE, sent=True, reused=link.reused)

    def switch(self, link: BackendLink, answer: ResponseHead, data: bytes) -> None:
        """A 101. Only one that was asked for becomes a tunnel."""
        record, app, entry = self.record, self._app, self._entry
        self.link = None
        if record is None or app is None or entry is None:
            link.transport.abort()
            return
        if self.client.reading is not Reading.AHEAD or not agreed(self.asks.upgrade, answer.upgrade):
            link.transport.abort()
            self.fail(Code.POOR_RESPONSE, outcome=Outcome.BROKEN)
            return
        record.status = SWITCHING_PROTOCOLS
        record.upgraded = True
        head = b"%bConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % (answer.before_framing, answer.upgrade)
        self.client.transport.write(head + data)
        record.bytes_out = len(head) + len(data)
        early, self.client.buffer = self.client.buffer, b""
        if early:
            link.transport.write(early)
            record.bytes_in = len(early)
        self.record = self._entry = self._app = None
        self.client.leave()
        open_tunnel(
            self._context,
            app=app,
            entry=entry,
            record=record,
            client=self.client.transport,
            backend=link.transport,
            request_from=self.request_from,
            service_from=self._service_from,
        )

    # -- ends ----------------------------------------------------------------------------------------------------------

    def fail(
        self, code: Code, *, cause: str = "", status: int | None = None, outcome: Outcome = Outcome.ABANDONED
    ) -> None:
        """End the exchange with a code: a page if nothing has been answered yet, else the connection is cut."""
        record = self.record
        if record is None:
            return
        record.fail(code, cause=cause, status=status)
        if self.answered:
            # An error page here would look like a part of the answer and hide that it is cut.
            self.finish(record, outcome)
            self.client.cut(shows=self._framed or self._rechunk)
            return
        link, self.link = self.link, None
        if link is not None:
            link.abandon()
        if self.client.reading is Reading.BODY:
            self.client.close_after = True
        shown = 408 if code is Code.CLIENT_IDLE else status or CODES[code].status or 503  # 499 is for the log only
        settings = self._settings_of_app()
        url = (
            settings.maintenance_page_url
            if code is Code.MAINTENANCE
            else settings.error_page_url
            if shown >= HTTPStatus.INTERNAL_SERVER_ERROR
            else ""
        )
        self.local_answer(record, shown, local_pages.error_page(code, shown, cause=cause, page_url=url), outcome)

    def _unknown_host(self, record: RequestRecord) -> None:
        local = self.client.forwarding.peer in (b"127.0.0.1", b"::1") and b"," not in record.fwd
        record.status = 404
        if self.client.reading is Reading.BODY:
            self.client.close_after = True
        self.local_answer(record, 404, local_pages.no_such_app_page(self._context.apps.hosts() if local else ()))

    def local_answer(
        self, record: RequestRecord, status: int, page: bytes, outcome: Outcome = Outcome.ABANDONED
    ) -> None:
        """Answer with a page of our own, and end."""
        keep = not (
            self.client.close_after
            or record.code is Code.REQUEST_ERROR
            or not self.asks.persistent
            or self._context.closing
            or self.client.half_closed
        )
        self.client.close_after = not keep
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
        self.client.transport.write(out)
        self.finish(record, outcome)
        self.client.next_request(self._loop.time())

    def refuse(self, record: RequestRecord, method: bytes, error: HeadError) -> None:
        """Answer a head that is no request; its record is stamped already."""
        self.method, self.http10 = method, False
        self.record = record
        self.request_from = perf_counter()
        self.answered = False
        page = local_pages.error_page(Code.REQUEST_ERROR, error.status, cause=error.cause)
        self.local_answer(record, error.status, page)

    def finish(self, record: RequestRecord, outcome: Outcome) -> None:
        """The one end of every exchange: claim back, record out."""
        now = perf_counter()
        self.record = None
        self._attempt = None
        self._last_call = inf
        if self._last_failure is not None:
            self._last_failure = None
            self._failed_at = ()
        app, entry, link = self._app, self._entry, self.link
        if link is not None:
            self.link = None
            link.abandon()
        record.total_ms = (now - self.request_from) * 1000.0
        if entry is not None:
            self._entry = None
            if record.connect_ms is not None and self._service_from >= self.request_from:
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

    # -- time ----------------------------------------------------------------------------------------------------------

    def client_reads_again(self) -> bool:
        """The client takes its answer again; False if there is none under way."""
        link = self.link
        if link is None or link.transport.is_closing():
            return False
        self._within(self._idle_s)
        link.transport.resume_reading()
        return True

    def _settings_of_app(self) -> RouterSettings:
        return self._app.settings if self._app is not None else self._settings

    def _within(self, seconds: float) -> None:
        """Something must happen within so many seconds, and within the whole request's limit."""
        deadline = self._loop.time() + seconds
        self.client.timer.set(min(self._last_call, deadline))

    def time_passed(self) -> None:
        """The deadline of whatever is being waited for has passed."""
        if self.record is None:
            return
        settings = self._settings_of_app()
        waiting = self._waiting_for()
        unsent = self.client.transport.get_write_buffer_size()
        code = code_for(
            waiting,
            over_all=self._loop.time() >= self._last_call,
            held_for=self._held_code,
            backend_full=self.link is not None and self.link.full,
            client_behind=unsent > 0,
            client_moved=unsent != self.client.unsent_at_look,
            enforce_first_byte=settings.enforce_first_byte,
        )
        self.client.unsent_at_look = unsent
        if code is not None:
            blame = waiting is Waiting.FIRST_BYTE and code is Code.REQUEST_TIMEOUT
            self.fail(code, outcome=Outcome.BROKEN if blame else Outcome.ABANDONED)
        elif waiting is Waiting.CONNECTION:
            self._within(settings.connect_timeout_s)
        elif waiting is Waiting.ANSWER_BODY:
            self._within(self._idle_s)
        else:
            if self.record.code is None:  # said, not done: `enforce_first_byte` is off
                self.record.fail(Code.REQUEST_TIMEOUT)
                self._context.overdue(self.record, self._first_byte_s)
            self._within(max(self._first_byte_s, 1.0))

    def _waiting_for(self) -> Waiting:
        if self._held_code is not None:
            return Waiting.BACKEND
        if self._attempt is not None:
            return Waiting.CONNECTION
        if self.answered:
            return Waiting.ANSWER_BODY
        return Waiting.REQUEST_BODY if self.client.reading is Reading.BODY else Waiting.FIRST_BYTE
