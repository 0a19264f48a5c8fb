"""`/apps/:app/log-sessions`: an app's log, its newest lines and, with `tail`, every line from now on.

As on Heroku in two steps: a POST answers with a URL, which is opened once, within six minutes, and needs nothing but
itself. It answers in Heroku's text form, as Server-Sent Events to those who ask for them (Heroku's command line does)
and as plain text to everyone else. What dynod knows and Heroku does not is asked for under `dynod`.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from dynod.app_logs import AppLogs
from dynod.core.line_condition import parse_conditions
from dynod.core.log_filter import DEFAULT_LINES, MOST_LINES, LogFilter
from dynod.core.log_line import LogBatch, Source
from dynod.core.log_text import FullText
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.exchange import answer, operations, read_body
from dynod.platform_api.gate import ON_BUG, STREAMS
from dynod.platform_api.serializers import fixed_id, time_text

SESSION_S: Final = 360.0  # logplex, session_expiry_s
MOST_SESSIONS: Final = 1000  # not opened yet
MOST_STREAMS: Final = 128  # open at once
SILENCE_S: Final = 15.0  # after it, look whether the client is still there
EVENT_STREAM: Final = "text/event-stream"

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What was asked for."""

    logs: AppLogs
    wanted: LogFilter
    lines: int | None
    tail: bool
    expires_at: float  # monotonic seconds


class LogSessions:
    """The sessions of one server: not opened yet, and open."""

    def __init__(self) -> None:
        self._waiting: dict[str, Session] = {}
        self._open: set[asyncio.Task[None]] = set()

    def add(self, session: Session) -> str:
        """The id under which it can be opened, once. Raises RefusedError."""
        now = time.monotonic()
        self._waiting = {key: each for key, each in self._waiting.items() if each.expires_at > now}
        if len(self._waiting) >= MOST_SESSIONS:
            raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, "Too many log sessions wait to be opened.")
        key = str(uuid.uuid4())
        self._waiting[key] = session
        return key

    def take(self, key: str) -> Session:
        """Open it. Raises RefusedError."""
        session = self._waiting.pop(key, None)
        if session is None or session.expires_at <= time.monotonic():
            raise RefusedError(HTTPStatus.NOT_FOUND, "This log session is over: ask for another one.")
        if len(self._open) >= MOST_STREAMS:
            raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, "Too many logs are being followed.")
        return session

    async def stream(self, request: web.Request, response: web.StreamResponse, session: Session) -> None:
        """Send it, until it ends, the client leaves, or the server closes."""
        task = asyncio.ensure_future(_send(request, response, session))
        self._open.add(task)
        try:
            await task
        finally:
            task.cancel()
            self._open.discard(task)

    async def close(self, _app: web.Application) -> None:
        """The server ends: so do tails, after what they were about to send."""
        for task in tuple(self._open):
            task.cancel()


SESSIONS: Final = web.AppKey("log_sessions", LogSessions)


@routes.post("/apps/{app}/log-sessions")
async def create(request: web.Request) -> web.Response:
    """A session, to be opened at its `logplex_url`."""
    logs = operations(request).logs(request.match_info["app"])
    body = await read_body(request, NewSession)
    session = Session(
        logs=logs,
        wanted=_filter(body),
        lines=_lines(body),
        tail=body.tail,
        expires_at=time.monotonic() + SESSION_S,
    )
    key = request.app[SESSIONS].add(session)
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


@routes.get(STREAMS + "{key}")
async def open_session(request: web.Request) -> web.StreamResponse:
    """The lines."""
    sessions = request.app[SESSIONS]
    session = sessions.take(request.match_info["key"])
    as_events = EVENT_STREAM in request.headers.get("Accept", "")
    response = web.StreamResponse()
    response.content_type = EVENT_STREAM if as_events else "text/plain"
    response.charset = "utf-8"
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"  # for a proxy in between
    await response.prepare(request)
    try:
        await sessions.stream(request, response, session)
        await response.write_eof()
    except ConnectionError:
        _cut(request)  # the client has left
    except asyncio.CancelledError:
        _cut(request)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # else the server ends, and it was the sending alone that was cancelled
    except Exception as error:  # noqa: BLE001 - an answer has begun, so nobody but the daemon's own log can be told
        request.app[ON_BUG](f"GET {STREAMS}…", error)
        _cut(request)
    return response


def _cut(request: web.Request) -> None:
    """Instead of an orderly end, so that a client can tell that there is more."""
    if request.transport is not None:
        request.transport.close()


async def _send(request: web.Request, response: web.StreamResponse, session: Session) -> None:
    as_events = response.content_type == EVENT_STREAM
    text = FullText()
    source = session.logs.lines(session.wanted, count=session.lines, follow=session.tail)
    async for batches in _with_silences(source):
        if not batches:
            if request.transport is None or request.transport.is_closing():
                return
            if as_events:
                await response.write(b":\n\n")  # a comment: keeps proxies from closing the connection
            continue
        data = b"".join([text.format(batch) for batch in batches])
        await response.write(as_event(data) if as_events else data)


async def _with_silences(source: AsyncIterator[tuple[LogBatch, ...]]) -> AsyncIterator[tuple[LogBatch, ...]]:
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


def as_event(data: bytes) -> bytes:
    """One event whose data is these lines. UTF-8, and without the carriage returns that would end its lines."""
    shown = data.decode("utf-8", "backslashreplace").replace("\r", " ")
    return "".join([*(f"data: {line}\n" for line in shown.removesuffix("\n").split("\n")), "\n"]).encode()


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
