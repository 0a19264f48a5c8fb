"""Releases as another program makes them, over TCP with a token: of a slug that it uploads; knobs turned meanwhile."""

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from support import processes
from support.app_folder import TOYS
from support.serve import Serve, ServedApp
from support.tarballs import tarball
from support.up import eventually, free_port

pytestmark = pytest.mark.timeout(120)
TIMEOUT_S = 60.0


class Api:
    """A token's view of the API over TCP."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._token = token

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {self._token}"}
        return requests.request(method, f"{self.url}{path}", json=body, headers=headers, timeout=TIMEOUT_S)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, *, status: int = 200) -> Any:
        answer = self.send(method, path, body)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    folder, port = tmp_path_factory.mktemp("api"), free_port()
    with Serve(folder / "state", "--api", f"127.0.0.1:{port}", toml="[dynos]\nsettle_s = 0\n") as running:
        running.wait_for_line(rf"API on http://127\.0\.0\.1:{port}$")
        yield running


def api_of(serve: Serve, *arguments: str) -> Api:
    url = serve.output.wait_for_line(r"dynod: API on (http://\S+)$").group()
    return Api(url, serve.done("auth:create", *arguments).stdout.strip())


def live(api: Api, app: str, version: int) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        release: dict[str, Any] = api.ask("GET", f"/apps/{app}/releases/{version}")
        return release if release["status"] != "pending" else None

    return eventually(look, what=f"v{version} is live or not", timeout_s=TIMEOUT_S)


def test_a_slug_is_uploaded_and_released_with_a_token_of_that_app_alone(serve: Serve) -> None:
    """As deploy tools of Heroku's do it: POST slugs, PUT the archive, POST releases."""
    for name in ("made", "other"):
        serve.done("apps:create", name)
    serve.done("config:set", "-a", "made", f"{processes.MARK}={serve.mark}", "--no-wait")
    api, reader = api_of(serve, "-a", "made"), api_of(serve, "-a", "made", "--scope", "read")
    archive = tarball(
        {"server.py": (TOYS / "web_server.py").read_text(), "Procfile": "ignored: true\n"}, below="./app/"
    )
    checksum = f"SHA256:{hashlib.sha256(archive).hexdigest()}"
    wanted = {"process_types": {"web": f"{sys.executable} server.py"}, "checksum": checksum, "commit": "60883d9e"}
    reader.ask("POST", "/apps/made/slugs", wanted, status=403)
    api.ask("POST", "/apps/other/slugs", wanted, status=404)
    slug = api.ask("POST", "/apps/made/slugs", wanted, status=201)
    api.ask("POST", "/apps/made/releases", {"slug": slug["id"]}, status=422)  # nothing was uploaded yet
    assert slug["blob"]["url"].startswith(api.url)
    other = requests.put(slug["blob"]["url"], data=archive + b"x", timeout=TIMEOUT_S)
    assert other.status_code == 422, "another content than was announced"
    assert requests.put(slug["blob"]["url"], data=archive, timeout=TIMEOUT_S).status_code == 200
    reader.ask("POST", "/apps/made/releases", {"slug": slug["id"]}, status=403)
    made = api.ask("POST", "/apps/made/releases", {"slug": slug["id"], "description": "by hand"}, status=201)
    assert (made["description"], made["slug"]["id"]) == ("by hand", slug["id"])
    assert live(api, "made", made["version"])["status"] == "succeeded"
    app = serve.known_app("made")
    app.wait_until_up("web.1")
    assert app.get("/").status == 200
    given_back = requests.get(api.ask("GET", f"/apps/made/slugs/{slug['id']}")["blob"]["url"], timeout=TIMEOUT_S)
    assert given_back.content == archive
    api.ask("POST", "/apps/made/releases", {"slug": "01234567-89ab-cdef-0123-456789abcdef"}, status=404)
    assert app.get("/").status == 200


def test_a_knob_that_is_turned_while_a_release_is_pending_holds_for_its_dynos(serve: Serve, tmp_path: Path) -> None:
    procfile = {
        "worker": "trap 'echo USR1 came; exit 0' USR1; trap 'echo TERM came; exit 0' TERM; "
        "echo begun with $N; while :; do sleep 0.1; done",
        "release": "test ! -p gate || cat gate > /dev/null",
    }
    app: ServedApp = serve.app(tmp_path, "knobs", procfile=procfile, quantities={"worker": 1})
    app.wait_until_up("worker.1")
    api = api_of(serve)
    gate = tmp_path / "knobs" / "gate"
    os.mkfifo(gate)
    changed = api.send("PATCH", "/apps/knobs/config-vars", {"N": "1"})
    version = int(changed.headers["Dynod-Release"])
    app.wait_for_log(rf"Running release v{version} commands")
    serve.done("settings:set", "-a", "knobs", "worker.stop_signal=USR1")
    gate.write_bytes(b"go")
    assert live(api, "knobs", version)["status"] == "succeeded"
    app.wait_for_log(r"app\[worker\.1\]: begun with 1")
    gate.unlink()
    serve.done("ps:restart", "-a", "knobs", "worker")
    app.wait()
    app.wait_for_log(r"app\[worker\.1\]: USR1 came")
    app.wait_for_log(r"app\[worker\.1\]: begun with 1", count=2)
