"""The API of a running `dynod serve`, asked all that its own description allows, and what it does not: by schemathesis.

What a stand-in of the API answers to any bytes at all is in tests/unit (test_server_fuzz); here everything behind it is
real: store, releases, dynos.
"""

import json
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import APIOperation, Case, GenerationMode, openapi
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from support.counts import rounds
from support.serve import Serve, ServedApp
from support.up import free_port

pytestmark = pytest.mark.timeout(rounds(120, full=3600))
EXAMPLES: Final = rounds(3, full=100)  # of each operation, and of each kind
CHANGES: Final = rounds(6, full=60)  # by each of those who change one app at once
ANSWERED_WITHIN_S: Final = 30.0
TOML: Final = "[serve]\napi_calls_per_hour = 1000000000\n[dynos]\nsettle_s = 0\ngrace_s = 2\n"
MOST_DYNOS: Final = 2

# What goes on for as long as its reader likes, or is another protocol: asked in tests of their own.
ENDLESS: Final = ("/attach/", "/log-sessions/", "/dynod/events", "/git/", "/dynod/dashboard/stream")

UNGUESSABLE: Final = frozenset({"/blobs/{rest}", "/log-sessions/{key}"})  # whoever knows the path may


@dataclass(frozen=True, slots=True)
class Api:
    """Where it is, and a token that may do everything."""

    url: str
    token: str
    app: ServedApp

    def ask(self, method: str, path: str, **given: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}", **given.pop("headers", {})}
        return requests.request(method, f"{self.url}{path}", headers=headers, timeout=ANSWERED_WITHIN_S, **given)

    def operations(self) -> Iterator[APIOperation[Any, Any, Any, Any]]:
        """Of its own description."""
        schema = openapi.from_dict(self.ask("GET", "/openapi.json").json())
        for found in schema.get_all_operations():
            assert isinstance(found, Ok), found
            yield found.ok()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder, port = tmp_path_factory.mktemp("api"), free_port()
    with Serve(folder / "state", "--api", f"127.0.0.1:{port}", toml=TOML) as serve:
        serve.wait_until_ready()
        procfile = {"web": "exec sleep 100000", "worker": "exec sleep 100000"}
        app = serve.app(folder, "shop", procfile=procfile, quantities={"web": 0, "worker": 1})
        app.wait_until_up("worker.1")
        yield Api(f"http://127.0.0.1:{port}", serve.done("auth:create").stdout.strip(), app)
        assert "Traceback" not in str(serve.output)


def made_harmless(document: Any) -> Any:
    """What is a command, or a number of processes, as it may be on a machine that has other things to do."""
    if isinstance(document, dict):
        kept = {name: made_harmless(each) for name, each in document.items()}
        if isinstance(kept.get("command"), str):
            kept["command"] = "true"
        for name in ("quantity", "time_to_live"):
            if isinstance(kept.get(name), int):
                kept[name] = min(kept[name], MOST_DYNOS)
        return kept
    if isinstance(document, list):
        return [made_harmless(each) for each in document]
    return document


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_each_operation_answers_in_its_form_whatever_it_is_given(api: Api, mode: GenerationMode) -> None:
    """No 500, no hang, no traceback; what is refused says so as Heroku does."""
    asked: Counter[int] = Counter()

    def check(case: Case[Any]) -> None:
        case.body = made_harmless(case.body)
        response = case.call(
            base_url=api.url, headers={"Authorization": f"Bearer {api.token}"}, timeout=ANSWERED_WITHIN_S
        )
        asked[response.status_code] += 1
        case.validate_response(
            response, checks=[not_a_server_error, content_type_conformance, response_schema_conformance]
        )
        if response.status_code >= 400:
            assert set(response.json()) >= {"id", "message"}, response.text

    bounded = settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for operation in api.operations():
        if any(part in operation.path for part in ENDLESS):
            continue
        # The one app, by what a change of its name leaves as it is; others are made and destroyed on the way.
        named = {"app": api.app.id} if "{app}" in operation.path and operation.label != "DELETE /apps/{app}" else None
        bounded(given(operation.as_strategy(mode, path_parameters=named))(check))()
    print(dict(asked))
    assert asked[200] > EXAMPLES
    assert api.ask("GET", f"/apps/{api.app.id}").json()["id"] == api.app.id


def test_no_operation_is_for_whoever_has_no_token(api: Api) -> None:
    for operation in api.operations():
        path = operation.path.replace("{app}", api.app.id)
        for authorization in ("", "Bearer nonsense", f"Bearer {api.token}x", "Basic !", "Bearer " + "x" * 5000):
            answer = api.ask(operation.method.upper(), path, headers={"Authorization": authorization})
            open_ = operation.path == "/healthz"
            expected = {200} if open_ else {404} if operation.path in UNGUESSABLE else {401, 431}
            assert answer.status_code in expected, (operation.label, authorization[:20], answer.status_code)
    assert api.ask("GET", "/apps").status_code == 200


