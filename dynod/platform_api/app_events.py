"""`/apps/:app/events` and `/dynod/events`: the causal history. dynod's own: Heroku shows a part of it as activity."""

import re
from collections.abc import Sequence
from typing import Final, Protocol

from aiohttp import web

from dynod.core.event import Event
from dynod.operations import InvalidError
from dynod.platform_api.exchange import operations
from dynod.platform_api.serializers import Json, time_text

LIMIT: Final = 100
MOST: Final = 1000  # at once
NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)

routes = web.RouteTableDef()


class Events(Protocol):
    """Where the history lasts."""

    async def since(self, after: int | None, *, limit: int, app_id: str | None) -> Sequence[Event]: ...


EVENTS: Final[web.AppKey[Events | None]] = web.AppKey("events")


@routes.get("/apps/{app}/events")
async def of_app(request: web.Request) -> web.Response:
    """What was done to an app, and what happened to it, oldest first; `after=ID`, `limit=N`."""
    return await _answer(request, operations(request).app(request.match_info["app"]).id)


@routes.get("/dynod/events")
async def of_all(request: web.Request) -> web.Response:
    """The same of every app, those that are no more included, and of the daemon."""
    return await _answer(request, None)


async def _answer(request: web.Request, app_id: str | None) -> web.Response:
    after, limit = _number(request, "after"), _number(request, "limit")
    events = request.app[EVENTS]
    wanted = min(LIMIT if limit is None else limit, MOST)
    found = await events.since(after, limit=wanted, app_id=app_id) if events is not None and wanted else ()
    return web.json_response([_event(event) for event in found])


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is not None and NUMBER.fullmatch(text) is None:
        raise InvalidError(f"{name} must be a number.")
    return int(text) if text is not None else None


def _event(event: Event) -> Json:
    return {
        "id": event.id,
        "at": time_text(event.at),
        "actor": event.actor,
        "origin": event.origin,
        "action": event.action,
        "app": {"id": event.app_id, "name": event.app_name} if event.app_id is not None else None,
        "detail": event.detail,
    }
