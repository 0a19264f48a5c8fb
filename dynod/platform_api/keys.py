"""`/account/keys`: keys of ssh, in Heroku's form of them; whose key may do what is under `dynod`.

`/dynod/keys` has those of all users, for sshd.
"""

from http import HTTPStatus
from typing import Annotated, Final

import msgspec
from aiohttp import web

from dynod.core.api_token import Scope
from dynod.core.ssh_key import LONGEST, SshKey
from dynod.platform_api.exchange import answer, answer_list, member, operations, read_body, stored
from dynod.platform_api.peer import asker
from dynod.platform_api.serializers import Json, time_text

ATTRIBUTES: Final = (member("id"), member("created_at"))

routes = web.RouteTableDef()


class Extras(msgspec.Struct, frozen=True, kw_only=True):
    """dynod's own part: whose key it is (default: whose request this is), its scope, and the only app that it opens."""

    user: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    scope: Scope = Scope.DEPLOY
    app: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST."""

    public_key: Annotated[str, msgspec.Meta(max_length=LONGEST)]
    dynod: Extras = Extras()


@routes.get("/account/keys")
async def list_keys(request: web.Request) -> web.Response:
    """Every key of whoever asks."""
    keys = await stored(request).keys.of(str(asker(request)))
    return answer_list(request, [_document(request, key) for key in keys], ATTRIBUTES)


@routes.get("/dynod/keys")
async def list_all(request: web.Request) -> web.Response:
    """Every key of every user."""
    keys = await stored(request).keys.all()
    return answer_list(request, [_document(request, key) for key in keys], ATTRIBUTES)


@routes.post("/account/keys")
async def create(request: web.Request) -> web.Response:
    """Let in whoever has this key."""
    body = await read_body(request, NewKey)
    extras, by = body.dynod, asker(request)
    key = await stored(request).keys.add(
        body.public_key, user=extras.user or str(by), scope=extras.scope, app=extras.app, by=by
    )
    return answer(_document(request, key), HTTPStatus.CREATED)


@routes.get("/account/keys/{key:[^{}]+}")
async def info(request: web.Request) -> web.Response:
    """One key, by id or fingerprint."""
    return answer(_document(request, await stored(request).keys.info(request.match_info["key"])))


@routes.delete("/account/keys/{key:[^{}]+}")
async def remove(request: web.Request) -> web.Response:
    """It opens nothing any more."""
    return answer(_document(request, await stored(request).keys.remove(request.match_info["key"], by=asker(request))))


def _document(request: web.Request, key: SshKey) -> Json:
    app = next((view for view in operations(request).apps() if view.id == key.app_id), None)
    return {
        "comment": key.key.comment,
        "created_at": time_text(key.created_at),
        "email": f"{key.user}@localhost",
        "fingerprint": key.key.fingerprint,
        "id": key.id,
        "public_key": str(key.key),
        "updated_at": time_text(key.created_at),
        "dynod": {
            "app": {"id": app.id, "name": app.name} if app is not None else None,
            "scope": key.scope.value,
            "user": key.user,
        },
    }
