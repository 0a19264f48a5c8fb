"""The basic flows with everything that only Linux has switched off, as on macOS.

`up` and `serve` must still start, route, scale, restart, survive their core and leave nothing. What is not promised
without Linux: that a daemon is found which has left its group and session, that a keeper killed together with its core
leaves no dyno behind, and that the half line in a pipe outlives a core.
"""

import os
import signal
from pathlib import Path

import pytest

from dynod.keeper.features import NAMES, WITHOUT
from support.app_folder import app_folder, toy
from support.serve import Serve
from support.up import Up, eventually

pytestmark = pytest.mark.timeout(120)
NOTHING = {WITHOUT: ",".join(NAMES)}
PROCFILE = {"web": toy("web_server"), "worker": toy("waits")}


def test_up_starts_routes_restarts_and_leaves_nothing(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile=PROCFILE)
    with Up(folder, "web=2", "worker", env=NOTHING) as up:
        up.wait_until_up("web.1", "web.2", "worker.1")
        assert {up.get("/").status for _ in range(6)} == {200}
        (worker,) = up.dyno_pids()["worker.1"]
        os.kill(worker, signal.SIGKILL)
        up.wait_for_line(r"heroku\[worker\.1\]: +Process exited with status 137")
        eventually(lambda: up.dyno_pids().get("worker.1") not in (None, [worker]), what="a fresh worker")


def test_a_process_that_its_dyno_left_in_its_group_goes_with_it(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"worker": toy("forks_grandchildren")})
    with Up(folder, env=NOTHING) as up:
        up.wait_until_up("worker.1")
        eventually(lambda: len(up.dyno_pids().get("worker.1", [])) > 1, what="grandchildren")


def test_a_core_that_is_killed_costs_no_dyno(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile=PROCFILE)
    with Up(folder, env=NOTHING) as up:
        up.wait_until_up("web.1", "worker.1")
        before = up.dyno_pids()
        core = up.core_pid()
        os.kill(core, signal.SIGKILL)
        up.core_pid(other_than=core)
        assert eventually(lambda: up.get("/").status == 200, what="an answer")
        assert up.dyno_pids() == before


def test_a_killed_keeper_takes_the_dynos_with_it(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile=PROCFILE)
    with Up(folder, env=NOTHING) as up:
        up.wait_until_up("web.1", "worker.1")
        up.send_signal(signal.SIGKILL)
        assert up.wait() == -signal.SIGKILL


def test_who_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    folder = app_folder(
        tmp_path, procfile={"worker": toy("ignores_sigterm")}, files={"dynod.toml": "[app]\ngrace_s = 1\n"}
    )
    with Up(folder, env=NOTHING) as up:
        up.wait_for_line(r"app\[worker\.1\]: +ready")
        assert up.stop() == 0
        up.wait_for_line(
            r"Error R12 \(Exit timeout\) -> At least one process failed to exit within 1 seconds of SIGTERM"
        )


def test_serve_runs_scales_restarts_and_destroys(tmp_path: Path) -> None:
    with Serve(tmp_path / "state", env=NOTHING) as serve:
        shop = serve.app(tmp_path, "shop", procfile=PROCFILE, quantities={"web": 2, "worker": 1})
        shop.wait_until_up("web.1", "web.2", "worker.1")
        before = shop.pids()
        assert shop.get("/").status == 200
        shop.scale("web=1", "worker+1")
        shop.wait_until_up("web.1", "worker.1", "worker.2")
        assert shop.pids()["web.1"] == before["web.1"]
        shop.restart()
        shop.wait()
        assert not set(before.values()) & set(shop.pids().values())
        assert shop.get("/").status == 200
        serve.done("apps:destroy", "shop", "--confirm", "shop")
        assert not serve.dyno_pids()
    with Serve(tmp_path / "state", env=NOTHING, mark=serve.mark) as again:
        again.wait_until_ready()
        assert again.app_names() == []


@pytest.mark.parametrize("name", NAMES)
def test_each_ability_may_be_missing_alone(tmp_path: Path, name: str) -> None:
    folder = app_folder(tmp_path, procfile=PROCFILE)
    with Up(folder, env={WITHOUT: name}) as up:
        up.wait_until_up("web.1", "worker.1")
        assert up.get("/").status == 200
