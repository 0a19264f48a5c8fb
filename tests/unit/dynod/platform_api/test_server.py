"""The API over a real unix socket: routes, objects, refusals, ranges, ETags; the operations behind it are made up."""

import getpass
import os
import re
import socket
import uuid
from collections.abc import Iterator, Mapping

import pytest

from dynod.core.api_token import Scope
from dynod.core.dyno import SlotState
from dynod.platform_api import connection, exchange
from support.api_server import APP_ID, ApiServer, MadeUpOperations, id_of
from support.transcript import TIMEOUT_S

ME = getpass.getuser()


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def server(request: pytest.FixtureRequest) -> Iterator[ApiServer]:
    with ApiServer(uvloop_too=request.param) as running:
        yield running


def done(server: ApiServer) -> list[tuple[object, ...]]:
    assert isinstance(server.operations, MadeUpOperations)
    return server.operations.done


def names(document: object, member: str = "name") -> list[str]:
    assert isinstance(document, list)
    return [entry[member] for entry in document]


def test_apps_by_name_and_by_id(server: ApiServer) -> None:
    status, headers, apps = server.ask("GET", "/apps")
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "private, no-cache"
    assert uuid.UUID(headers["request-id"]).version == 4
    assert names(apps) == ["shop"]
    for ref in ("shop", APP_ID):
        status, _, app = server.ask("GET", f"/apps/{ref}")
        assert (status, [app]) == (200, apps)


def test_who_asks_is_who_the_kernel_says(server: ApiServer) -> None:
    status, _, account = server.ask("GET", "/account", headers={"Authorization": "Bearer somebody-else"})
    assert status == 200
    assert isinstance(account, dict)
    assert account["name"] == ME
    server.ask("DELETE", "/apps/shop/dynos")
    assert done(server) == [("restart", None, ME)]


def test_scaling_several_at_once(server: ApiServer) -> None:
    updates = [{"type": "web", "quantity": "+1"}, {"type": "worker", "quantity": 4, "size": "standard-1x", "new": {}}]
    status, _, changed = server.ask("PATCH", "/apps/shop/formation", body={"updates": updates, "unknown": [1]})
    assert status == 200
    assert done(server) == [("scale", {"web": 3, "worker": 4}, {"worker": "Standard-1X"}, ME)]
    assert isinstance(changed, list)
    assert [(entry["type"], entry["quantity"], entry["size"]) for entry in changed] == [
        ("web", 3, "Unsized"),
        ("worker", 4, "Standard-1X"),
    ]


@pytest.mark.parametrize(
    ("body", "quantities", "sizes"),
    [
        ({"quantity": 5}, {"web": 5}, {}),
        ({"quantity": "-1"}, {"web": 1}, {}),
        ({"size": "eco"}, {}, {"web": "Eco"}),
        ({"dyno_size": "eco"}, {}, {"web": "Eco"}),
        ({"dyno_size": {"name": "eco"}, "quantity": 0}, {"web": 0}, {"web": "Eco"}),
        ({}, {}, {}),
        (None, {}, {}),
    ],
)
@pytest.mark.parametrize("ref", ["web", id_of("web")])
def test_scaling_one_process_type(
    body: object, quantities: Mapping[str, int], sizes: Mapping[str, str], ref: str
) -> None:
    with ApiServer() as server:
        status, _, changed = server.ask("PATCH", f"/apps/shop/formation/{ref}", body=body)
        assert status == 200
        assert isinstance(changed, dict)
        assert changed["type"] == "web"
        assert done(server) == [("scale", quantities, sizes, ME)]


def test_a_size_by_its_id(server: ApiServer) -> None:
    _, _, sizes = server.ask("GET", "/dyno-sizes/standard-2X")
    assert isinstance(sizes, dict)
    server.ask("PATCH", "/apps/shop/formation/web", body={"dyno_size": {"id": sizes["id"]}})
    assert done(server) == [("scale", {}, {"web": "Standard-2X"}, ME)]
    assert server.ask("GET", f"/dyno-sizes/{sizes['id']}")[2] == sizes


