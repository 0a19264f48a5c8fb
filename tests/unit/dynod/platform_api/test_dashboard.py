"""The dashboard's page and who gets in by it: no secret in it, nothing from elsewhere, a session that may only look."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from typing import Final

import pytest

from dynod.core.api_token import Scope
from dynod.platform_api.dashboard import FOLDER, read_files
from dynod.platform_api.page_sessions import CODE_S, MOST_CODES, SESSION_S, PageSessions, Viewer
from dynod.platform_api.tcp_peer import NOBODY, user_of
from support.api_server import APP_ID, ApiServer

LARGEST: int = 60 * 1024
FILES = read_files()


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with ApiServer() as running:
        running.operations.views.clear()  # type: ignore[attr-defined]  # MadeUpOperations: apps that do not run
        yield running


def get(server: ApiServer, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    import http.client  # noqa: PLC0415 - what answers with a page and no JSON is asked for here alone

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    found = response.status, {name.lower(): value for name, value in response.headers.items()}, response.read()
    connection.close()
    return found


def session_of(server: ApiServer, **ticket: str) -> str:
    status, _, found = server.ask_tcp("POST", "/dynod/dashboard/sessions", body=ticket)
    assert status == 201, found
    assert isinstance(found, dict)
    return str(found["session"])


def new_code(server: ApiServer) -> str:
    status, _, found = server.ask("POST", "/dynod/dashboard/codes", body={})
    assert status == 201
    assert isinstance(found, dict)
    assert found["url"] == f"http://127.0.0.1:{server.port}"
    return str(found["code"])


# --- the page -------------------------------------------------------------------------------------------------------


def test_all_of_it_is_small_and_from_here() -> None:
    assert sum(map(len, FILES.values())) < LARGEST
    for name, content in FILES.items():
        text = content.decode()
        outside = [url for url in re.findall(r"(?:https?:)?//[\w.-]+", text) if not url.endswith("//www.w3.org")]
        assert outside == [], name
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|style=|\son\w+=", text), name


def test_the_page_names_files_that_there_are() -> None:
    page = FILES["index.html"].decode()
    named = set(re.findall(r'(?:href|src)="/dashboard/([^"]+)"', page))
    assert named == FILES.keys() - {"index.html"}
    for name, content in FILES.items():
        if name.endswith(".js"):
            assert set(re.findall(r'from "\./([^"]+)"', content.decode())) <= FILES.keys()
            wanted = set(re.findall(r'byId\("([^"]+)"\)', content.decode()))
            assert wanted <= set(re.findall(r'id="([^"]+)"', page)), name


def test_it_is_given_to_anybody_with_a_policy_that_lets_nothing_else_in(server: ApiServer) -> None:
    for path in ("/", *(f"/dashboard/{name}" for name in FILES)):
        status, headers, body = get(server, path)
        assert status == 200
        policy = headers["content-security-policy"]
        for part in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "trusted-types 'none'"):
            assert part in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-type"].startswith(("text/html", "text/css", "text/javascript", "image/svg+xml"))
        assert "set-cookie" not in headers
        assert get(server, path, If_None_Match=headers["etag"])[0] == 304
        assert body in FILES.values()


@pytest.mark.parametrize("path", ["/dashboard/", "/dashboard/page.py", "/dashboard/..%2fserver.py", "/dashboard/%00"])
def test_no_other_file_is(server: ApiServer, path: str) -> None:
    assert get(server, path)[0] in {401, 404}


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_on_its_ground(scheme: int) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1."""
    block = re.findall(r":root \{(.*?)\}", FILES["page.css"].decode(), re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    tones = [(name, f"{name}-ground") for name in ("good", "warn", "bad", "quiet")]
    grounds = product(("text", "quiet", "accent", "good", "warn", "bad"), ("card", "ground"))
    pairs = [*tones, *grounds, ("on-accent", "accent"), ("text", "quiet-ground")]
    for front, back in pairs:
        lighter, darker = sorted((luminance(colours[front]), luminance(colours[back])), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (front, back)


# --- who gets in ----------------------------------------------------------------------------------------------------


def test_a_code_opens_once(server: ApiServer) -> None:
    code = new_code(server)
    session = session_of(server, code=code)
    assert server.ask_tcp("GET", "/log-sessions/nonsense", token=session)[0] == 404
    assert server.ask_tcp("POST", "/dynod/dashboard/sessions", body={"code": code})[0] == 401
    assert server.ask_tcp("POST", "/dynod/dashboard/codes", token=server.token(), body={})[0] == 403


@pytest.mark.parametrize("body", [{}, {"code": "x"}, {"token": "x"}, {"token": "dynod-x"}, {"code": None}])
def test_nothing_else_does(server: ApiServer, body: object) -> None:
    assert server.ask_tcp("POST", "/dynod/dashboard/sessions", body=body)[0] == 401


def test_a_session_may_look_at_what_the_page_shows_and_at_nothing_else(server: ApiServer) -> None:
    session = session_of(server, token=server.token(scope=Scope.ADMIN))
    for method, path in [
        ("GET", "/apps"),
        ("GET", "/account"),
        ("GET", "/oauth/authorizations"),
        ("POST", "/oauth/authorizations"),
        ("GET", "/apps/shop/config-vars"),
        ("PATCH", "/apps/shop/formation"),
        ("POST", "/apps/shop/dynos"),
        ("DELETE", "/apps/shop"),
    ]:
        assert server.ask_tcp(method, path, token=session)[0] == 403, (method, path)
    assert server.ask_tcp("GET", "/dynod/dashboard/stream", token=session[:-1])[0] == 401
    assert server.ask_tcp("GET", "/dynod/dashboard/stream", token=f"{session}0")[0] == 401


def test_a_token_that_is_revoked_takes_its_sessions_along() -> None:
    with ApiServer() as own:
        session = session_of(own, token=own.token(scope=Scope.READ))
        assert own.ask_tcp("GET", "/apps/shop/release-changes", token=session)[0] == 422  # it has no store
        tokens = own.ask("GET", "/oauth/authorizations")[2]
        assert isinstance(tokens, list)
        (token,) = tokens
        assert own.ask("DELETE", f"/oauth/authorizations/{token['id']}")[0] == 200
        assert own.ask_tcp("GET", "/apps/shop/release-changes", token=session)[0] == 401


def test_a_token_of_one_app_looks_at_that_one() -> None:
    with ApiServer() as own:
        others = session_of(own, token=own.token(scope=Scope.READ, app_id="11111111-89ab-cdef-0123-456789abcdef"))
        assert own.ask_tcp("POST", "/apps/shop/log-sessions", token=others, body={})[0] == 404
        session = session_of(own, token=own.token(scope=Scope.READ, app_id=APP_ID))
        assert own.ask_tcp("GET", "/apps/shop/release-changes", token=session)[0] == 422


def test_of_web_pages_only_its_own_gets_in(server: ApiServer) -> None:
    own, other = f"http://127.0.0.1:{server.port}", "http://127.0.0.1:1"
    session = session_of(server, code=new_code(server))

    def ask(method: str, path: str, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return server.ask_tcp(method, path, token=session, headers=named)[0]

    missing = "/apps/nowhere/release-changes"
    assert ask("GET", missing, Sec_Fetch_Site="same-origin") == 422
    assert ask("GET", missing, Sec_Fetch_Site="same-origin", Origin=own) == 422
    for headers in (
        {"Sec_Fetch_Site": "same-site"},  # another port: an app's
        {"Sec_Fetch_Site": "cross-site"},
        {"Origin": other},
        {"Origin": "null"},
        {"Origin": own, "Sec_Fetch_Site": "cross-site"},
        {"Origin": other, "Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "same-origin", "Host": "evil.example"},
    ):
        assert ask("GET", missing, **headers) == 403, headers
    assert ask("GET", "/apps", Sec_Fetch_Site="same-origin") == 403
    assert get(server, "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="document")[0] == 200, "a link leads here"
    assert get(server, "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="iframe")[0] == 403


ANOTHER: Final = 65_534


def asked_by_another(port: int, path: str, body: dict[str, str]) -> str:
    """What another user of this machine is answered. Its shell asks, as it has to be a program that all may run."""
    text = json.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {len(text)}\r\n\r\n"
    script = f"exec 3<>/dev/tcp/127.0.0.1/{port}; cat >&3; cat <&3"
    ended = subprocess.run(
        ["/bin/bash", "-c", script],
        input=head + text,
        user=ANOTHER,
        group=ANOTHER,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return ended.stdout


@pytest.mark.skipif(
    os.geteuid() != 0 or sys.platform != "linux", reason="root alone can be another user, as Linux sees"
)
def test_a_code_is_of_no_use_to_other_users_of_the_machine(server: ApiServer) -> None:
    """They may have read it in the list of processes; whoever it was made for comes in with it even so."""
    code = new_code(server)
    answer = asked_by_another(server.port, "/dynod/dashboard/sessions", {"code": code})
    assert answer.startswith("HTTP/1.1 403 ")
    assert "This address is for a browser of root" in answer
    session_of(server, code=code)
    status, _, found = server.ask("POST", "/dynod/dashboard/codes", body={"uid": ANOTHER})
    assert status == 201, "root asks for whoever called sudo"
    assert isinstance(found, dict)
    assert " 201 " in asked_by_another(server.port, "/dynod/dashboard/sessions", {"code": str(found["code"])})


@pytest.mark.parametrize(
    ("family", "host", "asked"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::", "127.0.0.1"),
        (socket.AF_INET6, "::", "::ffff:127.0.0.1"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells")
def test_a_connection_has_a_user(family: int, host: str, asked: str) -> None:
    with socket.create_server((host, 0), family=family, dualstack_ipv6=host == "::") as listener:
        port = listener.getsockname()[1]
        with socket.create_connection((asked, port)) as client:
            taken, peer = listener.accept()
            with taken:
                ends = (peer[0], peer[1]), taken.getsockname()[:2]
                assert user_of(*ends) == os.getuid()
                client.close()
                taken.recv(1)
                assert user_of(*ends) in {NOBODY, None}, "it has gone"
    assert user_of(("192.0.2.1", 1), ("192.0.2.2", port)) is None


def test_codes_and_sessions_end() -> None:
    now = 1000.0
    sessions = PageSessions(b"secret", clock=lambda: now)
    alice = Viewer(user="alice")
    late, early = sessions.code(alice, uid=1000), sessions.code(alice, uid=1001)
    session = sessions.begin(alice)
    assert (sessions.made_for(late), sessions.made_for(early), sessions.made_for("x")) == (1000, 1001, None)
    now += CODE_S - 1
    assert sessions.redeem(early) == alice
    now += 1
    assert sessions.made_for(late) is None
    assert sessions.redeem(late) is None
    found = PageSessions(b"secret", clock=lambda: now).read(session)
    assert found is not None, "the next core knows it"
    assert found.viewer == alice
    assert PageSessions(b"another", clock=lambda: now).read(session) is None
    now += SESSION_S
    assert sessions.read(session) is None
    codes = [sessions.code(alice, uid=0) for _ in range(MOST_CODES + 1)]
    assert sessions.redeem(codes[0]) is None, "they are bounded"
    assert sessions.redeem(codes[-1]) == alice


def test_the_wheel_is_told_of_every_file() -> None:
    assert {path.name for path in FOLDER.iterdir()} == FILES.keys()
