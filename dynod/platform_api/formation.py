"""`/apps/:app/formation` to look at and to scale, and `/apps/:app/formations/:type` (plural) to restart and stop."""

from http import HTTPStatus
from typing import Annotated, Final

import msgspec
from aiohttp import web

from dynod.core.dyno_sizes import SIZES
from dynod.core.scaling import FormationUpdate
from dynod.core.suggest import not_found
from dynod.operations import ONE_OFF, FormationView, NotFoundError
from dynod.platform_api import serializers
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.exchange import accepted, answer, answer_list, member, operations, read_body
from dynod.platform_api.peer import asker

ATTRIBUTES: Final = (member("type"), member("id"))

Name = Annotated[str, msgspec.Meta(max_length=128)]
Quantity = Annotated[str, msgspec.Meta(max_length=16)]

routes = web.RouteTableDef()


class Change(msgspec.Struct, frozen=True):
    """The body of PATCH for one process type."""

    quantity: int | Quantity | None = None
    size: Name | None = None
    dyno_size: "Name | SizeRef | None" = None


class SizeRef(msgspec.Struct, frozen=True):
    """A dyno size as newer clients name it."""

    name: Name | None = None
    id: Name | None = None


class TypeChange(Change, frozen=True, kw_only=True):
    """An entry of the body of PATCH for several process types at once."""

    type: Name


class Changes(msgspec.Struct, frozen=True):
    """The body of PATCH for several process types at once: all of them, or none."""

    updates: Annotated[list[TypeChange], msgspec.Meta(min_length=1, max_length=100)]


@routes.get("/apps/{app}/formation")
async def list_formation(request: web.Request) -> web.Response:
    """Every process type."""
    views = operations(request).formation(request.match_info["app"])
    return answer_list(request, [serializers.formation(view) for view in views], ATTRIBUTES)


@routes.patch("/apps/{app}/formation")
async def scale(request: web.Request) -> web.Response:
    """Scale several process types at once, all or nothing."""
    app = operations(request).app(request.match_info["app"]).id
    changes = await read_body(request, Changes)
    updates = [_update(change.type, change) for change in changes.updates]
    views = await operations(request).scale(app, updates, by=asker(request))
    return answer_list(request, [serializers.formation(view) for view in views], ATTRIBUTES)


@routes.get("/apps/{app}/formation/{type}")
async def info(request: web.Request) -> web.Response:
    """One process type, by name or id."""
    return answer(serializers.formation(_process_type(request)))


@routes.patch("/apps/{app}/formation/{type}")
async def scale_one(request: web.Request) -> web.Response:
    """Scale one process type."""
    view = _process_type(request)
    change = await read_body(request, Change)
    views = await operations(request).scale(view.app.id, [_update(view.process_type, change)], by=asker(request))
    return answer(serializers.formation(views[0]))


@routes.delete("/apps/{app}/formations/{type}")
async def restart(request: web.Request) -> web.Response:
    """Restart the dynos of a process type."""
    app, process_type = _kind(request)
    operations(request).restart(app, process_type, by=asker(request))
    return accepted()


@routes.post("/apps/{app}/formations/{type}/actions/stop")
async def stop(request: web.Request) -> web.Response:
    """Stop the dynos of a process type; those of the formation come back."""
    app, process_type = _kind(request)
    operations(request).stop(app, process_type, by=asker(request))
    return accepted()


def _update(process_type: str, change: Change) -> FormationUpdate:
    size = change.size
    if isinstance(change.dyno_size, str):
        size = change.dyno_size
    elif change.dyno_size is not None:
        size = change.dyno_size.name or _size_of_id(change.dyno_size.id)
    return FormationUpdate(process_type=process_type, quantity=change.quantity, size=size)


def _size_of_id(id_: str | None) -> str:
    for name in SIZES:
        if id_ == serializers.fixed_id("dyno-size", name):
            return name
    raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "No such size.", field="dyno_size")


def _process_type(request: web.Request) -> FormationView:
    wanted = request.match_info["type"]
    views = operations(request).formation(request.match_info["app"])
    for view in views:
        if wanted in {view.process_type, view.id}:
            return view
    raise NotFoundError(not_found("process type", wanted, [view.process_type for view in views]), "formation")


def _kind(request: web.Request) -> tuple[str, str]:
    """The app's id and a process type or kind of one-off dyno: never the name of a single dyno."""
    app = operations(request).app(request.match_info["app"]).id
    if request.match_info["type"] in ONE_OFF:
        return app, request.match_info["type"]
    return app, _process_type(request).process_type
