"""Archives and outputs by an address that opens for whoever was told it: uploads, downloads, outputs of commands.

No token is needed besides, as with the object store that Heroku's own addresses lead to. What comes is written as it
comes, and never held in memory whole. Also where the addresses are made.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

from aiohttp import web

from dynod.core import blob_path
from dynod.core.archive_rules import ArchiveRefusedError
from dynod.core.blob_path import NOTHING, PREFIX, VALID_S, BlobPath, Purpose
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.exchange import stored
from dynod.platform_api.streams import answer_stream

PIECE_S: Final = 60.0  # between two pieces of an upload
MOST_UPLOADS: Final = 8  # at the same time
UPLOADS: Final = web.AppKey("uploads", asyncio.Semaphore)

routes = web.RouteTableDef()


def address(request: web.Request, purpose: Purpose, id_: str, *, extra: str = NOTHING) -> str:
    """Where it is done, for an hour, by whoever is told."""
    path = BlobPath(purpose, id_, int(time.time()) + VALID_S, extra)
    return f"{request.scheme}://{request.host}{blob_path.write(path, stored(request).blob_key)}"


@routes.put(PREFIX + "{rest:.*}")
async def put(request: web.Request) -> web.Response:
    """Upload an archive."""
    path = _told(request)
    if path.purpose not in {Purpose.SLUG_PUT, Purpose.SOURCE_PUT}:
        raise _nothing_here()
    slugs = stored(request).slugs
    size = request.content_length
    if size is not None and size > slugs.most_bytes:
        raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"An archive can have {slugs.most_bytes:,} bytes.")
    places = request.app[UPLOADS]
    if places.locked():
        raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, f"{MOST_UPLOADS} uploads are under way: try again later.")
    async with places:
        try:
            if path.purpose is Purpose.SLUG_PUT:
                expected = path.extra if path.extra != NOTHING else None
                await slugs.receive(path.id, _pieces(request), expected=expected)
            else:
                await slugs.receive_source(path.id, _pieces(request))
        except ArchiveRefusedError as error:
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    return web.Response()


@routes.get(PREFIX + "{rest:.*}")
async def get(request: web.Request) -> web.StreamResponse:
    """Download an archive, or follow the output of a build or of a release command to its end."""
    path = _told(request)
    match path.purpose:
        case Purpose.SLUG_GET:
            return web.FileResponse(
                await stored(request).slugs.archive(path.id), headers={"Content-Type": "application/gzip"}
            )
        case Purpose.SOURCE_GET:
            return web.FileResponse(stored(request).slugs.source(path.id), headers={"Content-Type": "application/gzip"})
        case Purpose.BUILD_OUTPUT:
            return await answer_stream(request, PREFIX, stored(request).builds.output(path.id))
        case Purpose.RELEASE_OUTPUT:
            return await answer_stream(request, PREFIX, stored(request).config.output(path.id))
        case _:
            raise _nothing_here()


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(PIECE_S):
            piece = await request.content.readany()
        if not piece:
            return
        yield piece


def _told(request: web.Request) -> BlobPath:
    path = blob_path.read(request.path, stored(request).blob_key, now=time.time())
    if path is None:
        raise _nothing_here()
    return path


def _nothing_here() -> RefusedError:
    return RefusedError(HTTPStatus.NOT_FOUND, "There is nothing at this address, or not any more.")
