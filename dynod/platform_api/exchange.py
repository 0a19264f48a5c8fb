"""What every resource's handler needs: the operations, a body of a type, and an answer of an object or a list."""

import asyncio
import json
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from dynod.core.ranges import Attribute, Rank, by_text, cut, parse_range
from dynod.operations import InvalidError, Operations
from dynod.platform_api.errors import RefusedError
from dynod.platform_api.serializers import Json
from dynod.platform_api.tcp_door import OverTcp
from dynod.stored_resources import StoredResources

OPERATIONS: Final = web.AppKey("operations", Operations)
OVER_TCP: Final[web.AppKey[OverTcp | None]] = web.AppKey("over_tcp")
STORED: Final[web.AppKey[StoredResources | None]] = web.AppKey("stored")
LARGEST_BODY: Final = 1024 * 1024  # bytes; slugs and archives are not sent through here
BODY_S: Final = 30.0  # for a whole body

Body = TypeVar("Body")


def operations(request: web.Request) -> Operations:
    """What the verbs do."""
    return request.app[OPERATIONS]


def over_tcp(request: web.Request) -> OverTcp:
    """What the API's use over TCP needs: tokens, an authority, a listener."""
    found = request.app[OVER_TCP]
    assert found is not None  # noqa: S101 (every daemon has it)
    return found


def stored(request: web.Request, *, otherwise: str = "dynod serve does.") -> StoredResources:
    """What hangs on apps and lasts. Raises InvalidError in `up`, which has no store and where one does `otherwise`."""
    found = request.app[STORED]
    if found is None:
        raise InvalidError(f"This is dynod up, which keeps nothing of an app but its folder: {otherwise}")
    return found


async def read_body(request: web.Request, type_: type[Body]) -> Body:
    """The JSON body as a value of the type; members that it does not have are ignored, as Heroku does.

    The Content-Type does not matter: `curl -d` sends another one, and there is only one format. Raises RefusedError.
    """
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A compressed body is not understood: send it as it is.")
    async with asyncio.timeout(BODY_S):
        body = await request.read()
    try:
        return msgspec.json.decode(body or b"{}", type=type_)
    except msgspec.ValidationError as error:
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{error}.") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "The body of the request is not valid JSON.") from error


def answer(document: Json, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """One object."""
    return _json(document, status)


def accepted() -> web.Response:
    """It has begun, and is not waited for."""
    return _json({}, HTTPStatus.ACCEPTED)


def member(name: str, rank: Callable[[str], Rank] = by_text) -> Attribute[Json]:
    """An attribute that is a member of the objects themselves."""
    return Attribute(name=name, text=lambda document: str(document[name]), rank=rank)


def answer_list(request: web.Request, documents: Sequence[Json], attributes: Sequence[Attribute[Json]]) -> web.Response:
    """The page of a list that is asked for, by default the first by the first attribute. Raises RangeRefusedError."""
    names = [attribute.name for attribute in attributes]
    page = cut(documents, parse_range(request.headers.get("Range"), names), attributes)
    response = _json(
        page.items,
        HTTPStatus.OK if page.next_range is None else HTTPStatus.PARTIAL_CONTENT,
    )
    response.headers["Accept-Ranges"] = ", ".join(names)
    response.headers["Content-Range"] = page.content_range
    if page.next_range is not None:
        response.headers["Next-Range"] = page.next_range
    return response


def _json(document: object, status: HTTPStatus) -> web.Response:
    return web.Response(status=status, body=json.dumps(document).encode(), content_type="application/json")