@pytest.mark.parametrize(
    ("method", "path", "what"),
    [
        ("DELETE", "/apps/shop/dynos", ("restart", None)),
        ("DELETE", "/apps/shop/dynos/web.1", ("restart", "web.1")),
        ("DELETE", f"/apps/{APP_ID}/dynos/{id_of('web.2')}", ("restart", "web.2")),
        ("DELETE", "/apps/shop/formations/web", ("restart", "web")),
        ("DELETE", f"/apps/shop/formations/{id_of('web')}", ("restart", "web")),
        ("POST", "/apps/shop/dynos/worker.1/actions/stop", ("stop", "worker.1")),
        ("POST", "/apps/shop/formations/worker/actions/stop", ("stop", "worker")),
        ("POST", "/apps/shop/formations/run/actions/stop", ("stop", "run")),
    ],
)
def test_restart_and_stop_have_begun_when_they_are_answered(method: str, path: str, what: tuple[str, str]) -> None:
    with ApiServer() as server:
        status, _, document = server.ask(method, path)
        assert (status, document) == (202, {})
        assert done(server) == [(*what, ME)]


@pytest.mark.parametrize(
    ("method", "path", "resource"),
    [
        ("GET", "/apps/nope", "app"),
        ("GET", "/apps/nope/formation", "app"),
        ("PATCH", "/apps/nope/formation", "app"),
        ("GET", "/apps/nope/dynos", "app"),
        ("GET", "/apps/nope/available-dyno-sizes", "app"),
        ("GET", "/apps/shop/dynos/web.9", "dyno"),
        ("DELETE", "/apps/shop/dynos/web", "dyno"),  # a process type is no dyno: that would restart all of them
        ("DELETE", "/apps/shop/dynos/run", "dyno"),
        ("POST", "/apps/shop/dynos/worker/actions/stop", "dyno"),
        ("GET", "/apps/shop/formation/db", "formation"),
        ("PATCH", "/apps/shop/formation/db", "formation"),
        ("DELETE", "/apps/shop/formations/db", "formation"),
        ("DELETE", "/apps/shop/formations/web.1", "formation"),
        ("POST", "/apps/shop/formations/web.1/actions/stop", "formation"),
        ("GET", "/dyno-sizes/huge", "dyno-size"),
        ("GET", "/nowhere", None),
        ("GET", "/apps/", None),
        ("GET", "/apps/shop/dynos/", None),
        ("PUT", "/apps", None),
        ("GET", "/apps/shop/formations/web", None),
        ("POST", "/apps/shop/dynos/web.1", None),
        ("GET", "/apps/..%2f..%2fetc%2fpasswd", "app"),
        ("GET", "/apps/%00", "app"),
        ("PROPFIND", "/apps", None),
    ],
)
def test_what_is_not_there_is_404_in_herokus_form(method: str, path: str, resource: str | None) -> None:
    with ApiServer() as server:
        status, headers, document = server.ask(method, path, body={"updates": [{"type": "web"}]})
        assert status == 404
        assert isinstance(document, dict)
        assert document["id"] == "not_found"
        assert document["message"]
        assert document.get("resource") == resource
        assert uuid.UUID(headers["request-id"]).version == 4
        assert done(server) == []


@pytest.mark.parametrize(
    ("body", "status", "id_", "message"),
    [
        (b"{", 400, "bad_request", "not valid JSON"),
        (b"\xff\xfe", 400, "bad_request", "not valid JSON"),
        (b'{"updates": ["\\ud800"]}', 400, "bad_request", "not valid JSON"),
        (b"[" * 100_000, 422, "invalid_params", "Expected `object`"),
        (b'{"x": ' + b"[" * 100_000, 400, "bad_request", "not valid JSON"),
        (b"", 422, "invalid_params", "missing required field `updates`"),
        ([], 422, "invalid_params", "Expected `object`"),
        ({"updates": []}, 422, "invalid_params", "length >= 1"),
        ({"updates": {}}, 422, "invalid_params", "Expected `array`"),
        ({"updates": [{"type": "web"}] * 101}, 422, "invalid_params", "length <= 100"),
        ({"updates": [{"quantity": 1}]}, 422, "invalid_params", "missing required field `type`"),
        ({"updates": [{"type": 3}]}, 422, "invalid_params", "Expected `str`"),
        ({"updates": [{"type": "web", "quantity": True}]}, 422, "invalid_params", "got `bool`"),
        ({"updates": [{"type": "web", "quantity": 1.5}]}, 422, "invalid_params", "got `float`"),
        ({"updates": [{"type": "web", "quantity": "many"}]}, 422, "invalid_params", "expected a number"),
        ({"updates": [{"type": "web", "quantity": -1}]}, 422, "invalid_params", "negative"),
        ({"updates": [{"type": "web", "quantity": 10**400}]}, 422, "invalid_params", ""),
        ({"updates": [{"type": "web", "quantity": 501}]}, 422, "invalid_params", "Cannot scale to more than 500"),
        ({"updates": [{"type": "web", "size": "huge"}]}, 422, "invalid_params", "No such size as huge; there are"),
        ({"updates": [{"type": "w" * 129}]}, 422, "invalid_params", "length <= 128"),
        (
            {"updates": [{"type": "web"}, {"type": "db"}]},
            404,
            "not_found",
            "Couldn't find that process type (db); there are web, worker",
        ),
        ({"updates": [{"type": "release", "quantity": 1}]}, 422, "invalid_params", "release is not scaled"),
    ],
)
def test_a_body_that_cannot_be_carried_out_changes_nothing(body: object, status: int, id_: str, message: str) -> None:
    with ApiServer() as server:
        answered, _, document = server.ask("PATCH", "/apps/shop/formation", body=body)
        assert isinstance(document, dict)
        assert (answered, document["id"]) == (status, id_)
        assert message in document["message"]
        assert done(server) == []


