"""`/apps/:app/releases`: what an app ran, runs and can go back to."""

from http import HTTPStatus
from typing import Annotated, Final

import msgspec
from aiohttp import web

from dynod.app_config import AppConfig, ReleaseView
from dynod.core.blob_path import Purpose
from dynod.core.ranges import by_number
from dynod.core.release_changes import changes_of, name_changes
from dynod.platform_api import serializers
from dynod.platform_api.blobs import address
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.exchange import answer, answer_list, member, read_body, stored
from dynod.platform_api.peer import asker
from dynod.platform_api.serializers import Json

OTHERWISE: Final = "it has no releases; what its Procfile and .env say runs when it is started again."
ATTRIBUTES: Final = (member("version", by_number), member("id"))
SHOWN: Final = 30  # releases whose changes are told

Ref = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]

routes = web.RouteTableDef()


class HowToRelease(msgspec.Struct, frozen=True):
    """dynod's own part of a rollback."""

    code_only: bool = False  # today's config vars stay


class NewRelease(msgspec.Struct, frozen=True):
    """The body of POST: a slug's id, or the release to go back to, by id or version."""

    release: Ref | None = None
    slug: Ref | None = None
    description: Annotated[str, msgspec.Meta(max_length=1000)] | None = None
    dynod: HowToRelease = HowToRelease()


@routes.get("/apps/{app}/releases")
async def list_releases(request: web.Request) -> web.Response:
    """Every release."""
    views = await _config(request).releases(request.match_info["app"])
    return answer_list(request, [_document(request, view) for view in views], ATTRIBUTES)


@routes.post("/apps/{app}/releases")
async def create(request: web.Request) -> web.Response:
    """A new release, of a slug or going back to an older one; answers when it is recorded."""
    config, app, by = _config(request), request.match_info["app"], asker(request)
    body = await read_body(request, NewRelease)
    match body:
        case NewRelease(slug=str(slug), release=None):
            view = await config.deploy(app, slug, body.description, by=by)
        case NewRelease(slug=None, release=str(release)):
            view = await config.roll_back(app, release, by=by, code_only=body.dynod.code_only)
        case _:
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "slug, release: expected one of them.")
    return answer(_document(request, view), HTTPStatus.CREATED)


@routes.get("/apps/{app}/release-changes")
async def list_changes(request: web.Request) -> web.Response:
    """What each of the newest releases has changed, by name: no value of a config var is in it. dynod's own."""
    views = await _config(request).releases(request.match_info["app"])
    by_version = {view.release.version: view for view in views}
    releases = [view.release for view in views]
    documents = []
    for view in views[:SHOWN]:
        changes = changes_of(view.release, releases)
        before = by_version[changes.since].process_types if changes.since is not None else {}
        documents.append(serializers.release_changes(view, changes, name_changes(before, view.process_types)))
    return web.json_response(documents)


@routes.get("/apps/{app}/releases/{release}")
async def info(request: web.Request) -> web.Response:
    """One release, by version or id, or the current one."""
    return answer(_document(request, await _release(request)))


@routes.get("/apps/{app}/releases/{release}/config-vars")
async def config_vars(request: web.Request) -> web.Response:
    """The config vars of a release, values and all."""
    return answer(dict((await _release(request)).release.config))


def _config(request: web.Request) -> AppConfig:
    return stored(request, otherwise=OTHERWISE).config


async def _release(request: web.Request) -> ReleaseView:
    return await _config(request).release(request.match_info["app"], request.match_info["release"])


def _document(request: web.Request, view: ReleaseView) -> Json:
    return serializers.release(view, output_url=address(request, Purpose.RELEASE_OUTPUT, view.release.id))
