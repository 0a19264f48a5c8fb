"""Which answer an exception becomes."""

import json
from http import HTTPStatus

import pytest
from aiohttp import web

from dynod.core.ranges import RangeRefusedError
from dynod.errors import DynodError, SettingsError
from dynod.operations import InvalidError, NotFoundError
from dynod.platform_api.errors import IDS, RefusedError, answer_to, error_response


@pytest.mark.parametrize(
    ("error", "status", "document"),
    [
        (NotFoundError("No.", "app"), 404, {"id": "not_found", "message": "No.", "resource": "app"}),
        (InvalidError("No."), 422, {"id": "invalid_params", "message": "No."}),
        (SettingsError("No."), 422, {"id": "settings", "message": "No."}),
        (DynodError("No."), 422, {"id": "error", "message": "No."}),
        (RangeRefusedError("No."), 416, {"id": "requested_range_not_satisfiable", "message": "No."}),
        (
            RefusedError(HTTPStatus.CONFLICT, "No.", field="name"),
            409,
            {"id": "conflict", "message": "No.", "field": "name"},
        ),
        (TimeoutError(), 408, {"id": "request_timeout", "message": "The body of the request took too long."}),
        (web.HTTPForbidden(), 403, {"id": "forbidden", "message": "Forbidden"}),
        (web.HTTPExpectationFailed(), 417, {"id": "bad_request", "message": "Expectation Failed"}),
        (
            web.RequestPayloadError("x"),
            400,
            {"id": "bad_request", "message": "The body of the request is malformed or was cut short."},
        ),
    ],
)
def test_answers(error: Exception, status: int, document: dict[str, str]) -> None:
    response = answer_to(error)
    assert response is not None
    assert response.status == status
    assert response.content_type == "application/json"
    assert isinstance(response.body, bytes)
    assert json.loads(response.body) == document


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), web.HTTPBadGateway(), AssertionError()])
def test_what_nobody_expected_has_no_answer_here(error: Exception) -> None:
    assert answer_to(error) is None


@pytest.mark.parametrize("status", IDS)
def test_every_status_has_herokus_id(status: int) -> None:
    response = error_response(status, "x")
    assert isinstance(response.body, bytes)
    assert json.loads(response.body)["id"] == IDS[status]
