"""`/apps/:app/builds`: a source becomes a slug and a release."""

import time
from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from dynod.core import blob_path
from dynod.core.blob_path import Purpose
from dynod.core.build import Build
from dynod.platform_api import serializers
from dynod.platform_api.blobs import address
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.exchange import answer, answer_list, member, read_body, stored
from dynod.platform_api.peer import asker
from dynod.platform_api.serializers import Json

ATTRIBUTES: Final = (member("id"), member("created_at"))

routes = web.RouteTableDef()


CHECKSUM: Final = "^SHA256:[0-9a-fA-F]{64}$"  # Heroku's form


class SourceBlob(msgspec.Struct, frozen=True):
    """Where the source is, what it is called, and what the archive's hash has to be."""

    url: Annotated[str, msgspec.Meta(max_length=2000)]
    version: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    checksum: Annotated[str, msgspec.Meta(pattern=CHECKSUM)] | None = None


class NewBuild(msgspec.Struct, frozen=True):
    """The body of POST."""

    source_blob: SourceBlob


@routes.get("/apps/{app}/builds")
async def list_builds(request: web.Request) -> web.Response:
    """Every build."""
    builds = await stored(request).builds.of(request.match_info["app"])
    return answer_list(request, [_document(request, build) for build in builds], ATTRIBUTES)


@routes.post("/apps/{app}/builds")
async def create(request: web.Request) -> web.Response:
    """Build a source: one that was uploaded, or that is fetched from a URL which everybody reaches."""
    resources, by = stored(request), asker(request)
    body = await read_body(request, NewBuild)
    app, url, version = request.match_info["app"], body.source_blob.url, body.source_blob.version
    checksum = body.source_blob.checksum
    try:
        path = urlsplit(url).path
    except ValueError:
        path = ""
    ours = blob_path.read(path, resources.blob_key, now=time.time())
    if ours is not None and ours.purpose is Purpose.SOURCE_GET:
        build = await resources.builds.create(app, ours.id, version, by=by, checksum=checksum)
    elif path.startswith(f"{blob_path.PREFIX}source-"):
        raise RefusedError(
            HTTPStatus.UNPROCESSABLE_ENTITY, "source_blob.url: expected the get_url that POST /sources has answered."
        )
    else:
        build = await resources.builds.create_from(app, url, version, by=by, checksum=checksum)
    return answer(_document(request, build), HTTPStatus.CREATED)


@routes.post("/apps/{app}/builds/actions/rebuild")
async def rebuild(request: web.Request) -> web.Response:
    """Build what the app runs again, from the source that was kept. dynod's own."""
    build = await stored(request).builds.rebuild(request.match_info["app"], by=asker(request))
    return answer(_document(request, build), HTTPStatus.CREATED)


@routes.get("/apps/{app}/builds/{build}")
async def info(request: web.Request) -> web.Response:
    """One build."""
    match = request.match_info
    return answer(_document(request, await stored(request).builds.info(match["app"], match["build"])))


def _document(request: web.Request, build: Build) -> Json:
    version = build.release_version
    return serializers.build(
        build,
        output=address(request, Purpose.BUILD_OUTPUT, build.id),
        release_id=stored(request).config.id_of(build.app_id, version) if version is not None else None,
    )
