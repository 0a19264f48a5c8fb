"""`dynod features`, `settings` and `buildpacks`: what an app that runs does differently from then on."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app_folder import toy
from support.serve import Serve

pytestmark = pytest.mark.timeout(120)
WEB = {"web": toy("web_server")}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with Serve(tmp_path / "state") as running:
        running.wait_until_ready()
        yield running


def kill_core(serve: Serve) -> None:
    core = serve.core_pid()
    os.kill(core, signal.SIGKILL)
    serve.core_pid(other_than=core)


def test_features_of_a_running_app(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile=WEB, quantities={"web": 2})
    shop.wait_until_up("web.1", "web.2")
    assert shop.get("/").headers["set-cookie"] is None
    serve.done("features:enable", "log-runtime-metrics")
    enabled = serve.done("features:enable", "http-session-affinity")
    assert enabled.stderr == "Enabling http-session-affinity for ⬢ shop... done\n"
    cookie = shop.get("/").headers["set-cookie"]
    assert cookie is not None
    assert cookie.startswith("heroku-session-affinity=")
    pinned = {"Host": "shop.localhost", "Cookie": cookie.partition(";")[0]}
    listed = serve.done("features").stdout
    assert listed.startswith("=== App Features ⬢ shop\n\n")
    assert "\n[ ] preboot " in listed
    assert "[+] http-session-affinity  Send all requests" in listed
    assert "[+] log-runtime-metrics " in serve.done("labs").stdout
    assert "preboot" not in serve.done("labs").stdout
    again = serve.dynod("features:enable", "http-session-affinity")
    assert again.returncode == 1
    assert again.stderr.endswith("http-session-affinity is already enabled.\n")
    (dyno,) = {json.loads(serve.get("/", headers=pinned).body)["dyno"] for _ in range(8)}
    kill_core(serve)
    assert shop.get("/").headers["set-cookie"] is not None
    again_there = [serve.get("/", headers=pinned) for _ in range(8)]
    assert {json.loads(answer.body)["dyno"] for answer in again_there} == {dyno}, (
        "the next core does not know the cookie"
    )
    assert {answer.headers["set-cookie"] for answer in again_there} == {None}
    assert json.loads(serve.done("features:info", "http-session-affinity", "--json").stdout)["enabled"] is True
    since = len(shop.log())
    shop.wait_for_log(r"^heroku\[web\.[12]\]: source=web\.[12] dyno=heroku\.\d+\.\S+ sample#memory_total=", since=since)
    serve.done("labs:disable", "log-runtime-metrics")
    serve.done("features:disable", "http-session-affinity")
    assert shop.get("/").headers["set-cookie"] is None
    shop.wait_for_log(r"^app\[api\]: Disable http-session-affinity feature by user \S+$")
    assert "Enabled:     false\n" in serve.done("labs:info", "log-runtime-metrics").stdout


def test_settings_of_a_running_app(serve: Serve, tmp_path: Path) -> None:
    procfile = {**WEB, "worker": toy("ignores_sigterm")}
    shop = serve.app(tmp_path, "shop", procfile=procfile, quantities={"web": 1, "worker": 1})
    shop.wait_for_log(r"app\[worker\.1\]: ready")
    shop.wait_until_up("web.1", "worker.1")
    assert serve.done("settings").stdout == "⬢ shop has no settings of its own.\n"
    body = b"x" * 2000

    def posted() -> int:
        return serve.get("/", method="POST", headers={"Host": "shop.localhost"}, body=body).status

    assert posted() == 200
    changed = serve.done("settings:set", "max_body=1000", "worker.grace_s=0.5")
    assert changed.stderr == "Setting max_body, worker.grace_s of ⬢ shop... done\n"
    assert changed.stdout == "max_body: 1000\nworker.grace_s: 0.5\n"
    assert posted() == 413
    refused = serve.dynod("settings:set", "max_body=5", "worker.grace=1")
    assert refused.returncode == 1
    assert "worker.grace: no such setting" in refused.stderr
    assert serve.done("settings").stdout == "=== ⬢ shop Settings\n\nmax_body:       1000\nworker.grace_s: 0.5\n"
    assert "first_byte_timeout_s:  not set: " in serve.done("settings", "--all").stdout
    kill_core(serve)
    assert posted() == 413
    pid = shop.pids()["worker.1"]
    serve.done("ps:scale", "worker=0")  # the dyno that runs is held to what is set now
    shop.wait_for_log(r"heroku\[worker\.1\]: Error R12 .* within 0\.5 seconds of SIGTERM")
    shop.wait_until_up("web.1")
    assert pid is not None
    serve.done("settings:unset", "max_body")
    assert posted() == 200
    assert json.loads(serve.done("settings", "--json").stdout) == {"worker.grace_s": "0.5"}


def test_settings_hold_after_a_restart_of_the_daemon(tmp_path: Path) -> None:
    with Serve(tmp_path / "state") as serve:
        serve.app(tmp_path, "shop", procfile=WEB).wait_until_up("web.1")
        serve.done("settings:set", "max_body=10")
        serve.done("features:enable", "http-session-affinity")
    with Serve(tmp_path / "state", mark=serve.mark) as again:
        again.wait_until_ready()
        shop = again.known_app("shop")
        shop.wait_until_up("web.1")
        assert again.get("/", method="POST", headers={"Host": "shop.localhost"}, body=b"x" * 20).status == 413
        assert shop.get("/").headers["set-cookie"] is not None


def test_buildpacks(serve: Serve) -> None:
    serve.done("apps:create", "shop")
    assert serve.done("buildpacks").stdout == "⬢ shop has no Buildpacks.\n"
    said = serve.done("buildpacks:set", "heroku/python").stdout
    assert said == "Buildpack set. Next release on ⬢ shop will use heroku/python.\n"
    said = serve.done("buildpacks:add", "heroku/nodejs", "--index", "1").stdout
    assert said == ("Buildpack added. Next release on ⬢ shop will use:\n  1. heroku/nodejs\n  2. heroku/python\n")
    assert serve.done("buildpacks").stdout == "=== ⬢ shop Buildpacks\n\n1. heroku/nodejs\n2. heroku/python\n"
    serve.done("buildpacks:set", "https://example.com/b.tgz")
    assert json.loads(serve.done("buildpacks", "--json").stdout) == ["https://example.com/b.tgz", "heroku/python"]
    serve.done("buildpacks:remove", "-i", "1")
    assert serve.done("buildpacks").stdout == "=== ⬢ shop Buildpack\n\nheroku/python\n"
    for arguments in (["heroku/go"], ["-i", "2"]):
        missing = serve.dynod("buildpacks:remove", *arguments)
        assert (missing.returncode, "the buildpacks of shop" in missing.stderr) == (1, True)
    assert serve.dynod("buildpacks:remove").returncode == 2
    cleared = serve.done("buildpacks:clear").stdout
    assert cleared == "Buildpacks cleared. Next release on ⬢ shop will detect buildpacks normally.\n"


def test_a_dyno_is_told_of_its_app_and_release_where_that_is_wanted(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile={"worker": toy("describes_itself")}, quantities={"worker": 1})
    described = tmp_path / "shop" / "worker.1.json"

    def told() -> dict[str, str]:
        environment = json.loads(described.read_text())["environment"]
        return {name: value for name, value in environment.items() if name.startswith("HEROKU_")}

    shop.wait_for_log(r"app\[worker\.1\]: described")
    assert told() == {}
    serve.done("labs:enable", "runtime-dyno-metadata")
    since = len(shop.log())
    serve.done("ps:restart", "worker.1")
    shop.wait_for_log(r"app\[worker\.1\]: described", since=since)
    found = told()
    assert found.pop("HEROKU_RELEASE_CREATED_AT").endswith("Z")
    assert found == {
        "HEROKU_APP_ID": shop.id,
        "HEROKU_APP_NAME": "shop",
        "HEROKU_APP_DEFAULT_DOMAIN_NAME": "shop.localhost",
        "HEROKU_DYNO_ID": shop.dynos()["worker.1"]["id"],
        "HEROKU_RELEASE_VERSION": "v3",
        "HEROKU_SLUG_DESCRIPTION": f"Deploy {tmp_path / 'shop'}",
    }
