"""Whatever is thrown at the API over its socket: an answer in Heroku's form or a closed connection, no 500, no hang.

One server for a test's examples; between them nothing is kept but the made-up formation.
"""

import contextlib
import json
import re
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynod.core.api_token import Scope
from support.api_server import APP_ID, ApiServer, id_of
from support.transcript import TIMEOUT_S
from support.up import eventually

STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) ")
fuzzing = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=150)


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with ApiServer() as running:
        yield running


refs = st.sampled_from(
    ["shop", APP_ID, "web", "web.1", "worker", "run", "db", id_of("web"), "release", "formation", "."]
)
segments = st.one_of(
    refs,
    st.sampled_from(["apps", "dynos", "formation", "formations", "actions", "stop", "dyno-sizes", "account"]),
    st.text(st.characters(codec="ascii", min_codepoint=0x21, exclude_characters="?#"), max_size=12),
    st.sampled_from(["%00", "%2e%2e", "%2F", "%ff", "%", "%zz", "..", "", "\xe9"]),
)
known_paths = st.builds(
    lambda app, tail, ref: f"/apps/{app}/{tail}".replace("REF", ref),
    refs,
    st.sampled_from(
        [
            *("formation", "formation/REF", "dynos", "dynos/REF", "dynos/REF/actions/stop", "formations/REF"),
            *("formations/REF/actions/stop", "available-dyno-sizes"),
        ]
    ),
    refs,
)
paths = st.one_of(known_paths, st.lists(segments, max_size=6).map(lambda parts: "/" + "/".join(parts)), st.just("*"))
methods = st.sampled_from(["GET", "HEAD", "PATCH", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 600), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)
)
quantities = st.one_of(scalars, st.integers(-9, 9).map("{:+d}".format), st.just("9" * 5000))
updates = st.fixed_dictionaries(
    {}, optional={"type": st.one_of(refs, scalars), "quantity": quantities, "size": scalars, "dyno_size": scalars}
)
bodies = st.one_of(
    st.binary(max_size=60),
    st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner)).map(json.dumps),
    updates.map(json.dumps),
    st.lists(updates, max_size=4).map(lambda entries: json.dumps({"updates": entries})),
    st.sampled_from(
        ['{"updates": ' * 5000, '{"updates":[{"type":"\\ud800","quantity":1}]}', '{"updates":[' + "1" * 9000]
    ),
).map(lambda body: body.encode() if isinstance(body, str) else body)
values = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\x00"), max_size=30).map(str.strip)
ranges = st.one_of(
    values,
    st.builds(
        "{} {}{}..{}; {}".format,
        st.sampled_from(["name", "id", "type", "version"]),
        st.sampled_from(["", "]"]),
        st.sampled_from(["", "web.1", "worker", "\xff", "z" * 300]),
        st.sampled_from(["", "web.2", "a", "..", "\xe9"]),
        st.sampled_from(["", "max=1", "max=0", "order=desc,max=2", "order=desc;;", "max=" + "9" * 99]),
    ),
)
headers = st.lists(
    st.one_of(
        ranges.map(lambda value: ("Range", value)),
        values.map(lambda value: ("If-None-Match", value)),
        st.sampled_from(["*/*", "application/json", "application/vnd.heroku+json; version=2", ";;,=", "text/html"]).map(
            lambda value: ("Accept", value)
        ),
        values.map(lambda value: ("Accept", value)),
        st.sampled_from(["gzip", "deflate", "identity", "br, gzip", "\xff"]).map(
            lambda value: ("Content-Encoding", value)
        ),
        st.sampled_from(["websocket", "h2c"]).map(lambda value: ("Upgrade", value)),
        st.sampled_from(["100-continue", "something"]).map(lambda value: ("Expect", value)),
        values.map(lambda value: ("X-Whatever", value)),
    ),
    max_size=4,
)


def request(method: str, path: str, fields: list[tuple[str, str]], body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in fields]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def answer_to(server: ApiServer, sent: bytes, *, ends: bool = True) -> bytes:
    """Everything that comes back until the connection is closed; a hang is a timeout, and fails."""
    with server.connect() as connection:
        try:
            connection.sendall(sent)
            if ends:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass
        received = b""
        try:
            while more := connection.recv(65_536):
                received += more
        except ConnectionResetError:
            pass
        return received


def check(server: ApiServer, answer: bytes) -> None:
    assert server.bugs == []
    assert b"Traceback" not in answer
    head, _, body = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    match = STATUS.match(head)
    assert match, answer
    status = int(match[1])
    assert status < 500, answer
    if status >= 400 and body:
        assert set(json.loads(body)) >= {"id", "message"}


