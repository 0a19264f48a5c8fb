"""`/apps/:app/features`: what an app may have switched on. There are none of an account's own, which Heroku has too."""

from typing import Final

import msgspec
from aiohttp import web

from dynod.app_features import known_feature
from dynod.operations import NotFoundError
from dynod.platform_api import serializers
from dynod.platform_api.exchange import answer, answer_list, member, read_body, stored
from dynod.platform_api.peer import asker

ATTRIBUTES: Final = (member("name"), member("id"))

routes = web.RouteTableDef()


class Switch(msgspec.Struct, frozen=True):
    """The body of PATCH."""

    enabled: bool


@routes.get("/apps/{app}/features")
async def list_features(request: web.Request) -> web.Response:
    """Every feature, on or off."""
    views = await stored(request).features.of(request.match_info["app"])
    return answer_list(request, [serializers.feature(view) for view in views], ATTRIBUTES)


@routes.get("/apps/{app}/features/{feature}")
async def info(request: web.Request) -> web.Response:
    """One feature, by name or id."""
    views = await stored(request).features.of(request.match_info["app"])
    name = _name(request)
    return answer(next(serializers.feature(view) for view in views if view.feature.name == name))


@routes.patch("/apps/{app}/features/{feature}")
async def switch(request: web.Request) -> web.Response:
    """Switch one on or off."""
    app = request.match_info["app"]
    body = await read_body(request, Switch)
    view = await stored(request).features.switch(app, _name(request), on=body.enabled, by=asker(request))
    return answer(serializers.feature(view))


@routes.get("/account/features/{feature}")
async def own(request: web.Request) -> web.Response:
    """Heroku's command line looks here first, and then at the app."""
    del request
    raise NotFoundError("Couldn't find that feature.", "feature")


def _name(request: web.Request) -> str:
    wanted = request.match_info["feature"]
    return serializers.FEATURE_IDS.get(wanted) or known_feature(wanted).name
