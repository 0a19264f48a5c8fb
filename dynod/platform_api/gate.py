"""What every request passes on its way in and every answer on its way out: who asks, version, ids, errors, ETag.

The version rule (Heroku: no Accept header, no service, 406) is kept for a version that is named and is not 3. A request
that names none is served: that is a person with curl, not a program that a next version could break.
"""

import hashlib
import re
import uuid
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web

from dynod.core import blob_path
from dynod.platform_api.admission import CALLS_LEFT, WAIT_S, Admission, needs_nobody
from dynod.platform_api.errors import UNEXPECTED, RefusedError, answer_to, error_response

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
OnBug = Callable[[str, Exception], None]

HEROKU_JSON: Final = "application/vnd.heroku+json"
ANY_JSON: Final = frozenset({"*/*", "application/*", "application/json", HEROKU_JSON})
ON_BUG: Final[web.AppKey[OnBug]] = web.AppKey("on_bug")
ADMISSION: Final = web.AppKey("admission", Admission)
HEALTH: Final = "/healthz"  # for balancers, which ask for any version or type, by any name
STREAMS: Final = "/log-sessions/"  # what is opened here was asked for elsewhere, and is no JSON
# Whose path ends in a secret that was told to whoever had asked for it, and opens once, or for an hour: no token is
# needed besides.
SECRET_PATHS: Final = (STREAMS, blob_path.PREFIX)
REQUEST_ID: Final = re.compile(r"[A-Za-z0-9+/=_.-]{1,200}")
MOST_REQUEST_IDS: Final = 20  # of those that a client sends; Heroku's command line sends all that it has seen


@web.middleware
async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """One request, from its head to a finished answer; nothing but a cancellation and a lost client gets past it."""
    request_id = str(uuid.uuid4())
    try:
        await _let_in(request)
        response = await handler(request)
    except ConnectionError:
        raise  # the client has left
    except Exception as error:  # noqa: BLE001 - the boundary of a request: what was not foreseen is reported, not spread
        known = answer_to(error)
        if known is None:
            request.app[ON_BUG](f"{request_id} {request.method} {request.path}", error)
            known = error_response(HTTPStatus.INTERNAL_SERVER_ERROR, UNEXPECTED)
        response = known
        if response.status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}:
            response.force_close()  # the rest of the body is not waited for
    response.headers["Server"] = "dynod"
    response.headers["Request-Id"] = ",".join([request_id, *request_ids(request.headers.getall("Request-Id", []))])
    if CALLS_LEFT in request:
        response.headers["RateLimit-Remaining"] = str(request[CALLS_LEFT])
    if WAIT_S in request:
        response.headers["Retry-After"] = str(request[WAIT_S])
    if response.status == HTTPStatus.UNAUTHORIZED:
        # RFC 9110, 11.6.1. Not Basic, which a browser would ask its user for, and send again by itself.
        response.headers["WWW-Authenticate"] = 'Bearer realm="dynod"'
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"  # a log's lines are no page, whatever they look like
    if request.method in {"GET", "HEAD"} and response.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        return _unless_known(request, response)
    return response


async def _let_in(request: web.Request) -> None:
    """Raises what `admission` raises, and RefusedError for a version that is not spoken."""
    if request.path == HEALTH:
        return
    admission = request.app[ADMISSION]
    admission.check_place(request)
    if request.path.startswith(SECRET_PATHS) or needs_nobody(request):
        return
    await admission.admit(request)
    _check_version(request.headers.getall("Accept", []))


def request_ids(headers: list[str]) -> list[str]:
    """The ids that a client has sent, to be sent back behind the answer's own (Heroku: they accumulate)."""
    ids = [entry.strip() for header in headers for entry in header.split(",")]
    return list(dict.fromkeys(each for each in ids if REQUEST_ID.fullmatch(each)))[:MOST_REQUEST_IDS]


def accepts_version_3(accept: str) -> bool:
    """Whether this Accept header can be answered with version 3 (`version=3.sdk` and the like are variants of it)."""
    named = False
    for entry in accept.split(","):
        media, *parameters = (part.strip().lower() for part in entry.split(";"))
        if not media:
            continue
        named = True
        versions = [value for name, _, value in (p.partition("=") for p in parameters) if name.strip() == "version"]
        version = versions[0].strip().strip('"').partition(".")[0] if versions else "3"
        if media in ANY_JSON and version == "3":
            return True
    return not named


def _check_version(headers: list[str]) -> None:
    if not accepts_version_3(",".join(headers)):
        raise RefusedError(
            HTTPStatus.NOT_ACCEPTABLE, f"This is version 3 of the API: ask with `Accept: {HEROKU_JSON}; version=3`."
        )


def _unless_known(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """304 where the client has this very answer already."""
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return response
    tag = hashlib.sha256(response.body).hexdigest()[:32]
    response.headers["ETag"] = f'"{tag}"'
    known = [entry.strip().removeprefix("W/") for entry in request.headers.get("If-None-Match", "").split(",")]
    if "*" not in known and f'"{tag}"' not in known:
        return response
    unchanged = web.Response(status=HTTPStatus.NOT_MODIFIED)
    for name in ("ETag", "Request-Id", "Cache-Control", "RateLimit-Remaining"):
        if name in response.headers:
            unchanged.headers[name] = response.headers[name]
    return unchanged
