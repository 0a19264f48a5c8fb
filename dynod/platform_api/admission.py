"""Whether a request may come in, and as whom: by the control socket's credentials, or by a token over TCP.

Flow: gate → **admission** → handler, which asks `peer` who the caller is. Over TCP also: the Host is this server's, no
web page asks, and the rate limit. What a token may do is `core/api_access`'s to say.
"""

import base64
import binascii
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web

from dynod.core.api_access import is_open_to_app_tokens, needed_scope
from dynod.core.api_host import names_this_server
from dynod.core.api_token import ApiToken
from dynod.core.asker import Asker
from dynod.core.rate_limit import RateLimit
from dynod.operations import NotFoundError
from dynod.platform_api.connection import is_tcp, spoken_for_on
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.exchange import operations, stored
from dynod.platform_api.peer import CALLER, Caller, login_of, uid_of
from dynod.platform_api.tcp_door import OverTcp

LONGEST_SECRET: Final = 512  # characters
CALLS_LEFT: Final = web.RequestKey("calls_left", int)
WAIT_S: Final = web.RequestKey("wait_s", int)
_FORMS: Final = "Authorization: Bearer TOKEN, or Basic with the token as the password"


class Admission:
    """Of one server. Without `over_tcp` nobody is let in over TCP."""

    def __init__(self, over_tcp: OverTcp | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._access = over_tcp.access if over_tcp is not None else None
        self._limit = RateLimit(over_tcp.calls_an_hour if over_tcp is not None else 0)
        self._names = frozenset(over_tcp.names if over_tcp is not None else ())
        self._clock = clock

    def check_place(self, request: web.Request) -> None:
        """Over TCP: that no web page asks. Raises RefusedError."""
        if not is_tcp(request):
            return
        if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none":
            raise RefusedError(HTTPStatus.FORBIDDEN, "This API is not for web pages.")
        hosts = request.headers.getall("Host", [])
        address = request.transport.get_extra_info("sockname") if request.transport is not None else None
        reached_at = str(address[0]) if address else ""
        if len(hosts) != 1 or not names_this_server(hosts[0], reached_at=reached_at, names=self._names):
            raise RefusedError(HTTPStatus.FORBIDDEN, "The request's Host is not this server.")

    async def admit(self, request: web.Request) -> None:
        """Find out who asks, and whether they may. Raises RefusedError, NotFoundError, DynodError."""
        if not is_tcp(request):
            spoken_for = spoken_for_on(request)
            if spoken_for is not None:
                key_id = spoken_for.key_id
                if key_id is not None and await stored(request).keys.find(key_id) is None:
                    raise RefusedError(HTTPStatus.UNAUTHORIZED, "This key opens nothing any more.")
                request[CALLER] = spoken_for
                _check_right(request, spoken_for)
            else:
                uid = uid_of(request)
                request[CALLER] = Caller(asker=Asker(login_of(uid), f"unix uid {uid}"), uid=uid)
            return
        token = await self._token(request)
        asker = Asker(token.user, f"tcp {request.remote}")
        request[CALLER] = caller = Caller(asker=asker, scope=token.scope, app_id=token.app_id)
        self._count(request, token)
        _check_right(request, caller)

    async def _token(self, request: web.Request) -> ApiToken:
        headers = request.headers.getall("Authorization", [])
        if self._access is None or not headers:
            raise RefusedError(
                HTTPStatus.UNAUTHORIZED, f"There were no credentials in your request. Expected {_FORMS}."
            )
        secret = secret_of(headers[0]) if len(headers) == 1 else None
        token = await self._access.recognise(secret) if secret is not None else None
        if token is None:
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "Invalid credentials provided.")
        return token

    def _count(self, request: web.Request, token: ApiToken) -> None:
        if not self._limit.is_on:
            return
        now = self._clock()
        left = self._limit.take(token.id, now)
        request[CALLS_LEFT] = left or 0
        if left is None:
            request[WAIT_S] = wait_s = self._limit.wait_s(token.id, now)
            raise RefusedError(
                HTTPStatus.TOO_MANY_REQUESTS, f"Your token reached the API rate limit: try again in {wait_s} s."
            )


def secret_of(header: str) -> str | None:
    """The token in an Authorization field; None: in none of the forms that are understood."""
    kind, _, value = header.strip().partition(" ")
    value = value.strip()
    match kind.lower():
        case "bearer":
            secret = value
        case "basic":
            try:
                user, _, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
            except (binascii.Error, UnicodeDecodeError, ValueError):
                return None
            secret = password or user
        case _:
            return None
    return secret if 0 < len(secret) <= LONGEST_SECRET else None


def _check_right(request: web.Request, caller: Caller) -> None:
    """Raises RefusedError, NotFoundError."""
    resource = request.match_info.route.resource
    if resource is None:
        return  # nothing is there: 404
    route = resource.canonical
    if caller.app_id is not None:
        if not is_open_to_app_tokens(request.method, route):
            raise RefusedError(HTTPStatus.FORBIDDEN, "This token is for one app alone.")
        app = request.match_info.get("app")
        if app is not None and operations(request).app(app).id != caller.app_id:
            raise NotFoundError("Couldn't find that app.", "app")  # nor learn that it is there
    needed = needed_scope(request.method, route)
    if caller.scope is not None and not caller.scope.covers(needed):
        raise RefusedError(HTTPStatus.FORBIDDEN, f"This needs a token of scope {needed}; yours has {caller.scope}.")
