"""`/apps/:app/slugs` and `/sources`: archives of code, to be uploaded to the address that is answered."""

import re
import uuid
from http import HTTPStatus
from typing import Annotated, Final

import msgspec
from aiohttp import web

from dynod.core.blob_path import NOTHING, Purpose
from dynod.core.slug import NewSlug, Slug
from dynod.platform_api import serializers
from dynod.platform_api.blobs import address
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.exchange import answer, read_body, stored
from dynod.platform_api.peer import asker
from dynod.platform_api.serializers import Json

CHECKSUM: Final = re.compile(r"(?:SHA256:)?([0-9a-f]{64})", re.ASCII)

Text = Annotated[str, msgspec.Meta(max_length=1000)]
Command = Annotated[str, msgspec.Meta(max_length=10_000)]

routes = web.RouteTableDef()


class SlugBody(msgspec.Struct, frozen=True):
    """The body of POST."""

    process_types: dict[Text, Command]
    buildpack_provided_description: Text | None = None
    checksum: Text | None = None
    commit: Text | None = None
    commit_description: Text | None = None
    stack: Text | None = None


@routes.post("/apps/{app}/slugs")
async def create(request: web.Request) -> web.Response:
    """Say what a slug is; its archive is PUT to `blob.url` within an hour."""
    slugs = stored(request).slugs
    body = await read_body(request, SlugBody)
    expected = CHECKSUM.fullmatch(body.checksum) if body.checksum is not None else None
    if body.checksum is not None and expected is None:
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "checksum: expected SHA256: and 64 hexadecimal digits.")
    new = NewSlug(
        process_types=body.process_types,
        stack=serializers.STACK,
        commit=body.commit,
        commit_description=body.commit_description,
        buildpack_description=body.buildpack_provided_description,
    )
    slug = await slugs.create(request.match_info["app"], new, by=asker(request))
    where = address(request, Purpose.SLUG_PUT, slug.id, extra=expected[1] if expected is not None else NOTHING)
    return answer(serializers.slug(slug, {"method": "put", "url": where}), HTTPStatus.CREATED)


@routes.get("/apps/{app}/slugs/{slug}")
async def info(request: web.Request) -> web.Response:
    """One slug; `blob.url` gives its archive for an hour, once it has been uploaded."""
    match = request.match_info
    slug = await stored(request).slugs.info(match["app"], match["slug"])
    return answer(serializers.slug(slug, _blob(request, slug)))


@routes.post("/sources")
async def create_source(request: web.Request) -> web.Response:
    """Where to PUT an archive of a source, and what to name it by when it is to be built."""
    _ = stored(request)
    return _source(request)


@routes.post("/apps/{app}/sources")
async def create_app_source(request: web.Request) -> web.Response:
    """The same, as it was asked for once."""
    stored(request).slugs.app(request.match_info["app"])
    return _source(request)


def _source(request: web.Request) -> web.Response:
    id_ = str(uuid.uuid4())
    blob = {
        "get_url": address(request, Purpose.SOURCE_GET, id_),
        "put_url": address(request, Purpose.SOURCE_PUT, id_),
    }
    return answer({"source_blob": blob}, HTTPStatus.CREATED)


def _blob(request: web.Request, slug: Slug) -> Json:
    purpose = Purpose.SLUG_PUT if slug.checksum is None else Purpose.SLUG_GET
    return {"method": "put" if slug.checksum is None else "get", "url": address(request, purpose, slug.id)}
