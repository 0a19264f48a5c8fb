"""`dynod serve`: maintenance mode, renaming, and apps without code, by what a request and a restart show."""

import html
import json
import os
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynod.core.app_name import app_name_fault
from support.app_folder import toy
from support.serve import Serve, ServedApp

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


def status_of(serve: Serve, host: str) -> int:
    return serve.get("/", headers={"Host": host}).status


# --- maintenance -------------------------------------------------------------------------------------------------


def test_maintenance_answers_in_the_apps_place_at_once_and_leaves_its_dynos_alone(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile=WEB)
    shop.wait_until_up("web.1")
    pids = shop.pids()
    assert serve.done("maintenance").stdout == "off\n"
    on = serve.done("maintenance:on", "-a", "shop")
    assert (on.stdout, on.stderr) == ("", "Enabling maintenance mode for ⬢ shop... done\n")
    page = shop.get("/")
    assert page.status == 503
    assert "Offline for Maintenance" in page.text
    shop.wait_for_log(r"heroku\[router\]: at=info code=H80 desc=\"Maintenance mode\"")
    shop.wait_for_log(r"^app\[api\]: Enable maintenance mode by user \S+$")
    assert serve.done("maintenance").stdout == "on\n"
    assert "Maintenance: on\n" in serve.done("apps:info").stdout
    assert json.loads(serve.done("maintenance", "--json").stdout) == {"maintenance": True}
    serve.done("ps:restart", "web.1")
    shop.wait()
    assert shop.get("/").status == 503  # a dyno that comes up does not end it
    kill_core(serve)
    assert shop.get("/").status == 503
    off = serve.done("maintenance:off", "--json")
    assert json.loads(off.stdout)["maintenance"] is False
    assert shop.get("/").status == 200
    assert shop.pids() != pids


def test_pages_of_an_apps_own_are_named_by_config_vars(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile=WEB, quantities={"web": 0})
    error, down = "https://pages.example/error?a=1&b=2", "https://pages.example/down"

    def framed() -> str | None:
        answer = shop.get("/")
        assert answer.status == 503
        frame = re.search(r'<iframe src="([^"]*)">', answer.text)
        return html.unescape(frame[1]) if frame else None

    assert framed() is None
    serve.done("config:set", f"ERROR_PAGE_URL={error}", f"MAINTENANCE_PAGE_URL={down}")
    assert framed() == error
    serve.done(
        "settings:set", "error_page_url=https://operator.example/"
    )  # what is set for the router itself goes first
    assert framed() == "https://operator.example/"
    serve.done("settings:unset", "error_page_url")
    serve.done("maintenance:on")
    assert framed() == down
    kill_core(serve)
    assert framed() == down
    serve.done("maintenance:off")
    serve.done("config:set", "ERROR_PAGE_URL=no address")
    assert framed() is None


def test_maintenance_survives_a_restart_of_the_daemon(tmp_path: Path) -> None:
    with Serve(tmp_path / "state") as serve:
        serve.app(tmp_path, "shop", procfile=WEB).wait_until_up("web.1")
        serve.done("maintenance:on")
    with Serve(tmp_path / "state", mark=serve.mark) as again:
        again.wait_until_ready()
        shop = again.known_app("shop")
        shop.wait_until_up("web.1")
        assert shop.get("/").status == 503
        again.done("maintenance:off")
        assert shop.get("/").status == 200


# --- renaming ----------------------------------------------------------------------------------------------------


