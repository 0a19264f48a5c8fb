"""Who comes in over TCP, and as whom: tokens and their scopes, no web page, no other name, not too often."""

import base64
import getpass
import http.client
import socket
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynod.core.api_token import Scope
from dynod.platform_api import connection
from dynod.platform_api.admission import secret_of
from dynod.platform_api.gate import request_ids
from support.api_server import APP_ID, ApiServer, MadeUpOperations

OTHER_APP = "11111111-89ab-cdef-0123-456789abcdef"


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with ApiServer(names=["vm.example.com"]) as running:
        yield running


def done(server: ApiServer) -> list[tuple[object, ...]]:
    assert isinstance(server.operations, MadeUpOperations)
    return server.operations.done


def refusal(answer: tuple[int, Mapping[str, str], object]) -> tuple[int, object]:
    status, headers, document = answer
    assert isinstance(document, dict)
    assert headers["request-id"]
    assert ("www-authenticate" in headers) is (status == 401)
    assert "access-control-allow-origin" not in headers
    return status, document["id"]


def basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer dynod-nonsense"},
        {"Authorization": "Bearer " + "x" * 5000},
        {"Authorization": "Digest x"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()},
        basic(""),
        basic(":"),
        basic(":dynod-nonsense"),
    ],
)
@pytest.mark.parametrize("path", ["/apps", "/account", "/nowhere", "/oauth/authorizations", "/schema", "/openapi.json"])
def test_nobody_comes_in_without_a_token(server: ApiServer, headers: dict[str, str], path: str) -> None:
    for method in ("GET", "POST", "OPTIONS", "HEAD"):
        status, sent, _ = server.ask_tcp(method, path, headers=headers)
        assert status == 401
        assert sent["www-authenticate"] == 'Bearer realm="dynod"'
    assert refusal(server.ask_tcp("GET", path, headers=headers)) == (401, "unauthorized")


def test_health_is_everybodys(server: ApiServer) -> None:
    status, _, document = server.ask_tcp("GET", "/healthz", headers={"Host": "balancer.example"})
    assert (status, document) == (200, {"status": "ok"})


def test_a_token_comes_in_all_the_forms_that_clients_use(server: ApiServer) -> None:
    token = server.token(by="alice")
    for headers in (
        {"Authorization": f"Bearer {token}"},
        {"Authorization": f"bearer  {token}"},
        basic(f":{token}"),
        basic(f"me@example.com:{token}"),
        basic(f"{token}:"),
        basic(token),
    ):
        status, _, account = server.ask_tcp("GET", "/account", headers=headers)
        assert status == 200
        assert isinstance(account, dict)
        assert account["email"] == "alice@localhost"
    twice = http.client.HTTPConnection("127.0.0.1", server.port)
    twice.putrequest("GET", "/account")
    for _ in range(2):
        twice.putheader("Authorization", f"Bearer {token}")
    twice.endheaders()
    assert twice.getresponse().status == 401
    twice.close()


def test_what_is_done_is_done_by_the_tokens_user(server: ApiServer) -> None:
    server.ask_tcp("DELETE", "/apps/shop/dynos", token=server.token(by="bob", scope=Scope.DEPLOY))
    assert done(server)[-1] == ("restart", None, "bob")
    assert getattr(done(server)[-1][2], "origin") == "tcp 127.0.0.1"  # noqa: B009 (it is an object to mypy)
    server.ask("DELETE", "/apps/shop/dynos")
    by = done(server)[-1][2]
    assert by == getpass.getuser()
    assert str(getattr(by, "origin")).startswith("unix uid ")  # noqa: B009 (as above)


def test_a_scope_ends_where_it_must(server: ApiServer) -> None:
    asked = [
        ("GET", "/apps/shop/dynos", None),
        ("POST", "/apps/shop/dynos/web.1/actions/stop", None),
        ("GET", "/oauth/authorizations", None),
    ]
    found = {
        scope: [
            server.ask_tcp(method, path, body=body, token=server.token(scope=scope))[0] for method, path, body in asked
        ]
        for scope in Scope
    }
    assert found == {Scope.READ: [200, 403, 403], Scope.DEPLOY: [200, 202, 403], Scope.ADMIN: [200, 202, 200]}
    answer = server.ask_tcp("PATCH", "/apps/shop/formation", token=server.token(scope=Scope.READ), body={"updates": 1})
    assert refusal(answer) == (403, "forbidden")


def test_a_token_of_one_app_sees_no_other(server: ApiServer) -> None:
    mine, others = (server.token(scope=Scope.DEPLOY, app_id=each) for each in (APP_ID, OTHER_APP))
    for path in ("/apps/shop", f"/apps/{APP_ID}/dynos"):
        assert server.ask_tcp("GET", path, token=mine)[0] == 200
        assert refusal(server.ask_tcp("GET", path, token=others)) == (404, "not_found")
    missing = server.ask_tcp("GET", "/apps/nothing", token=others)[2]
    assert server.ask_tcp("GET", "/apps/shop", token=others)[2] == missing
    assert server.ask_tcp("DELETE", "/apps/shop/dynos", token=others)[0] == 404
    for path in ("/apps", "/users/~/apps"):
        mines = server.ask_tcp("GET", path, token=mine)[2]
        assert isinstance(mines, list)
        assert [app["name"] for app in mines] == ["shop"]
        assert server.ask_tcp("GET", path, token=others)[2] == []
    for method, path in (("POST", "/apps"), ("GET", "/oauth/authorizations"), ("DELETE", "/apps/shop")):
        assert refusal(server.ask_tcp(method, path, token=mine)) == (403, "forbidden")
    assert server.ask_tcp("GET", "/account", token=mine)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"Origin": "http://127.0.0.1:5000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://evil.example", "Access-Control-Request-Method": "GET"},
    ],
)
def test_no_web_page_and_no_other_name_comes_in(server: ApiServer, headers: dict[str, str]) -> None:
    token = server.token()
    for method in ("GET", "OPTIONS", "DELETE"):
        assert refusal(server.ask_tcp(method, "/apps", token=token, headers=headers)) == (403, "forbidden")
    before = len(done(server))
    assert refusal(server.ask_tcp("DELETE", "/apps/shop/dynos", token=token, headers=headers)) == (403, "forbidden")
    assert len(done(server)) == before


