"""`/dynod/on-behalf`: what is asked on this connection from now on is asked by somebody else. dynod's own resource.

For the two programs of dynod's own that carry others in: `ssh-serve`, which sshd has started for a key, and the hook
of a push. They say so first, on a connection of theirs, and only then pass anything on. Dynod's own user, and root,
may say it, who could do anything anyway; whoever is spoken for already may not.
"""

from http import HTTPStatus
from typing import Annotated, Final

import msgspec
from aiohttp import web

from dynod.core.api_token import Scope
from dynod.core.asker import Asker
from dynod.platform_api.connection import Connection
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.exchange import answer, operations, read_body
from dynod.platform_api.peer import Caller, may_speak_for_others

ROUTE: Final = "/dynod/on-behalf"

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]

routes = web.RouteTableDef()


class Behalf(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST: for whom, from where they have come, and the only app that they may see."""

    user: Text
    origin: Text
    app: Text
    scope: Scope = Scope.DEPLOY


@routes.post(ROUTE)
async def create(request: web.Request) -> web.Response:
    """Speak for somebody, on this connection alone."""
    connection = request.protocol
    if not may_speak_for_others(request) or not isinstance(connection, Connection):
        raise RefusedError(HTTPStatus.FORBIDDEN, "Only dynod's own user speaks for others.")
    body = await read_body(request, Behalf)
    app = operations(request).app(body.app)
    connection.caller = Caller(asker=Asker(body.user, body.origin), scope=body.scope, app_id=app.id)
    return answer({"app": {"id": app.id, "name": app.name}, "scope": body.scope.value, "user": body.user})