def test_a_renamed_app_is_another_host_and_the_same_dynos_and_log(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile={**WEB, "worker": toy("waits")}, quantities={"web": 1, "worker": 1})
    serve.app(tmp_path, "blog", procfile=WEB).wait_until_up("web.1")
    shop.wait_until_up("web.1", "worker.1")
    pids = shop.pids()
    renamed = serve.done("apps:rename", "-a", "shop", "store")
    assert renamed.stderr == "Renaming ⬢ shop to ⬢ store... done\n"
    assert renamed.stdout == f"http://store.localhost:{serve.port}/\n"
    assert serve.app_names() == ["blog", "store"]
    store = serve.known_app("store")
    assert (store.id, store.pids()) == (shop.id, pids)
    assert (status_of(serve, "store.localhost"), status_of(serve, "shop.localhost")) == (200, 404)
    store.wait_for_log(r"^app\[api\]: Rename to store by user \S+$")
    store.wait_for_log(r"heroku\[router\]: at=info .*host=store\.localhost")
    kill_core(serve)  # what runs is found again
    store.wait_until_up("web.1", "worker.1")
    assert store.pids() == pids
    serve.done("ps:scale", "-a", "store", "worker=0")
    store.wait_until_up("web.1")
    (tmp_path / "new").mkdir()
    serve.app(tmp_path / "new", "shop", procfile=WEB).wait_until_up("web.1")  # the name is free again
    assert status_of(serve, "shop.localhost") == 200


@pytest.mark.parametrize(("name", "message"), [("blog", "there is such an app already"), ("Shop!", "app name")])
def test_a_name_that_cannot_be_changes_nothing(serve: Serve, name: str, message: str) -> None:
    serve.done("apps:create", "shop")
    serve.done("apps:create", "blog")
    refused = serve.dynod("apps:rename", "-a", "shop", name)
    assert refused.returncode == 1
    assert message in refused.stderr
    assert serve.app_names() == ["blog", "shop"]


def test_the_default_app_stays_the_one_of_that_name(tmp_path: Path) -> None:
    with Serve(tmp_path / "state", toml='[serve]\ndefault_app = "shop"\n') as serve:
        serve.app(tmp_path, "shop", procfile=WEB).wait_until_up("web.1")
        assert status_of(serve, "example.com") == 200
        serve.done("apps:rename", "store")
        assert status_of(serve, "example.com") == 404
        serve.done("apps:rename", "shop")
        assert status_of(serve, "example.com") == 200


# --- apps without code -------------------------------------------------------------------------------------------


def test_an_app_without_code_waits_for_it(serve: Serve) -> None:
    created = serve.done("apps:create")
    match = re.fullmatch(r"Creating app\.\.\. done, ⬢ (\S+)\n", created.stderr)
    assert match is not None, created.stderr
    name = match[1]
    assert app_name_fault(name) is None
    assert created.stdout == f"http://{name}.localhost:{serve.port}/\n"
    assert serve.app_names() == [name]
    app = serve.known_app(name)
    app.wait_for_log(r"^app\[api\]: Initial release by user \S+$")
    assert app.get("/").status == 502
    app.wait_for_log(r"heroku\[router\]: at=info code=H81 desc=\"Blank app\"")
    for verb in (["run", "--no-tty", "true"], ["run:detached", "true"]):
        refused = serve.dynod(*verb)
        assert refused.returncode == 1
        assert "has no code yet" in refused.stderr
    assert serve.dynod("ps:scale", "web=1").returncode == 1
    kill_core(serve)
    assert app.get("/").status == 502
    assert serve.done("apps:destroy", name, "--confirm", name).returncode == 0


def test_an_app_without_code_is_there_after_a_restart(tmp_path: Path) -> None:
    with Serve(tmp_path / "state") as serve:
        serve.wait_until_ready()
        serve.done("apps:create", "shop")
    with Serve(tmp_path / "state", mark=serve.mark) as again:
        again.wait_until_ready()
        assert again.app_names() == ["shop"]
        assert again.known_app("shop").get("/").status == 502


def test_info_for_shells_can_be_read_by_one(serve: Serve, tmp_path: Path) -> None:
    shop: ServedApp = serve.app(tmp_path, "shop", procfile=WEB, quantities={"web": 2})
    shop.wait_until_up("web.1", "web.2")
    lines = dict(line.partition("=")[::2] for line in serve.done("apps:info", "-s").stdout.splitlines())
    values = {key: " ".join(shlex.split(value)) for key, value in lines.items()}
    assert values["name"] == "shop"
    assert json.loads(values["dynos"]) == {"web": 2}
    assert values["web_url"] == f"http://shop.localhost:{serve.port}/"
    assert values["maintenance"] == "false"
    assert {"created_at", "git_url", "owner", "region", "repo_size", "slug_size", "stack"} <= set(values)