def test_the_name_it_listens_by_comes_in(server: ApiServer) -> None:
    token = server.token()
    for host in ("vm.example.com:5080", "VM.example.com", "localhost:1", "[::1]"):
        assert server.ask_tcp("GET", "/apps", token=token, headers={"Host": host})[0] == 200


def test_two_hosts_are_none(server: ApiServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"GET /healthy HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: raw.recv(65_536), b""))
    assert answer.split(b" ", 2)[1] in {b"400", b"403"}


def test_the_rate_limit_counts_each_token_by_itself() -> None:
    with ApiServer(calls_an_hour=3) as server:
        busy, quiet = server.token(), server.token()
        seen = [server.ask_tcp("GET", path, token=busy) for path in ("/apps", "/nowhere", "/apps/shop")]
        assert [(status, headers["ratelimit-remaining"]) for status, headers, _ in seen] == [
            (200, "2"),
            (404, "1"),
            (200, "0"),
        ]
        status, headers, document = server.ask_tcp("GET", "/apps", token=busy)
        assert (status, headers["ratelimit-remaining"]) == (429, "0")
        assert isinstance(document, dict)
        assert document["id"] == "rate_limit"
        assert 0 < int(headers["retry-after"]) <= 1200
        assert server.ask_tcp("GET", "/apps", token=quiet)[0] == 200
        assert server.ask_tcp("GET", "/apps")[0] == 401
        status, headers, _ = server.ask("GET", "/apps")  # the control socket has none
        assert status == 200
        assert "ratelimit-remaining" not in headers


def test_an_unchanged_answer_is_304_and_says_how_many_calls_are_left() -> None:
    with ApiServer(calls_an_hour=10) as server:
        token = server.token()
        tag = server.ask_tcp("GET", "/apps", token=token)[1]["etag"]
        status, headers, document = server.ask_tcp("GET", "/apps", token=token, headers={"If-None-Match": tag})
        assert (status, document, headers["ratelimit-remaining"]) == (304, None, "8")


def test_request_ids_accumulate(server: ApiServer) -> None:
    given_ids = "b4b1e3f0-0000-4000-8000-000000000001, mine,mine"
    headers = server.ask_tcp("GET", "/apps", token=server.token(), headers={"Request-Id": given_ids})[1]
    own, *echoed = headers["request-id"].split(",")
    assert len(own) == 36
    assert echoed == ["b4b1e3f0-0000-4000-8000-000000000001", "mine"]
    assert len(request_ids([",".join(f"id-{number}" for number in range(1000))])) == 20
    assert request_ids(["a b,<x>,", "\u00e9", "x" * 201]) == []


def test_strangers_on_tcp_leave_the_control_socket_free() -> None:
    with ApiServer() as server:
        crowd = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(connection.MOST_CONNECTIONS)]
        try:
            status, _, document = server.ask_tcp("GET", "/healthz")
            assert status == 429
            assert isinstance(document, dict)
            assert document["id"] == "rate_limit"
            assert server.ask("GET", "/apps")[0] == 200
        finally:
            for each in crowd:
                each.close()


def test_authorizations_have_herokus_form(server: ApiServer) -> None:
    status, _, made = server.ask("POST", "/oauth/authorizations", body={"description": "CI", "scope": ["read"]})
    assert status == 201
    assert isinstance(made, dict)
    assert made["scope"] == ["read"]
    secret = made["access_token"]["token"]
    assert server.ask_tcp("GET", "/apps", token=secret)[0] == 200
    found = server.ask("GET", f"/oauth/authorizations/{made['id']}")[2]
    assert isinstance(found, dict)
    assert found["dynod"].pop("used_at") is not None
    assert found == {**made, "access_token": None, "dynod": {"app": None, "purpose": None, "scope": "read"}}
    listed = server.ask("GET", "/oauth/authorizations")[2]
    assert secret not in str(listed)
    assert server.ask("DELETE", f"/oauth/authorizations/{made['id']}")[0] == 200
    assert server.ask_tcp("GET", "/apps", token=secret)[0] == 401
    assert refusal(server.ask("DELETE", f"/oauth/authorizations/{made['id']}")) == (404, "not_found")


@pytest.mark.parametrize(
    "body",
    [
        {"scope": ["identity"]},
        {"scope": []},
        {"scope": ["read", "write-protected"]},
        {"expires_in": 60},
        {"description": "x" * 201},
        {"description": "a\nb"},
        {"dynod": {"app": "shop"}, "scope": ["global"]},
        {"dynod": {"app": "shop", "purpose": ""}},
        {"dynod": "shop"},
    ],
)
def test_an_authorization_that_cannot_be_is_refused(server: ApiServer, body: object) -> None:
    assert refusal(server.ask("POST", "/oauth/authorizations", body=body)) == (422, "invalid_params")


@given(st.text(max_size=200))
@settings(max_examples=300)
def test_any_authorization_field_is_a_token_or_none(header: str) -> None:
    secret = secret_of(header)
    assert secret is None or 0 < len(secret) <= 512
