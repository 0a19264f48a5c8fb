"""`/apps/:app/git/:service`: a connection that becomes one of git's own. dynod's own resource.

    GET /apps/shop/git/git-receive-pack, Upgrade: dynod-git   →   101, then what git speaks over a pipe, both ways

The client sends nothing after its head before it has the 101.
"""

import asyncio
import socket
from http import HTTPStatus
from typing import Final, cast

from aiohttp import web

from dynod.core.git_push import SERVICES, UPGRADE
from dynod.platform_api.attach import Over
from dynod.platform_api.connection import is_tcp
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.exchange import stored
from dynod.platform_api.peer import asker

SWITCHED: Final = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: {UPGRADE}\r\nConnection: Upgrade\r\n\r\n".encode(
    "ascii"
)

routes = web.RouteTableDef()


@routes.get("/apps/{app}/git/{service}")
async def serve(request: web.Request) -> web.StreamResponse:
    """Push to an app (git-receive-pack), or fetch what was pushed (git-upload-pack)."""
    service = request.match_info["service"]
    if service not in SERVICES:
        raise RefusedError(HTTPStatus.NOT_FOUND, f"git's services here are {' and '.join(SERVICES)}.")
    git = stored(request).git
    app, repository = await git.prepare(request.match_info["app"])
    if is_tcp(request) or request.headers.get("Upgrade", "").strip().lower() != UPGRADE:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "This is for git-remote-dynod and ssh, by the control socket.")
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    cast("asyncio.ReadTransport", transport).pause_reading()  # uvloop's is one, and does not inherit from it
    with socket.socket(fileno=_duplicate(transport)) as own:
        own.setblocking(True)  # as git expects its stdin and stdout; nothing else reads or writes here any more
        own.sendall(SWITCHED)
        await git.serve(app, repository, service, own, by=asker(request))
    return Over()


def _duplicate(transport: asyncio.BaseTransport) -> int:
    connection: socket.socket = transport.get_extra_info("socket")
    return socket.dup(connection.fileno())
