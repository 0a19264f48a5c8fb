"""`/dyno-sizes`: the same for every app."""

from typing import Final

from aiohttp import web

from dynod.core.dyno_sizes import SIZES, size_named
from dynod.core.suggest import not_found
from dynod.operations import NotFoundError
from dynod.platform_api import serializers
from dynod.platform_api.exchange import answer, answer_list, member, operations

ATTRIBUTES: Final = (member("name"), member("id"))

routes = web.RouteTableDef()


@routes.get("/dyno-sizes")
async def list_sizes(request: web.Request) -> web.Response:
    """Every size that there is."""
    return _sizes(request)


@routes.get("/dyno-sizes/{size}")
async def info(request: web.Request) -> web.Response:
    """One size, by name, in any case, or id."""
    wanted = request.match_info["size"]
    by_id = next((each for each in SIZES.values() if serializers.fixed_id("dyno-size", each.name) == wanted), None)
    size = size_named(wanted) or by_id
    if size is None:
        raise NotFoundError(not_found("dyno size", wanted, list(SIZES)), "dyno-size")
    return answer(serializers.dyno_size(size))


@routes.get("/apps/{app}/available-dyno-sizes")
async def list_available(request: web.Request) -> web.Response:
    """Every size, for an app that exists."""
    operations(request).app(request.match_info["app"])
    return _sizes(request)


def _sizes(request: web.Request) -> web.Response:
    return answer_list(request, [serializers.dyno_size(size) for size in SIZES.values()], ATTRIBUTES)
