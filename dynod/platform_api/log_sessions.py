"""`/apps/:app/log-sessions`: an app's log, its newest lines and, with `tail`, every line from now on.

As on Heroku in two steps: a POST answers with a URL, which can be opened for six minutes, and needs nothing but itself.
It answers in Heroku's text form, as Server-Sent Events to those who ask for them (Heroku's command line does) and as
plain text to everyone else. What dynod knows and Heroku does not is asked for under `dynod`.

The URL is what was asked for, signed: no core has to remember it, so it outlives them. A client of Server-Sent Events
that was cut off asks again by itself and says where it was (Last-Event-ID); it goes on there.
"""

import asyncio
import base64
import contextlib
import hmac
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec
from aiohttp import web

from dynod.app_logs import AppLogs
from dynod.core.line_condition import parse_conditions
from dynod.core.log_filter import DEFAULT_LINES, MOST_LINES, LogFilter
from dynod.core.log_line import LogBatch, Source
from dynod.core.log_text import FullText
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.exchange import answer, operations, read_body
from dynod.platform_api.gate import STREAMS
from dynod.platform_api.peer import caller
from dynod.platform_api.serializers import fixed_id, time_text
from dynod.platform_api.streams import PAGE_STREAM_S, Streams, answer_stream

SESSION_S: Final = 360.0  # logplex, session_expiry_s
LONGEST_KEY: Final = 6000  # a request line has 8190 bytes
SILENCE_S: Final = 15.0  # after it, look whether the client is still there
EVENT_STREAM: Final = "text/event-stream"
SILENCE: Final = b":\n\n"  # a comment: keeps proxies from closing the connection
PLACE: Final = re.compile(r"(\d{1,18})-(\d{1,9})", re.ASCII)

routes = web.RouteTableDef()


class DynodExtras(msgspec.Struct, frozen=True, kw_only=True):
    """What can be asked for beyond Heroku's filters. Times are seconds since the epoch."""

    since: float | None = None
    until: float | None = None
    text: str = ""
    where: str = ""


