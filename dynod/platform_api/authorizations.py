"""`/oauth/authorizations`: API tokens, in Heroku's form of them.

Scopes are Heroku's by name (`core/api_token`); dynod's own word for them and the app of a token are under `dynod`. The
token itself is in the answer to the POST that has made it and in no other.
"""

from http import HTTPStatus
from typing import Annotated, Final

import msgspec
from aiohttp import web

from dynod.core.api_token import HEROKU_SCOPES, LONGEST_DESCRIPTION, ApiToken, scope_named
from dynod.operations import NotFoundError
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.exchange import answer, answer_list, member, operations, over_tcp, read_body
from dynod.platform_api.peer import asker
from dynod.platform_api.serializers import Json, fixed_id, time_text

ATTRIBUTES: Final = (member("id"), member("description"))

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]

routes = web.RouteTableDef()


class Extras(msgspec.Struct, frozen=True, kw_only=True):
    """dynod's own part: the only app that the token may see, and the purpose whose last token it replaces."""

    app: Name | None = None
    purpose: Name | None = None


class NewAuthorization(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST. Tokens do not expire: `expires_in` must be null."""

    description: Annotated[str, msgspec.Meta(max_length=LONGEST_DESCRIPTION)] = ""
    scope: Annotated[list[Name], msgspec.Meta(min_length=1, max_length=1)] | None = None
    expires_in: int | None = None
    dynod: Extras = Extras()


@routes.get("/oauth/authorizations")
async def list_authorizations(request: web.Request) -> web.Response:
    """Every token."""
    tokens = await over_tcp(request).access.tokens()
    return answer_list(request, [_authorization(request, token, None) for token in tokens], ATTRIBUTES)


@routes.post("/oauth/authorizations")
async def create(request: web.Request) -> web.Response:
    """A new token."""
    body = await read_body(request, NewAuthorization)
    if body.expires_in is not None:
        raise RefusedError(
            HTTPStatus.UNPROCESSABLE_ENTITY, "Tokens do not expire here: revoke them.", field="expires_in"
        )
    app = body.dynod.app
    made = await over_tcp(request).access.create(
        by=asker(request),
        scope=scope_named(body.scope[0] if body.scope is not None else "global" if app is None else "deploy"),
        app_id=operations(request).app(app).id if app is not None else None,
        description=body.description,
        purpose=body.dynod.purpose,
    )
    return answer(_authorization(request, made.token, made.secret), HTTPStatus.CREATED)


@routes.get("/oauth/authorizations/{authorization}")
async def info(request: web.Request) -> web.Response:
    """One token, by id."""
    wanted = request.match_info["authorization"]
    for token in await over_tcp(request).access.tokens():
        if token.id == wanted:
            return answer(_authorization(request, token, None))
    raise _no_such_token()


@routes.delete("/oauth/authorizations/{authorization}")
async def revoke(request: web.Request) -> web.Response:
    """It opens nothing any more."""
    token = await over_tcp(request).access.revoke(request.match_info["authorization"], by=asker(request))
    if token is None:
        raise _no_such_token()
    return answer(_authorization(request, token, None))


def _authorization(request: web.Request, token: ApiToken, secret: str | None) -> Json:
    app = next((view for view in operations(request).apps() if view.id == token.app_id), None)
    return {
        "access_token": None if secret is None else {"expires_in": None, "id": token.id, "token": secret},
        "client": None,
        "created_at": time_text(token.created_at),
        "description": token.description,
        "grant": None,
        "id": token.id,
        "refresh_token": None,
        "scope": [HEROKU_SCOPES[token.scope]],
        "session": None,
        "updated_at": time_text(token.created_at),
        "user": {
            "id": fixed_id("account", token.user),
            "email": f"{token.user}@localhost",
            "full_name": token.user,
        },
        "dynod": {
            "app": {"id": app.id, "name": app.name} if app is not None else None,
            "purpose": token.purpose,
            "scope": token.scope.value,
            "used_at": time_text(token.used_at) if token.used_at is not None else None,
        },
    }


def _no_such_token() -> NotFoundError:
    return NotFoundError("Couldn't find that authorization.", "authorization")
