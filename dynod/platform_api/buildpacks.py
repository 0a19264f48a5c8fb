"""`/apps/:app/buildpack-installations`: the buildpacks that the next build goes by, in their order."""

from typing import Annotated, Final

import msgspec
from aiohttp import web

from dynod.platform_api import serializers
from dynod.platform_api.exchange import answer_list, member, read_body, stored
from dynod.platform_api.peer import asker

ATTRIBUTES: Final = (member("ordinal", rank=lambda text: ("", int(text) if text.isdigit() else 0)),)

routes = web.RouteTableDef()


class Update(msgspec.Struct, frozen=True):
    """One of the new list."""

    buildpack: Annotated[str, msgspec.Meta(max_length=2000)]


class Updates(msgspec.Struct, frozen=True):
    """The body of PUT: always the whole list."""

    updates: Annotated[list[Update], msgspec.Meta(max_length=100)]


@routes.get("/apps/{app}/buildpack-installations")
async def list_buildpacks(request: web.Request) -> web.Response:
    """In their order."""
    return _answer(request, await stored(request).buildpacks.of(request.match_info["app"]))


@routes.put("/apps/{app}/buildpack-installations")
async def replace(request: web.Request) -> web.Response:
    """These and no others."""
    buildpacks = stored(request).buildpacks
    body = await read_body(request, Updates)
    written = [update.buildpack for update in body.updates]
    return _answer(request, await buildpacks.replace(request.match_info["app"], written, by=asker(request)))


def _answer(request: web.Request, urls: tuple[str, ...]) -> web.Response:
    documents = [serializers.buildpack(ordinal, url) for ordinal, url in enumerate(urls)]
    return answer_list(request, documents, ATTRIBUTES)