@pytest.mark.parametrize("path", ["/apps", "/apps/APP/formation", "/apps/APP/config-vars"])
def test_a_body_that_is_too_large_is_refused_before_it_is_read(api: Api, path: str) -> None:
    host, _, port = api.url.removeprefix("http://").partition(":")
    method = "POST" if path == "/apps" else "PATCH"
    path = path.replace("APP", api.app.id)
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {api.token}\r\n"
    for length in ("Content-Length: 1000000000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=ANSWERED_WITHIN_S) as connection:
            connection.sendall((head + length).encode())
            try:
                for _ in range(1000):  # as chunks: 64 MB, which no body of this API has
                    connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            except (BrokenPipeError, ConnectionResetError):
                continue  # it was told before it had sent all
            answer = connection.recv(65_536)
            assert answer.split()[1] in {b"413", b"400"}, answer
    assert api.ask("GET", "/apps").status_code == 200


TRAVERSALS: Final = (
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..",
    "....//",
    "%00",
    "shop%2f..",
    "/etc/passwd",
)


def test_names_that_lead_elsewhere_are_names_of_nothing(api: Api, tmp_path: Path) -> None:
    for operation in api.operations():
        if operation.method.upper() != "GET" or "{" not in operation.path:
            continue
        for name in TRAVERSALS:
            path = operation.path
            while "{" in path:
                path = f"{path.partition('{')[0]}{name}{path.partition('}')[2]}"
            answer = api.ask("GET", path)
            assert answer.status_code in {200, 400, 404}, (path, answer.status_code)
            assert b"root:" not in answer.content
    for name in ("../outside", "a/b", "..", "a\x00b", str(tmp_path)):
        made = api.ask("POST", "/apps", json={"name": name})
        assert made.status_code == 422, (name, made.text)


def test_many_who_change_one_app_at_once_each_get_what_they_were_told(api: Api) -> None:
    """Config vars, features, settings, domains, the formation, its name: all at the same time, each by its own."""
    app = f"/apps/{api.app.id}"

    def config(number: int) -> None:
        for name in ("A", "B"):
            answer = api.ask("PATCH", f"{app}/config-vars", json={name: str(number)})
            assert answer.status_code == 200, answer.text
            assert answer.json()[name] == str(number)

    def other_config(number: int) -> None:
        assert api.ask("PATCH", f"{app}/config-vars", json={"C": str(number)}).status_code == 200

    def feature(number: int) -> None:
        enabled = number % 2 == 0
        answer = api.ask("PATCH", f"{app}/features/preboot", json={"enabled": enabled})
        assert answer.json()["enabled"] is enabled

    def domain(number: int) -> None:
        hostname = f"n{number}.example.com"
        assert api.ask("POST", f"{app}/domains", json={"hostname": hostname}).status_code in {200, 201}
        if number % 2:
            assert api.ask("DELETE", f"{app}/domains/{hostname}").status_code == 200

    def scale(number: int) -> None:
        answer = api.ask("PATCH", f"{app}/formation/worker", json={"quantity": number % MOST_DYNOS})
        assert answer.status_code == 200, answer.text

    def name(number: int) -> None:
        assert api.ask("PATCH", app, json={"name": f"shop-{number}"}).status_code == 200

    def repeated(change: Any) -> None:
        for number in range(CHANGES):
            change(number)

    who = (config, other_config, feature, domain, scale, name)
    with ThreadPoolExecutor(len(who)) as threads:
        for done in [threads.submit(repeated, change) for change in who]:
            done.result()
    last = str(CHANGES - 1)
    assert api.ask("GET", app).json()["name"] == f"shop-{last}"
    found = api.ask("GET", f"{app}/config-vars").json()
    assert {key: found[key] for key in "ABC"} == dict.fromkeys("ABC", last)
    hostnames = {each["hostname"] for each in api.ask("GET", f"{app}/domains").json()}
    kept = {f"n{number}.example.com" for number in range(CHANGES)}
    assert hostnames & kept == {f"n{number}.example.com" for number in range(0, CHANGES, 2)}
    assert api.ask("GET", f"{app}/formation/worker").json()["quantity"] == (CHANGES - 1) % MOST_DYNOS
    releases = api.ask("GET", f"{app}/releases", headers={"Range": "version ..; max=1000"}).json()
    assert [each["version"] for each in releases] == list(range(1, len(releases) + 1)), json.dumps(releases)
