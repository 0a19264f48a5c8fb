"""The dashboard's page: what a browser is given at `/`, and how it becomes a session that may look.

The page has no secret in it and nothing from elsewhere: three kinds of files, served as they are in the package. What
it shows it asks for as everybody else does, with a session that a code or a token became (`page_sessions`).
"""

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final

import msgspec
from aiohttp import web

from dynod.operations import NotFoundError
from dynod.platform_api.admission import LONGEST_SECRET
from dynod.platform_api.connection import is_tcp
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.exchange import answer, over_tcp, read_body
from dynod.platform_api.page_sessions import CODE_S, SESSION_S, PageSessions, Viewer
from dynod.platform_api.peer import caller, login_of, uid_of
from dynod.platform_api.tcp_peer import user_of

FOLDER: Final = Path(__file__).parent / "page"
INDEX: Final = "index.html"
TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Nothing is loaded from elsewhere or written into the page as markup, whatever an app's log says; nobody frames it.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

PAGE_SESSIONS: Final = web.AppKey("page_sessions", PageSessions)
FILES: Final[web.AppKey[dict[str, bytes]]] = web.AppKey("page_files")

Secret = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_SECRET)]

routes = web.RouteTableDef()


class Opener(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST: for whose browser a code is, where root asks for somebody (`sudo`)."""

    uid: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST: the code of `dynod open --dashboard`, or a token."""

    code: Secret | None = None
    token: Secret | None = None


def read_files() -> dict[str, bytes]:
    """The page, by name."""
    return {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in TYPES}


@routes.get("/")
async def page(request: web.Request) -> web.Response:
    """The dashboard, for a browser."""
    return _file(request, INDEX)


@routes.get("/dashboard/{file}")
async def file(request: web.Request) -> web.Response:
    """What the page is made of."""
    return _file(request, request.match_info["file"])


@routes.post("/dynod/dashboard/codes")
async def create_code(request: web.Request) -> web.Response:
    """An address that opens the dashboard once, within a minute; over the control socket alone."""
    if is_tcp(request):
        raise RefusedError(HTTPStatus.FORBIDDEN, "This is for the control socket: sign in with a token instead.")
    body, asking = await read_body(request, Opener), uid_of(request)
    uid = asking if body.uid is None else body.uid
    if asking not in {0, uid}:
        raise RefusedError(HTTPStatus.FORBIDDEN, "uid: only root asks for another user's browser.")
    url = await over_tcp(request).open()
    who = caller(request)
    viewer = Viewer(user=str(who.asker), app_id=who.app_id, key_id=who.key_id)
    code = request.app[PAGE_SESSIONS].code(viewer, uid=uid)
    return answer({"url": url, "code": code, "expires_in": int(CODE_S)}, HTTPStatus.CREATED)


@routes.post("/dynod/dashboard/sessions")
async def create_session(request: web.Request) -> web.Response:
    """A session of the page, which may look, for a code or a token."""
    body = await read_body(request, Ticket)
    viewer = await _viewer(request, body)
    if viewer is None:
        raise RefusedError(HTTPStatus.UNAUTHORIZED, "That opens nothing: it is wrong, or was used, or is too old.")
    session = request.app[PAGE_SESSIONS].begin(viewer)
    return answer({"session": session, "user": viewer.user, "expires_in": int(SESSION_S)}, HTTPStatus.CREATED)


async def _viewer(request: web.Request, body: Ticket) -> Viewer | None:
    if body.code is not None and body.token is not None:
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "code, token: expected one of them.")
    if body.code is not None:
        sessions = request.app[PAGE_SESSIONS]
        uid = sessions.made_for(body.code)
        if uid is not None and not await _is_of(request, uid):
            raise RefusedError(
                HTTPStatus.FORBIDDEN,
                f"This address is for a browser of {login_of(uid)}: get one of your own with `dynod open --dashboard`.",
            )
        return sessions.redeem(body.code)
    token = await over_tcp(request).access.recognise(body.token) if body.token is not None else None
    return Viewer(user=token.user, app_id=token.app_id, token_id=token.id) if token is not None else None


async def _is_of(request: web.Request, uid: int) -> bool:
    """Whether it may be a program of this user that asks: others can see the code in the list of processes.

    Where nobody can know, as of another machine's or of ssh's at this end of a forwarded port, it may be.
    """
    transport = request.transport
    if transport is None:
        return True
    peer, own = (transport.get_extra_info(end)[:2] for end in ("peername", "sockname"))
    return await asyncio.to_thread(user_of, peer, own) in {None, 0, uid}


def _file(request: web.Request, name: str) -> web.Response:
    found = request.app[FILES].get(name)
    if found is None:
        raise NotFoundError("There is no such file.", "file")
    response = web.Response(body=found, headers=HEADERS)
    response.content_type = TYPES[Path(name).suffix]
    response.charset = "utf-8"
    return response
