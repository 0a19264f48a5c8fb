"""What the API answers when it refuses, in Heroku's form: `{"id", "message", …}` and a status.

Statuses and ids: Platform API Reference, "Error Responses". No message holds a traceback or what a client has sent at
length; what nobody expected is `internal_server_error` here and a report in the daemon's own log.
"""

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from aiohttp import web

from dynod.core.ranges import RangeRefusedError
from dynod.errors import DynodError
from dynod.operations import InvalidError, NotFoundError

IDS: Final[Mapping[int, str]] = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.NOT_ACCEPTABLE: "not_acceptable",
    HTTPStatus.REQUEST_TIMEOUT: "request_timeout",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.GONE: "gone",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "payload_too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "unsupported_media_type",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "requested_range_not_satisfiable",
    HTTPStatus.UNPROCESSABLE_ENTITY: "invalid_params",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal_server_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "maintenance",
}
UNEXPECTED: Final = "Internal server error: this is a bug in dynod, and its log says more."
NOWHERE: Final = "The requested API endpoint was not found. Are you using the right HTTP verb and path?"


class RefusedError(DynodError):
    """A request that this layer itself refuses; `fields` are further members of the answer."""

    def __init__(self, status: HTTPStatus, message: str, **fields: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = IDS[status]
        self.fields = fields


def error_response(status: int, message: str, *, id_: str | None = None, **fields: str) -> web.Response:
    """An answer in Heroku's form."""
    body = {"id": id_ or IDS.get(status, "bad_request"), "message": message, **fields}
    return web.Response(status=status, body=json.dumps(body).encode(), content_type="application/json")


def answer_to(error: Exception) -> web.Response | None:
    """The answer to what a handler raised, or None for what nobody expected."""
    match error:
        case RefusedError():
            return error_response(error.status, str(error), **error.fields)
        case NotFoundError():
            return error_response(HTTPStatus.NOT_FOUND, str(error), resource=error.resource)
        case InvalidError():
            return error_response(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        case DynodError():
            return error_response(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), id_=error.code)
        case RangeRefusedError():
            return error_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, str(error))
        case web.HTTPNotFound() | web.HTTPMethodNotAllowed():
            return error_response(HTTPStatus.NOT_FOUND, NOWHERE)
        case web.HTTPRequestEntityTooLarge():
            return error_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body of the request is too large.")
        case web.HTTPException() if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return error_response(error.status, error.reason)
        case web.RequestPayloadError():
            return error_response(HTTPStatus.BAD_REQUEST, "The body of the request is malformed or was cut short.")
        case asyncio.TimeoutError():
            return error_response(HTTPStatus.REQUEST_TIMEOUT, "The body of the request took too long.")
        case _:
            return None
