"""`/dynod/heroku-environment`: what `dynod heroku:env` sets for Heroku's own command line. dynod's own resource.

Opens the API on a loopback port if it is nowhere on TCP yet, and makes a token in the place of the one that it made for
the same client before. Over the control socket alone: whoever comes over TCP has a token and an address already.
"""

from http import HTTPStatus
from typing import Annotated

import msgspec
from aiohttp import web

from dynod.platform_api.connection import is_tcp
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.exchange import answer, over_tcp, read_body
from dynod.platform_api.peer import asker

routes = web.RouteTableDef()


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST. `client`: who will use it, such as `me@laptop`; each has one token at a time."""

    client: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


@routes.post("/dynod/heroku-environment")
async def create(request: web.Request) -> web.Response:
    """An address, a token, and the certificate of who vouches for the rendezvous."""
    if is_tcp(request):
        raise RefusedError(HTTPStatus.FORBIDDEN, "This is for the control socket: ask for a token instead.")
    body = await read_body(request, Client)
    tcp = over_tcp(request)
    url = await tcp.open()
    try:
        certificate = await tcp.authority.certificate()
    except OSError as error:
        raise RefusedError(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"The local authority cannot be kept: {error.strerror or error}."
        ) from error
    made = await tcp.access.create(
        by=asker(request), description=f"heroku:env of {body.client}", purpose=f"heroku:env {body.client}"
    )
    return answer({"api_key": made.secret, "certificate": certificate, "url": url}, HTTPStatus.CREATED)
