"""`/apps/:app/log-drains`: where an app's log is sent. URLs are answered as they may be shown, never with a secret."""

from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from dynod.app_logs import DrainState
from dynod.core.suggest import not_found
from dynod.operations import NotFoundError
from dynod.platform_api import serializers
from dynod.platform_api.exchange import answer, answer_list, member, operations, read_body
from dynod.platform_api.peer import asker, owns_dynod

ATTRIBUTES: Final = (member("id"), member("url"))

routes = web.RouteTableDef()


class NewDrain(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a POST."""

    url: str


@routes.get("/apps/{app}/log-drains")
async def list_drains(request: web.Request) -> web.Response:
    """Every drain of the app, each with its health under `dynod`."""
    app = operations(request).app(request.match_info["app"])
    logs = operations(request).logs(app.id)
    return answer_list(request, [serializers.log_drain(app, state) for state in logs.drains()], ATTRIBUTES)


@routes.post("/apps/{app}/log-drains")
async def add(request: web.Request) -> web.Response:
    """A new drain."""
    app = operations(request).app(request.match_info["app"])
    logs = operations(request).logs(app.id)
    body = await read_body(request, NewDrain)
    state = await logs.add_drain(body.url, by=asker(request), may_write_files=owns_dynod(request))
    return answer(serializers.log_drain(app, state), HTTPStatus.CREATED)


@routes.get("/apps/{app}/log-drains/{drain}")
async def info(request: web.Request) -> web.Response:
    """One drain, by id, token or URL."""
    app = operations(request).app(request.match_info["app"])
    return answer(serializers.log_drain(app, _drain(request)))


@routes.delete("/apps/{app}/log-drains/{drain}")
async def remove(request: web.Request) -> web.Response:
    """End a drain; answers with what it was."""
    app = operations(request).app(request.match_info["app"])
    state = await operations(request).logs(app.id).remove_drain(_drain(request).record.id, by=asker(request))
    if state is None:
        raise NotFoundError("Couldn't find that log drain.", "log-drain")  # somebody else was faster
    return answer(serializers.log_drain(app, state))


@routes.post("/apps/{app}/log-drains/{drain}/actions/test")
async def test(request: web.Request) -> web.Response:
    """Send one message to this drain, now, and say what became of it. dynod's own: Heroku has nothing like it."""
    app = operations(request).app(request.match_info["app"])
    tested = await operations(request).logs(app.id).test_drain(_drain(request).record, by=asker(request))
    return answer(
        {"delivered": tested.delivered, "error": tested.error or None, "took_ms": round(tested.took_s * 1000)}
    )


def _drain(request: web.Request) -> DrainState:
    logs, ref = operations(request).logs(request.match_info["app"]), request.match_info["drain"]
    state = logs.drain(ref)
    if state is None:
        known = [each.record.url.shown for each in logs.drains()]
        raise NotFoundError(not_found("log drain", ref, known, repeated=False), "log-drain")
    return state
