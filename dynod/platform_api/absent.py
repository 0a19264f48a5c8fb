"""What Heroku has and dynod has not: teams, add-ons from a shop, certificates. Here it is true that there are none.

Heroku's own clients ask for these lists on their way to something else, and stop where they are refused.
"""

from typing import Final

from aiohttp import web

from dynod.operations import NotFoundError
from dynod.platform_api.exchange import answer_list, member, operations
from dynod.platform_api.peer import asker
from dynod.platform_api.serializers import Json, fixed_id, time_text

ATTRIBUTES: Final = (member("id"),)

routes = web.RouteTableDef()


@routes.get("/account/features")
@routes.get("/addons")
@routes.get("/pipelines")
@routes.get("/spaces")
@routes.get("/teams")
async def none_at_all(request: web.Request) -> web.Response:
    """None."""
    return answer_list(request, [], ATTRIBUTES)


@routes.get("/apps/{app}/addon-attachments")
@routes.get("/apps/{app}/addons")
@routes.get("/apps/{app}/sni-endpoints")
async def none_of_the_app(request: web.Request) -> web.Response:
    """None, of an app that exists."""
    operations(request).app(request.match_info["app"])
    return answer_list(request, [], ATTRIBUTES)


@routes.get("/apps/{app}/pipeline-couplings")
async def no_pipeline(request: web.Request) -> web.Response:
    """The app is in no pipeline."""
    operations(request).app(request.match_info["app"])
    raise NotFoundError("Couldn't find that pipeline coupling.", "pipeline-coupling")


@routes.get("/apps/{app}/collaborators")
async def collaborators(request: web.Request) -> web.Response:
    """Who may use the app, as far as the API knows: whoever asks. Others come by the socket's mode, or by tokens."""
    view = operations(request).app(request.match_info["app"])
    owner = asker(request)
    itself: Json = {
        "app": {"id": view.id, "name": view.name},
        "created_at": time_text(view.created_at),
        "id": fixed_id("collaborator", f"{view.id}:{owner}"),
        "permissions": [],
        "role": "owner",
        "updated_at": time_text(view.created_at),
        "user": {"email": f"{owner}@localhost", "federated": False, "id": fixed_id("account", owner)},
    }
    return answer_list(request, [itself], ATTRIBUTES)