class NewSession(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a POST; `type` is a process type, `dyno` a dyno or, as Heroku's command line has it, a type."""

    dyno: str | None = None
    type: str | None = None
    source: str | None = None
    lines: int | None = None
    tail: bool = False
    dynod: DynodExtras = DynodExtras()


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in a session's URL."""

    app: str
    wanted: NewSession
    expires_at: float  # monotonic seconds, which are the same for all cores of a machine's life
    lasts_s: float | None = None  # an open one is cut after that; None: never


class Place(NamedTuple):
    """Where a stream of events is: behind so many lines of a moment."""

    micros: int  # since the epoch
    lines: int

    def __str__(self) -> str:
        return f"{self.micros}-{self.lines}"

    @classmethod
    def read(cls, text: str) -> "Place | None":
        """The place in a Last-Event-ID; None for one that is not ours."""
        found = PLACE.fullmatch(text)
        return cls(int(found[1]), int(found[2])) if found else None

    def behind(self, batch: LogBatch) -> "Place":
        """Where that is, when the batch came next."""
        micros = _micros(batch)
        return Place(micros, batch.line_count + (self.lines if micros == self.micros else 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What was asked for. `place`: go on behind it."""

    logs: AppLogs
    wanted: LogFilter
    lines: int | None
    tail: bool
    place: Place | None = None


class LogSessions:
    """The sessions of one server: signed, and `open`."""

    def __init__(self, secret: bytes) -> None:
        """`secret` is the same for every core."""
        self._secret = secret
        self.open = Streams()

    def key(self, ticket: Ticket) -> str:
        """What the session can be opened with. Raises RefusedError."""
        body = base64.urlsafe_b64encode(msgspec.json.encode(ticket)).rstrip(b"=")
        if len(body) > LONGEST_KEY:
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "The filters of this log session are too long.")
        return f"{body.decode()}.{self._signature(body)}"

    def ticket(self, key: str) -> Ticket:
        """What was asked for. Raises RefusedError."""
        body, _, signature = key.partition(".")
        given = signature.encode("utf-8", "surrogateescape")
        if hmac.compare_digest(given, self._signature(body.encode("utf-8", "surrogateescape")).encode()):
            ticket = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=Ticket)
            if ticket.expires_at > time.monotonic():
                return ticket
        raise RefusedError(HTTPStatus.NOT_FOUND, "This log session is over: ask for another one.")

    def _signature(self, body: bytes) -> str:
        return hmac.new(self._secret, body, "sha256").hexdigest()


SESSIONS: Final = web.AppKey("log_sessions", LogSessions)


@routes.post("/apps/{app}/log-sessions")
async def create(request: web.Request) -> web.Response:
    """A session, to be opened at its `logplex_url`."""
    app = operations(request).app(request.match_info["app"])
    body = await read_body(request, NewSession)
    _session(request, app.id, body)  # which refuses what makes no sense
    # Of the dashboard's page, whose session may be over by then; it comes again with that, and where it was.
    lasts_s = PAGE_STREAM_S if caller(request).is_page else None
    ticket = Ticket(app=app.id, wanted=body, expires_at=time.monotonic() + SESSION_S, lasts_s=lasts_s)
    key = request.app[SESSIONS].key(ticket)
    now = time_text(datetime.now(UTC))
    return answer(
        {
            "created_at": now,
            "id": fixed_id("log-session", key),
            "logplex_url": f"{request.scheme}://{request.host}{STREAMS}{key}",
            "updated_at": now,
        },
        HTTPStatus.CREATED,
    )


@routes.get(STREAMS + "{key}", allow_head=False)
async def open_session(request: web.Request) -> web.StreamResponse:
    """The lines."""
    sessions = request.app[SESSIONS]
    ticket = sessions.ticket(request.match_info["key"])
    as_events = EVENT_STREAM in request.headers.get("Accept", "")
    place = Place.read(request.headers.get("Last-Event-ID", "")) if as_events else None
    session = _session(request, ticket.app, ticket.wanted, place)
    return await answer_stream(
        request,
        STREAMS,
        _pieces(session, as_events=as_events),
        streams=sessions.open,
        content_type=EVENT_STREAM if as_events else "text/plain",
        lasts_s=ticket.lasts_s,
    )


async def _pieces(session: Session, *, as_events: bool) -> AsyncIterator[bytes]:
    text = FullText()
    place = Place(0, 0)
    source = session.logs.lines(session.wanted, count=session.lines, follow=session.tail)
    async with contextlib.aclosing(
        _with_silences(source if session.place is None else _behind(session.place, source))
    ) as found:
        async for batches in found:
            data = b"".join([text.format(batch) for batch in batches])
            for batch in batches:
                place = place.behind(batch)
            if as_events:
                yield as_event(data, str(place)) if batches else SILENCE
            else:
                yield data


async def _behind(place: Place, source: AsyncIterator[tuple[LogBatch, ...]]) -> AsyncIterator[tuple[LogBatch, ...]]:
    """The same without the lines of that moment that were sent before."""
    left = place.lines
    try:
        async for batches in source:
            found = []
            for batch in batches:
                lines = batch.line_count
                if left and _micros(batch) == place.micros:
                    left, skipped = max(left - lines, 0), min(left, lines)
                    if skipped < lines:
                        found.append(batch.last_lines(lines - skipped))
                elif _micros(batch) != place.micros - 1:  # which was asked for lest rounding hides the moment itself
                    found.append(batch)
            yield tuple(found)
    finally:
        if hasattr(source, "aclose"):
            await source.aclose()


async def _with_silences(source: AsyncIterator[tuple[LogBatch, ...]]) -> AsyncGenerator[tuple[LogBatch, ...]]:
    """The same, with an empty one wherever nothing has come for a while."""
    coming: asyncio.Future[tuple[LogBatch, ...]] | None = None
    try:
        while True:
            if coming is None:
                coming = asyncio.ensure_future(anext(source))
            done, _ = await asyncio.wait({coming}, timeout=SILENCE_S)
            if not done:
                yield ()
                continue
            try:
                batches = coming.result()
            except StopAsyncIteration:
                return
            finally:
                coming = None
            if batches:
                yield batches
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait({coming})
        if hasattr(source, "aclose"):
            await source.aclose()


def _micros(batch: LogBatch) -> int:
    return round(batch.time * 1_000_000)


def as_event(data: bytes, id_: str) -> bytes:
    """One event whose data is these lines. UTF-8, and without the carriage returns that would end its lines."""
    shown = data.decode("utf-8", "backslashreplace").replace("\r", " ")
    lines = (f"data: {line}\n" for line in shown.removesuffix("\n").split("\n"))
    return "".join([*lines, f"id: {id_}\n\n"]).encode()


def _session(request: web.Request, app: str, body: NewSession, place: Place | None = None) -> Session:
    """Raises NotFoundError, RefusedError, UsageError."""
    wanted, lines = _filter(body), _lines(body)
    if place is not None:
        wanted, lines = replace(wanted, since=(place.micros - 1) / 1_000_000), None
    return Session(logs=operations(request).logs(app), wanted=wanted, lines=lines, tail=body.tail, place=place)


def _filter(body: NewSession) -> LogFilter:
    """Raises RefusedError, UsageError."""
    sources: dict[str, Source] = {"app": "app", "heroku": "heroku"}
    if body.source is not None and body.source not in sources:
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "source: expected app or heroku.")
    if body.dyno is not None and body.type is not None:
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "dyno, type: expected one of them.")
    return LogFilter(
        source=sources[body.source] if body.source is not None else None,
        process=body.dyno or body.type or None,
        since=body.dynod.since,
        until=body.dynod.until,
        text=body.dynod.text.encode("utf-8", "surrogateescape"),
        where=parse_conditions(body.dynod.where) if body.dynod.where else (),
    )


def _lines(body: NewSession) -> int | None:
    """How many; None: all since a time."""
    if body.lines is None:
        return None if body.dynod.since is not None else DEFAULT_LINES
    if not 0 <= body.lines <= MOST_LINES:
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, f"lines: expected 0 to {MOST_LINES}.")
    return body.lines
