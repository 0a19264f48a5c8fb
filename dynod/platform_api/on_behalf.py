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
from dynod.platform_api.exchange import answer, operations, read_body, stored
from dynod.platform_api.peer import Caller, may_speak_for_others

ROUTE: Final = "/dynod/on-behalf"

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]

routes = web.RouteTableDef()


class Behalf(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST: from where they have come, and by which key; or which user it is, and the only app they see."""

    origin: Text
    key: Text | None = None
    user: Text | None = None
    app: Text | None = None


@routes.post(ROUTE)
async def create(request: web.Request) -> web.Response:
    """Speak for somebody, on this connection alone."""
    connection = request.protocol
    if not may_speak_for_others(request) or not isinstance(connection, Connection):
        raise RefusedError(HTTPStatus.FORBIDDEN, "Only dynod's own user speaks for others.")
    body = await read_body(request, Behalf)
    if body.key is not None:
        key = await stored(request).keys.find(body.key)
        if key is None:
            raise RefusedError(HTTPStatus.FORBIDDEN, "This key opens nothing any more.")
        who = Asker(key.user, f"{body.origin}, key {key.key.fingerprint}")
        caller = Caller(asker=who, scope=key.scope, app_id=key.app_id, key_id=key.id)
    elif body.user is not None and body.app is not None:
        app_id = operations(request).app(body.app).id
        caller = Caller(asker=Asker(body.user, body.origin), scope=Scope.DEPLOY, app_id=app_id)
    else:
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "Expected a key, or a user and an app.")
    connection.caller = caller
    return answer({"scope": caller.scope, "user": str(caller.asker)})