def test_a_body_that_is_too_large(server: ApiServer) -> None:
    with server.connect() as raw:
        raw.sendall(b"PATCH /apps/shop/formation HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n{")
        # The limit shows in what comes, not in what is announced; a client that sends on is cut off.
        try:
            for _ in range(40):
                raw.sendall(b" " * 65_536)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert re.match(rb"HTTP/1.1 413 .*payload_too_large", raw.recv(65_536), re.DOTALL)


def test_a_compressed_body_is_refused(server: ApiServer) -> None:
    status, _, document = server.ask(
        "PATCH", "/apps/shop/formation", body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}
    )
    assert isinstance(document, dict)
    assert (status, document["id"]) == (415, "unsupported_media_type")


def test_garbage_is_answered_and_cut_off(server: ApiServer) -> None:
    for garbage in (
        b"\x16\x03\x01\x02\x00\x01\x00\n\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
    ):
        with server.connect() as raw:
            raw.sendall(garbage)
            answer = raw.makefile("rb").read()
            assert re.match(rb"HTTP/1\.[01] 400 .*\r\n\r\n\{\"id\": \"bad_request\"", answer, re.DOTALL)
            assert b"Traceback" not in answer


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/vnd.heroku+json; version=3", 200),
        ("application/vnd.heroku+json; version=3.sdk", 200),
        ("application/vnd.heroku+json;version=3.cedar-acm", 200),
        ("application/json", 200),
        ("text/html,application/xhtml+xml,*/*;q=0.8", 200),
        ("application/vnd.heroku+json; version=2", 406),
        ("application/vnd.heroku+json; version=33", 406),
        ("text/html", 406),
    ],
)
def test_versions(accept: str, status: int) -> None:
    with ApiServer() as server:
        answered, _, document = server.ask("GET", "/apps", headers={"Accept": accept})
        assert answered == status
        if status == 406:
            assert isinstance(document, dict)
            assert document["id"] == "not_acceptable"
        assert server.ask("GET", "/healthz", headers={"Accept": accept})[0] == 200


def test_lists_come_in_pages(server: ApiServer) -> None:
    operations = server.operations
    assert isinstance(operations, MadeUpOperations)
    operations.quantities = {"web": 450}
    status, headers, first = server.ask("GET", "/apps/shop/dynos")
    assert (status, headers["next-range"]) == (206, "name ]web.200..; max=200")
    assert headers["accept-ranges"] == "name, id"
    assert headers["content-range"] == "name web.1..web.200; max=200"
    assert names(first) == [f"web.{number}" for number in range(1, 201)]
    status, headers, last = server.ask("GET", "/apps/shop/dynos", headers={"Range": "name ]web.400..; max=1000"})
    assert status == 200
    assert "next-range" not in headers
    assert names(last) == [f"web.{number}" for number in range(401, 451)]
    status, _, document = server.ask("GET", "/apps/shop/dynos", headers={"Range": "version ..; max=10"})
    assert isinstance(document, dict)
    assert (status, document["id"]) == (416, "requested_range_not_satisfiable")


def test_an_answer_that_is_known_is_not_sent_again(server: ApiServer) -> None:
    operations = server.operations
    assert isinstance(operations, MadeUpOperations)
    _, headers, _ = server.ask("GET", "/apps/shop/dynos")
    for known in (headers["etag"], f'"other", W/{headers["etag"]}', "*"):
        status, again, document = server.ask("GET", "/apps/shop/dynos", headers={"If-None-Match": known})
        assert (status, document) == (304, None)
        assert again["etag"] == headers["etag"]
        assert again["request-id"] != headers["request-id"]
    operations.states["web.1"] = SlotState.CRASHED
    status, changed, _ = server.ask("GET", "/apps/shop/dynos", headers={"If-None-Match": headers["etag"]})
    assert status == 200
    assert changed["etag"] != headers["etag"]


