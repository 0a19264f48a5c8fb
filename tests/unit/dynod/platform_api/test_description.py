"""The API's description of itself holds every route, and the types that handlers really read."""

import json
import re
from collections.abc import Iterator

import pytest

from dynod.platform_api.description import body_of, links
from dynod.platform_api.dynos import NewDyno
from dynod.platform_api.dynos import run as run_handler
from dynod.platform_api.server import PlatformApi
from support.api_server import ApiServer, MadeUpOperations


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with ApiServer() as running:
        yield running


def document(server: ApiServer, path: str) -> dict[str, dict[str, dict[str, dict[str, object]]]]:
    status, _, found = server.ask("GET", path)
    assert status == 200
    assert isinstance(found, dict)
    return found


def test_every_route_is_there_with_what_it_is_for(server: ApiServer) -> None:
    application = PlatformApi(MadeUpOperations(), secret=b"")._runner.app
    assert application is not None
    known = links(application)
    paths = document(server, "/openapi.json")["paths"]
    assert {(path, method.upper()) for path, methods in paths.items() for method in methods} == {
        (link.path, link.method) for link in known
    }
    assert [link for link in known if not link.text] == []
    names = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(set(map(str, names))) == len(names)


def test_a_body_is_what_the_handler_reads(server: ApiServer) -> None:
    assert body_of(run_handler) is NewDyno
    found = document(server, "/openapi.json")
    operation = found["paths"]["/apps/{app}/dynos"]["post"]
    assert operation["requestBody"] == {
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewDyno"}}}
    }
    assert operation["x-scope"] == "deploy"
    members = found["components"]["schemas"]["NewDyno"]["properties"]
    assert isinstance(members, dict)
    assert set(members) >= {"command", "attach", "env", "size"}
    assert "requestBody" not in found["paths"]["/apps"]["get"]


@pytest.mark.parametrize("path", ["/openapi.json", "/schema"])
def test_every_reference_leads_somewhere(server: ApiServer, path: str) -> None:
    found = document(server, path)
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(found))
    assert references
    for reference in references:
        at: object = found
        for part in reference.split("/"):
            assert isinstance(at, dict)
            at = at[part]
