"""`/apps` and `/account`."""

from http import HTTPStatus
from typing import Annotated, Final

import msgspec
from aiohttp import web

from dynod.core.rate_limit import CALLS_AN_HOUR
from dynod.platform_api import serializers
from dynod.platform_api.admission import CALLS_LEFT
from dynod.platform_api.exchange import answer, answer_list, member, operations, read_body
from dynod.platform_api.peer import asker, caller

ATTRIBUTES: Final = (member("name"), member("id"))

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]

routes = web.RouteTableDef()


@routes.get("/account")
async def account(request: web.Request) -> web.Response:
    """Who asks."""
    return answer(serializers.account(asker(request)))


@routes.get("/account/rate-limits")
async def rate_limits(request: web.Request) -> web.Response:
    """How many calls are left; over the control socket there is no limit, and a whole hour's are always left."""
    return answer({"remaining": request.get(CALLS_LEFT, CALLS_AN_HOUR)})


@routes.get("/apps")
@routes.get("/users/~/apps")
async def list_apps(request: web.Request) -> web.Response:
    """Every app of this daemon, or the one that the token is for."""
    who = caller(request)
    views = [view for view in operations(request).apps() if who.sees(view.id)]
    return answer_list(request, [serializers.app(view, owner=who.asker) for view in views], ATTRIBUTES)


class Folder(msgspec.Struct, frozen=True):
    """dynod's own part of a new app: the folder on this machine that it runs from."""

    folder: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]


class NewApp(msgspec.Struct, frozen=True):
    """The body of POST; without a name the app gets one, without a folder it waits for its code."""

    name: Name | None = None
    dynod: Folder | None = None


class AppChange(msgspec.Struct, frozen=True):
    """The body of PATCH; what is not named stays."""

    name: Name | None = None
    maintenance: bool | None = None


@routes.post("/apps")
async def create(request: web.Request) -> web.Response:
    """A new app."""
    body = await read_body(request, NewApp)
    owner = asker(request)
    folder = body.dynod.folder if body.dynod is not None else None
    view = await operations(request).create_app(body.name, folder, by=owner)
    return answer(serializers.app(view, owner=owner), HTTPStatus.CREATED)


@routes.patch("/apps/{app}")
async def change(request: web.Request) -> web.Response:
    """Rename the app, or switch its maintenance mode."""
    app = operations(request).app(request.match_info["app"]).id
    body = await read_body(request, AppChange)
    owner = asker(request)
    view = await operations(request).change_app(app, name=body.name, maintenance=body.maintenance, by=owner)
    return answer(serializers.app(view, owner=owner))


@routes.delete("/apps/{app}")
async def destroy(request: web.Request) -> web.Response:
    """Stop the app's dynos and forget it; its folder is left alone."""
    owner = asker(request)
    view = await operations(request).destroy_app(request.match_info["app"], by=owner)
    return answer(serializers.app(view, owner=owner))


@routes.get("/apps/{app}")
async def info(request: web.Request) -> web.Response:
    """One app, by name or id."""
    return answer(serializers.app(operations(request).app(request.match_info["app"]), owner=asker(request)))
