"""`/apps/:app/config-vars`: the variables of an app's dynos. Every change is one release."""

from http import HTTPStatus
from typing import Final

from aiohttp import web

from dynod.app_config import AppConfig, ConfigView
from dynod.platform_api.exchange import answer, read_body, stored
from dynod.platform_api.peer import asker

OTHERWISE: Final = "its variables are those of .env there; edit that file, and start dynod up again."
RELEASE: Final = "Dynod-Release"  # the version that a change has made; not there where it has changed nothing

routes = web.RouteTableDef()


@routes.get("/apps/{app}/config-vars")
async def info(request: web.Request) -> web.Response:
    """Names and values."""
    return answer(dict(await _config(request).config(request.match_info["app"])))


@routes.patch("/apps/{app}/config-vars")
async def change(request: web.Request) -> web.Response:
    """Set these, and unset those that are null; answers with all that there are then."""
    changes = await read_body(request, dict[str, str | None])
    return _changed(await _config(request).change(request.match_info["app"], changes, by=asker(request)))


@routes.put("/apps/{app}/config-vars")
async def replace(request: web.Request) -> web.Response:
    """These and no others. dynod's own."""
    config = await read_body(request, dict[str, str])
    view = await _config(request).change(request.match_info["app"], config, by=asker(request), replace=True)
    return _changed(view)


@routes.post("/apps/{app}/config-vars/{name}/actions/purge")
async def purge(request: web.Request) -> web.Response:
    """Empty the value that old releases have of it. dynod's own."""
    match = request.match_info
    count = await _config(request).purge(match["app"], match["name"], by=asker(request))
    return answer({"name": match["name"], "releases": count})


def _changed(view: ConfigView) -> web.Response:
    response = answer(dict(view.config), HTTPStatus.OK)
    if view.release is not None:
        response.headers[RELEASE] = str(view.release.release.version)
    return response


def _config(request: web.Request) -> AppConfig:
    return stored(request, otherwise=OTHERWISE).config
