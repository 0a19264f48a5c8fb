"""`/apps` and `/account`."""

from typing import Final

from aiohttp import web

from dynod.platform_api import serializers
from dynod.platform_api.exchange import answer, answer_list, member, operations
from dynod.platform_api.peer import asker

ATTRIBUTES: Final = (member("name"), member("id"))

routes = web.RouteTableDef()


@routes.get("/account")
async def account(request: web.Request) -> web.Response:
    """Who asks."""
    return answer(serializers.account(asker(request)))


@routes.get("/apps")
async def list_apps(request: web.Request) -> web.Response:
    """Every app of this daemon."""
    owner = asker(request)
    return answer_list(request, [serializers.app(view, owner=owner) for view in operations(request).apps()], ATTRIBUTES)


@routes.get("/apps/{app}")
async def info(request: web.Request) -> web.Response:
    """One app, by name or id."""
    return answer(serializers.app(operations(request).app(request.match_info["app"]), owner=asker(request)))
