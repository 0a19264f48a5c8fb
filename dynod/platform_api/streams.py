"""Answers that go on: a log, the output of a build or of a release command, what the dashboard shows.

The end of the answer is the end of what there is; where there would be more, the connection is cut instead, so that a
client can tell.
"""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

from aiohttp import web

from dynod.core.losses import Lose, Loss, unheeded
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.gate import ON_BUG

MOST_STREAMS: Final = 128  # open at once
PAGE_STREAM_S: Final = 300.0  # then the page asks again, which it may no longer where its token was revoked


class Streams:
    """Those of one kind, of one server, that are open."""

    def __init__(self, most: int = MOST_STREAMS, *, patience_s: float | None = None, lose: Lose = unheeded) -> None:
        """`patience_s`: whoever has taken nothing for so long is dropped, and counted; None: waited for."""
        self._open: set[asyncio.Task[None]] = set()
        self._most = most
        self._patience_s = patience_s
        self._lose = lose
        self.dropped = 0

    async def send(self, request: web.Request, response: web.StreamResponse, pieces: AsyncIterator[bytes]) -> None:
        """All pieces, until they end, the client leaves or is dropped, or the server closes."""
        task = asyncio.ensure_future(self._send(request, response, pieces))
        self._open.add(task)
        try:
            await task
        finally:
            task.cancel()
            self._open.discard(task)

    @property
    def is_full(self) -> bool:
        """There are as many as there may be."""
        return len(self._open) >= self._most

    async def close(self, _app: web.Application) -> None:
        """The server ends: so do they, after what they were about to send."""
        for task in tuple(self._open):
            task.cancel()

    async def _send(self, request: web.Request, response: web.StreamResponse, pieces: AsyncIterator[bytes]) -> None:
        try:
            async for data in pieces:
                if data:
                    await self._write(request, response, data)
                elif request.transport is None or request.transport.is_closing():
                    return
        finally:
            if hasattr(pieces, "aclose"):
                await pieces.aclose()

    async def _write(self, request: web.Request, response: web.StreamResponse, data: bytes) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                await response.write(data)
        except TimeoutError as error:
            self.dropped += 1
            self._lose(Loss.DASHBOARD_PAGES, 1)
            if request.transport is not None:
                request.transport.abort()  # an orderly end would wait for what it does not take
            raise ConnectionError("it takes nothing") from error


OPEN_STREAMS: Final = web.AppKey("streams", Streams)


async def answer_stream(
    request: web.Request,
    path: str,
    pieces: AsyncIterator[bytes],
    *,
    streams: Streams | None = None,
    content_type: str = "text/plain",
    lasts_s: float | None = None,
) -> web.StreamResponse:
    """Send whole lines as they come; an empty piece now and then lets the client be looked for.

    After `lasts_s` it is cut, and the client is to come again; None: never.
    `path` names the request where a bug is reported: the real one is a secret. Raises RefusedError.
    """
    streams = streams if streams is not None else request.app[OPEN_STREAMS]
    if streams.is_full:
        raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, "Too many are being followed.")
    response = web.StreamResponse()
    response.content_type = content_type
    response.charset = "utf-8"
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"  # for a proxy in between
    await response.prepare(request)
    try:
        async with asyncio.timeout(lasts_s):
            await streams.send(request, response, pieces)
        await response.write_eof()
    except (ConnectionError, TimeoutError):
        _cut(request)  # the client has left, or is to come again
    except asyncio.CancelledError:
        _cut(request)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # else the server ends, and it was the sending alone that was cancelled
    except Exception as error:  # noqa: BLE001 - an answer has begun, so nobody but the daemon's own log can be told
        request.app[ON_BUG](f"GET {path}…", error)
        _cut(request)
    return response


def _cut(request: web.Request) -> None:
    """Instead of an orderly end, so that a client can tell that there is more."""
    if request.transport is not None:
        request.transport.close()
