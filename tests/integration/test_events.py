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
from support.small_disk import OnSmallDisk, may_mount
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


def test_whatever_goes_wrong_is_an_event_with_its_cause_and_outlives_the_core(tmp_path: Path) -> None:
    """Crash, health, drain, disk and what was done meanwhile, in one history, followed over a killed core."""
    may_mount()
    checks = [{"type": "liveness", "name": "alive", "path": "/alive", "attempts": 1, "wait": 1, "timeout": 5}]
    with OnSmallDisk(tmp_path / "state", toml="[dynos]\nsettle_s = 0\nrestart = [300]\n", size_mb=40) as serve:
        shop = serve.app(
            tmp_path,
            "shop",
            procfile={"web": toy("healthy_by_file"), "worker": 'test -z "$BREAK" || exec python3 -c "import no_such"'},
            quantities={"web": 1, "worker": 0},
            app_json={"healthchecks": {"web": checks}},
        )
        shop.wait_until_up("web.1")
        with subprocess.Popen(
            [sys.executable, "-m", "dynod", "events", "--follow", "--json", "-n", "1000", "-a", "shop"],
            env={**clean_environment(), "DYNOD_SOCKET": str(serve.socket)},
            stdout=subprocess.PIPE,
            text=True,
        ) as follower:
            seen: list[dict[str, Any]] = []

            def until(action: str, detail: str = "") -> dict[str, Any]:
                assert follower.stdout is not None
                while not seen or seen[-1]["action"] != action or detail not in seen[-1]["detail"]:
                    seen.append(json.loads(follower.stdout.readline()))
                return seen[-1]

            try:
                me = until("app.create")["actor"]
                serve.done("drains:add", "http://127.0.0.1:1/", "-a", "shop")
                serve.done("config:set", "BREAK=1", "-a", "shop")
                assert until("release.create", "Set BREAK config vars")["actor"] == me
                assert until("release.live", "Set BREAK config vars")["actor"] == me
                serve.done("ps:scale", "worker=1", "-a", "shop")
                assert until("formation.set", "worker=1")["actor"] == me
                crashed = until("dyno.crashed")
                assert crashed["detail"].startswith("worker.1: process exited with status 1 (the module no_such is not")
                core = serve.core_pid()
                os.kill(core, signal.SIGKILL)
                serve.core_pid(other_than=core)
                (tmp_path / "shop" / "all.alive").touch()
                unhealthy = until("dyno.unhealthy")
                assert unhealthy["detail"].startswith("web.1: Liveness check failed once: ")
                assert "503" in unhealthy["detail"]
                assert unhealthy["actor"] == crashed["actor"] == "dynod"
                (tmp_path / "shop" / "all.alive").unlink()
                disk = os.statvfs(serve.state)
                filler = bytes(disk.f_bavail * disk.f_frsize - disk.f_blocks * disk.f_frsize // 40)
                (serve.state / "filler").write_bytes(filler)
                failing = until("drain.failing")
                assert failing["detail"].startswith("http://127.0.0.1:1/: ")
                assert [event["id"] for event in seen] == sorted({event["id"] for event in seen})
            finally:
                follower.kill()

        def low() -> dict[str, Any] | None:
            everything = json.loads(serve.done("events", "--all", "--json").stdout)
            return next((event for event in everything if event["action"] == "disk.low"), None)

        full = eventually(low, what="the disk is low")
        assert (full["app"], full["actor"]) == (None, "dynod")
        assert " MB are free, " in full["detail"]


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
