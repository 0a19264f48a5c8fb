"""`dynod events`: what was done, by whom, and what happened by itself, in one order; kept in `serve` with the audit."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.app_folder import app_folder, toy
from support.serve import Serve, ServedApp
from support.up import Up, clean_environment, eventually

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApp]:
    folder = tmp_path_factory.mktemp("events")
    with Serve(folder / "state", toml="[dynos]\nsettle_s = 0\n") as serve:
        shop = serve.app(
            folder,
            "shop",
            procfile={"web": toy("web_server"), "worker": toy("waits"), "release": 'test -z "$BREAK"'},
            quantities={"web": 1, "worker": 1},
        )
        shop.wait_until_up("web.1", "worker.1")
        yield shop


def events(shop: ServedApp) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(shop.serve.done("events", "--json", "-a", "shop").stdout)
    return found


def test_what_was_done_and_what_happened_is_one_history(shop: ServedApp) -> None:
    shop.scale("worker=2")
    shop.wait_until_up("web.1", "worker.1", "worker.2")
    pid = shop.pids()["worker.2"]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    shop.wait_for_log(r"heroku\[worker\.2\]: State changed from \S+ to crashed")
    assert shop.serve.dynod("config:set", "BREAK=1", "-a", "shop").returncode == 1
    shop.restart(dyno="worker.1")

    def found() -> list[str] | None:
        actions = [event["action"] for event in events(shop)]
        return actions if "dyno.restart" in actions else None

    actions = eventually(found, what="the last of them")
    order = ["app.create", "formation.set", "dyno.crashed", "release.create", "release.failed", "dyno.restart"]
    places = [max(n for n, each in enumerate(actions) if each == action) for action in order[1:]]
    assert places == sorted(places)
    assert set(order) <= set(actions)
    by_action = {event["action"]: event for event in events(shop)}
    assert by_action["dyno.crashed"]["detail"].startswith("worker.2: process exited with status 137; crash 1 in a row")
    assert by_action["dyno.crashed"]["actor"] == "dynod"
    assert by_action["release.failed"]["detail"].endswith("the release command exited with status 1")
    assert by_action["dyno.restart"]["actor"] != "dynod"
    assert all(event["app"]["name"] == "shop" for event in events(shop))


def test_follow_goes_on_and_a_killed_core_forgets_nothing(shop: ServedApp) -> None:
    before = [event["id"] for event in events(shop)]
    core = shop.serve.core_pid()
    os.kill(core, signal.SIGKILL)
    shop.serve.core_pid(other_than=core)
    assert [event["id"] for event in events(shop)][: len(before)] == before
    child = subprocess.Popen(
        [sys.executable, "-m", "dynod", "events", "--follow", "--json", "-n", "1", "-a", "shop"],
        env={**clean_environment(), "DYNOD_SOCKET": str(shop.serve.socket)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        shop.serve.done("maintenance:on", "-a", "shop")
        line = json.loads(child.stdout.readline())
        assert line["action"] == "maintenance.on"
        assert line["id"] > before[-1]
    finally:
        child.kill()
        child.communicate()


def test_the_text_is_for_people_and_all_apps_are_named(shop: ServedApp) -> None:
    text = shop.serve.done("events", "--all").stdout
    assert " shop: app.create " in text
    assert shop.serve.dynod("events", "-a", "nope").returncode == 1


def test_up_has_events_in_memory(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"worker": toy("exits_at_once")})
    with Up(folder) as up:
        up.wait_for_line(r"heroku\[worker\.1\]: +State changed from \S+ to crashed")
        ended = subprocess.run(
            [sys.executable, "-m", "dynod", "events"],
            cwd=folder,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert "dyno.crashed" in ended.stdout
