"""`/apps/:app/dynos`: look at them, restart them, stop them."""

from typing import Final

from aiohttp import web

from dynod.core.ranges import by_name_and_number
from dynod.operations import DynoView
from dynod.platform_api import serializers
from dynod.platform_api.exchange import accepted, answer, answer_list, member, operations
from dynod.platform_api.peer import asker

ATTRIBUTES: Final = (member("name", by_name_and_number), member("id"))

routes = web.RouteTableDef()


@routes.get("/apps/{app}/dynos")
async def list_dynos(request: web.Request) -> web.Response:
    """Every dyno, one-off ones included."""
    views = operations(request).dynos(request.match_info["app"])
    return answer_list(request, [serializers.dyno(view) for view in views], ATTRIBUTES)


@routes.delete("/apps/{app}/dynos")
async def restart_all(request: web.Request) -> web.Response:
    """Restart every dyno of the formation."""
    operations(request).restart(request.match_info["app"], None, by=asker(request))
    return accepted()


@routes.get("/apps/{app}/dynos/{dyno}")
async def info(request: web.Request) -> web.Response:
    """One dyno, by name or id."""
    return answer(serializers.dyno(_dyno(request)))


@routes.delete("/apps/{app}/dynos/{dyno}")
async def restart(request: web.Request) -> web.Response:
    """Restart one dyno."""
    view = _dyno(request)
    operations(request).restart(view.app.id, view.name, by=asker(request))
    return accepted()


@routes.post("/apps/{app}/dynos/{dyno}/actions/stop")
async def stop(request: web.Request) -> web.Response:
    """Stop one dyno; one of the formation comes back."""
    view = _dyno(request)
    operations(request).stop(view.app.id, view.name, by=asker(request))
    return accepted()


def _dyno(request: web.Request) -> DynoView:
    """The dyno itself, so that the name of a process type is not taken for all its dynos here. Raises NotFoundError."""
    return operations(request).dyno(request.match_info["app"], request.match_info["dyno"])
