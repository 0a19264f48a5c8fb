"""`/apps/:app/settings`: dynod's own knobs of an app. Heroku has nothing like it."""

from typing import Annotated

import msgspec
from aiohttp import web

from dynod.platform_api.exchange import answer, read_body, stored
from dynod.platform_api.peer import asker
from dynod.platform_api.serializers import Json

Key = Annotated[str, msgspec.Meta(max_length=200)]
Written = Annotated[str, msgspec.Meta(max_length=2000)]

routes = web.RouteTableDef()


@routes.get("/apps/{app}/settings")
async def show(request: web.Request) -> web.Response:
    """What is set: `[TYPE.]KEY` → value, as text."""
    return answer(_document(await stored(request).settings.of(request.match_info["app"])))


@routes.patch("/apps/{app}/settings")
async def change(request: web.Request) -> web.Response:
    """Set and, by null, unset, all or none; answers with what is set then."""
    settings = stored(request).settings
    body = await read_body(request, dict[Key, Written | bool | int | float | None])
    changes = {key: _written(value) for key, value in body.items()}
    return answer(_document(await settings.change(request.match_info["app"], changes, by=asker(request))))


def _written(value: str | bool | float | None) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def _document(rows: dict[str, str]) -> Json:
    return dict(rows)
