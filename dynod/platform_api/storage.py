"""`/apps/:app/storage`: folders that outlive an app's dynos. dynod's own resource."""

from http import HTTPStatus
from typing import Annotated, Final

import msgspec
from aiohttp import web

from dynod.platform_api import serializers
from dynod.platform_api.exchange import answer, answer_list, member, read_body, stored
from dynod.platform_api.peer import asker

ATTRIBUTES: Final = (member("name"),)

routes = web.RouteTableDef()


class NewMount(msgspec.Struct, frozen=True):
    """The body of POST: NAME:/path."""

    mount: Annotated[str, msgspec.Meta(min_length=1, max_length=1100)]


@routes.get("/apps/{app}/storage")
async def list_storage(request: web.Request) -> web.Response:
    """Every folder."""
    views = await stored(request).storage.of(request.match_info["app"])
    return answer_list(request, [serializers.storage(view) for view in views], ATTRIBUTES)


@routes.post("/apps/{app}/storage")
async def mount(request: web.Request) -> web.Response:
    """A new one, or one at another path."""
    body = await read_body(request, NewMount)
    view = await stored(request).storage.mount(request.match_info["app"], body.mount, by=asker(request))
    return answer(serializers.storage(view), HTTPStatus.CREATED)


@routes.delete("/apps/{app}/storage/{name:.+}")
async def unmount(request: web.Request) -> web.Response:
    """By name or path; answers with what it was."""
    match = request.match_info
    view = await stored(request).storage.unmount(match["app"], match["name"], by=asker(request))
    return answer(serializers.storage(view))