def test_head_answers_as_get_without_the_body(server: ApiServer) -> None:
    _, got, _ = server.ask("GET", "/apps/shop/dynos")
    status, headers, document = server.ask("HEAD", "/apps/shop/dynos")
    assert (status, document) == (200, None)
    assert headers["content-length"] == got["content-length"]
    assert headers["etag"] == got["etag"]


def test_a_bug_is_reported_here_and_not_there(server: ApiServer) -> None:
    secret = "hunter2"

    def fail() -> None:
        raise ValueError(secret)

    operations = server.operations
    assert isinstance(operations, MadeUpOperations)
    operations.on_look = fail
    status, headers, document = server.ask("GET", "/apps/shop/dynos")
    assert isinstance(document, dict)
    assert (status, document["id"]) == (500, "internal_server_error")
    assert secret not in str(document)
    ((request, error),) = server.bugs
    assert request == f"{headers['request-id']} GET /apps/shop/dynos"
    assert str(error) == secret
    server.bugs.clear()
    operations.on_look = lambda: None
    assert server.ask("GET", "/apps/shop/dynos")[0] == 200


def test_one_connection_too_many_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST_CONNECTIONS", 2)
    with ApiServer() as server, server.connect() as first, server.connect() as second:
        for kept in (first, second):
            kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert kept.recv(65_536).startswith(b"HTTP/1.1 200")
        with server.connect() as third:
            assert third.recv(65_536).startswith(b"HTTP/1.1 429")
            assert third.recv(1) == b""


@pytest.mark.parametrize("sent", [b"", b"GET /apps HT", b"GET /apps HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_head_that_does_not_come_ends_the_connection(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(connection, "KEEP_ALIVE_S", 0.01)
    with ApiServer() as server, server.connect() as silent:
        silent.sendall(sent)
        assert silent.recv(65_536) == b""


def test_a_body_that_does_not_come_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "BODY_S", 0.01)
    monkeypatch.setattr(connection, "LINGER_S", 0.01)
    with ApiServer() as server, server.connect() as slow:
        slow.sendall(b'PATCH /apps/shop/formation HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"updates"')
        answer = slow.makefile("rb").read()
        assert re.match(rb"HTTP/1.1 408 .*\r\n\r\n\{\"id\": \"request_timeout\"", answer, re.DOTALL)
        assert done(server) == []


def test_the_socket_stays_with_its_owner() -> None:
    """Another core goes on with it: neither closed nor removed when this one stops accepting."""
    with ApiServer() as server:
        assert server.ask("GET", "/healthz")[0] == 200
        still = socket.socket(fileno=os.dup(server.socket.fileno()))
        server.stop()
        assert server.path.is_socket()
        waiting = server.connect()  # in the backlog, until the next core accepts it
        still.setblocking(True)
        accepted, _ = still.accept()
        for each in (accepted, waiting, still):
            each.close()


HALF_CLOSED = b"GET /apps HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %b\r\n\r\n"


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_client_that_sends_no_more_is_answered(server: ApiServer, tcp: bool, times: int) -> None:
    """As `nc -N` does; and what it had not finished sending is nobody's request."""

    def connected() -> socket.socket:
        return socket.create_connection(("127.0.0.1", server.port)) if tcp else server.connect()

    request = HALF_CLOSED % server.token(scope=Scope.READ).encode()
    with connected() as connection:
        connection.settimeout(TIMEOUT_S)
        connection.sendall(request * times)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while received.count(b"HTTP/1.1 200 OK\r\n") < times or b'"shop"' not in received.rpartition(b"HTTP/1.1")[2]:
            data = connection.recv(65_536)
            assert data, received
            received += data
        if times == 1:
            assert connection.recv(1) == b"", "nothing more is awaited of it"
    for unfinished in (request[:-2], request.replace(b"GET", b"POST")[:-2] + b"Content-Length: 9\r\n\r\n{"):
        with connected() as connection:
            connection.settimeout(TIMEOUT_S)
            connection.sendall(unfinished)
            connection.shutdown(socket.SHUT_WR)
            assert not connection.recv(65_536).startswith(b"HTTP/1.1 2")
