"""`/dynod/status`: how the daemon does. dynod's own: Heroku has nothing like it."""

from collections.abc import Callable
from typing import Final

from aiohttp import web

from dynod.operations import NotFoundError
from dynod.platform_api.exchange import answer
from dynod.platform_api.serializers import time_text
from dynod.status_report import DaemonStatus

STATUS: Final[web.AppKey[Callable[[], DaemonStatus | None]]] = web.AppKey("status")

routes = web.RouteTableDef()


@routes.get("/dynod/status")
async def status(request: web.Request) -> web.Response:
    """What it is, where it listens, what runs, what is in trouble."""
    found = request.app[STATUS]()
    if found is None:
        raise NotFoundError("Couldn't find that status.", "status")
    facts = found.facts
    return answer(
        {
            "version": found.version,
            "verb": facts.verb,
            "pid": found.pid,
            "since": time_text(found.since),
            "listeners": list(facts.listeners),
            "api": facts.api,
            "control": facts.control,
            "state": facts.state,
            "apps": found.apps,
            "dynos": dict(found.dynos),
            "held": facts.held,
            "lacks": list(facts.lacks),
            "store_refused": found.store_refused,
            "troubles": list(found.troubles),
        }
    )
