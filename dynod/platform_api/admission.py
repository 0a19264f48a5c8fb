"""Whether a request may come in, and as whom: by the control socket's credentials, or by a token over TCP.

Flow: gate → **admission** → handler, which asks `peer` who the caller is. Over TCP also: the Host is this server's, no
web page asks but dynod's own for what it shows, and the rate limit. What a token may do is `core/api_access`'s to say.
"""

import base64
import binascii
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web

from dynod.core.api_access import is_open_to_all, is_open_to_app_tokens, is_open_to_page, needed_scope
from dynod.core.api_host import is_own_origin, names_this_server
from dynod.core.api_token import ApiToken, Scope
from dynod.core.asker import Asker
from dynod.core.rate_limit import RateLimit
from dynod.operations import NotFoundError
from dynod.platform_api.connection import is_tcp, spoken_for_on
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.exchange import operations, stored
from dynod.platform_api.page_sessions import PREFIX as PAGE_PREFIX
from dynod.platform_api.page_sessions import PageSessions
from dynod.platform_api.peer import CALLER, Caller, login_of, uid_of
from dynod.platform_api.tcp_door import OverTcp

LONGEST_SECRET: Final = 1024  # characters
CALLS_LEFT: Final = web.RequestKey("calls_left", int)
WAIT_S: Final = web.RequestKey("wait_s", int)
_FORMS: Final = "Authorization: Bearer TOKEN, or Basic with the token as the password"


class Admission:
    """Of one server. Without `over_tcp` nobody is let in over TCP."""

    def __init__(
        self, over_tcp: OverTcp | None, pages: PageSessions, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pages = pages
        self._access = over_tcp.access if over_tcp is not None else None
        self._limit = RateLimit(over_tcp.calls_an_hour if over_tcp is not None else 0)
        self._names = frozenset(over_tcp.names if over_tcp is not None else ())
        self._clock = clock

    def check_place(self, request: web.Request) -> None:
        """Over TCP: that no web page asks, but dynod's own. Raises RefusedError."""
        if not is_tcp(request):
            return
        hosts = request.headers.getall("Host", [])
        if _is_of_a_page(request) and not _is_of_own_page(request, hosts):
            raise RefusedError(HTTPStatus.FORBIDDEN, "This API is not for web pages.")
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
        secret = self._secret(request)
        if secret.startswith(PAGE_PREFIX):
            await self._admit_page(request, secret)
            return
        token = await self._token(secret)
        asker = Asker(token.user, f"tcp {request.remote}")
        request[CALLER] = caller = Caller(asker=asker, scope=token.scope, app_id=token.app_id)
        self._count(request, token.id)
        _check_right(request, caller)

    async def _admit_page(self, request: web.Request, secret: str) -> None:
        """The dashboard's page looks, on behalf of whoever has opened it; as long as what they came with opens."""
        session = self._pages.read(secret)
        if session is None or not await self._still_opens(request, session.viewer.token_id, session.viewer.key_id):
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "This session is over: sign in again.")
        viewer = session.viewer
        asker = Asker(viewer.user, f"page {request.remote}")
        request[CALLER] = caller = Caller(asker=asker, scope=Scope.READ, app_id=viewer.app_id, is_page=True)
        self._count(request, viewer.token_id or viewer.key_id or f"page {viewer.user}")  # not each session anew
        resource = request.match_info.route.resource
        if resource is not None and not is_open_to_page(request.method, resource.canonical):
            raise RefusedError(HTTPStatus.FORBIDDEN, "This is not for the dashboard.")
        _check_right(request, caller)

    async def _still_opens(self, request: web.Request, token_id: str | None, key_id: str | None) -> bool:
        if key_id is not None:
            return await stored(request).keys.find(key_id) is not None
        if token_id is not None and self._access is not None:
            return any(token.id == token_id for token in await self._access.tokens())
        return True

    def _secret(self, request: web.Request) -> str:
        headers = request.headers.getall("Authorization", [])
        if self._access is None or not headers:
            raise RefusedError(
                HTTPStatus.UNAUTHORIZED, f"There were no credentials in your request. Expected {_FORMS}."
            )
        secret = secret_of(headers[0]) if len(headers) == 1 else None
        if secret is None:
            raise _invalid()
        return secret

    async def _token(self, secret: str) -> ApiToken:
        token = await self._access.recognise(secret) if self._access is not None else None
        if token is None:
            raise _invalid()
        return token

    def _count(self, request: web.Request, asking: str) -> None:
        if not self._limit.is_on:
            return
        now = self._clock()
        left = self._limit.take(asking, now)
        request[CALLS_LEFT] = left or 0
        if left is None:
            request[WAIT_S] = wait_s = self._limit.wait_s(asking, now)
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


def needs_nobody(request: web.Request) -> bool:
    """Whether it is answered whoever asks."""
    resource = request.match_info.route.resource
    return resource is not None and is_open_to_all(request.method, resource.canonical)


def _is_of_a_page(request: web.Request) -> bool:
    """Browsers say so of each request of a page (Fetch Metadata), or of each that is no plain GET (Origin)."""
    return "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none"


def _is_of_own_page(request: web.Request, hosts: list[str]) -> bool:
    """Of dynod's own, which came from this very Host, for what it shows; or a link that leads to that page."""
    resource = request.match_info.route.resource
    if resource is None or len(hosts) != 1 or not is_open_to_page(request.method, resource.canonical):
        return False
    origins, site = request.headers.getall("Origin", []), request.headers.get("Sec-Fetch-Site", "same-origin")
    if site in {"none", "same-origin"}:
        return all(is_own_origin(origin, hosts[0]) for origin in origins)
    return resource.canonical == "/" and request.headers.get("Sec-Fetch-Dest") == "document" and not origins


def _invalid() -> RefusedError:
    return RefusedError(HTTPStatus.UNAUTHORIZED, "Invalid credentials provided.")


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