@fuzzing
@given(method=methods, path=paths, fields=headers, body=bodies)
def test_any_request_is_answered(
    server: ApiServer, method: str, path: str, fields: list[tuple[str, str]], body: bytes
) -> None:
    check(server, answer_to(server, request(method, path, fields, body), ends=False))


@fuzzing
@given(body=bodies, one=st.booleans())
def test_any_body_of_a_scaling_is_answered(server: ApiServer, body: bytes, one: bool) -> None:
    path = "/apps/shop/formation/web" if one else "/apps/shop/formation"
    check(server, answer_to(server, request("PATCH", path, [], body), ends=False))


@fuzzing
@given(header=ranges, path=st.sampled_from(["/apps", "/apps/shop/dynos", "/apps/shop/formation", "/dyno-sizes"]))
def test_any_range_is_answered(server: ApiServer, header: str, path: str) -> None:
    check(server, answer_to(server, request("GET", path, [("Range", header)], b""), ends=False))


@fuzzing
@given(sent=st.binary(min_size=1, max_size=200), whole=st.booleans())
def test_any_bytes_end_in_an_answer_or_a_closed_connection(server: ApiServer, sent: bytes, whole: bool) -> None:
    """With the end of the request missing, the end of the connection is what frees the server."""
    with server.connect() as connection:
        connection.sendall(sent + (b"\r\n\r\n" if whole else b""))
    assert server.ask("GET", "/healthz")[0] == 200
    assert server.bugs == []


@fuzzing
@given(path=known_paths, body=bodies, cut=st.integers(0, 400))
def test_a_request_that_breaks_off_leaves_the_server_well(server: ApiServer, path: str, body: bytes, cut: int) -> None:
    with server.connect() as connection:
        connection.sendall(request("PATCH", path, [], body)[:cut])
    assert server.ask("GET", "/healthz")[0] == 200
    assert server.bugs == []


def test_no_connection_is_left_behind(server: ApiServer) -> None:
    """After as many broken ones as there may be connections at once, there is room for the next."""
    for _ in range(300):
        with server.connect() as connection:
            connection.sendall(b"PATCH /apps/shop/formation HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert eventually(lambda: server.ask("GET", "/apps")[0] == 200, what="room for a connection")


# --- over TCP ----------------------------------------------------------------------------------------------------

secrets = st.one_of(st.none(), st.sampled_from(["", "dynod-nonsense", "\xff"]), st.sampled_from(list(Scope)))
tcp_fields = st.lists(
    st.one_of(
        st.sampled_from(["localhost", "evil.example", "", "[::1]", "a b"]).map(lambda value: ("Host", value)),
        st.sampled_from(["null", "http://localhost"]).map(lambda value: ("Origin", value)),
        values.map(lambda value: ("Request-Id", value)),
        values.map(lambda value: ("Authorization", value)),
    ),
    max_size=2,
)
tcp_paths = st.one_of(
    paths,
    st.sampled_from(["/oauth/authorizations", "/oauth/authorizations/x", "/users/~/apps", "/schema", "/openapi.json"]),
    st.sampled_from(["/dynod/heroku-environment", "/account/rate-limits", "/log-sessions/x", "/apps/shop/addons"]),
)


@fuzzing
@given(secret=secrets, app=st.booleans(), method=methods, path=tcp_paths, fields=headers, more=tcp_fields, body=bodies)
def test_any_request_over_tcp_is_answered(
    *,
    server: ApiServer,
    secret: str | Scope | None,
    app: bool,
    method: str,
    path: str,
    fields: list[tuple[str, str]],
    more: list[tuple[str, str]],
    body: bytes,
) -> None:
    if isinstance(secret, Scope):
        token = server.token(scope=secret, app_id=APP_ID if app and secret is not Scope.ADMIN else None)
        more = [*more, ("Authorization", f"Bearer {token}")]
    elif secret is not None:
        more = [*more, ("Authorization", f"Bearer {secret}")]
    sent = request(method, path, [*fields, *more], body).replace(b"Host: x", b"Host: 127.0.0.1", 1)
    with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S) as connection:
        received = b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent)
            while more_data := connection.recv(65_536):
                received += more_data
    check(server, received)
    if not isinstance(secret, Scope) and path not in {"/healthz", "/"}:  # the dashboard's page: it holds nothing
        assert STATUS.match(received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"))
        assert b" 200 " not in received.partition(b"\r\n")[0]


@fuzzing
@given(sent=st.binary(min_size=1, max_size=300), tls=st.booleans())
def test_any_bytes_over_tcp_leave_the_server_well(server: ApiServer, sent: bytes, tls: bool) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S) as connection:
        connection.sendall((b"\x16\x03\x01" if tls else b"") + sent)
    assert server.ask("GET", "/healthz")[0] == 200
    assert server.bugs == []
