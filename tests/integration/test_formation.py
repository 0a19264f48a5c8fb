"""The formation under `dynod serve`: scaling up, down and to nothing, and what it leaves alone (heroku-semantics 2)."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app_folder import toy
from support.open_request import OpenRequest
from support.serve import Serve, ServedApp
from support.up import eventually

pytestmark = pytest.mark.timeout(120)
PROCFILE = {"web": toy("web_server"), "worker": toy("waits"), "clock": toy("waits")}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with Serve(tmp_path / "state") as running:
        running.wait_until_ready()
        yield running


def shop_of(serve: Serve, parent: Path, **quantities: int) -> ServedApp:
    shop = serve.app(parent, "shop", procfile=PROCFILE, quantities={"web": 0, **quantities})
    shop.wait_until_up(*(f"{kind}.{number}" for kind, count in quantities.items() for number in range(1, count + 1)))
    return shop


def test_several_types_at_once_and_nobody_who_runs_is_touched(serve: Serve, tmp_path: Path) -> None:
    shop = shop_of(serve, tmp_path, web=2, worker=2)
    before = shop.pids()
    shop.scale("web=3", "worker+1", "clock=1")
    shop.wait_until_up("web.1", "web.2", "web.3", "worker.1", "worker.2", "worker.3", "clock.1")
    middle = shop.pids()
    assert {name: middle[name] for name in before} == before
    shop.scale("web-1", "worker-2", "clock=0")
    shop.wait_until_up("web.1", "web.2", "worker.1")
    assert shop.pids() == {name: before[name] for name in ("web.1", "web.2", "worker.1")}
    assert shop.formation() == {"clock": 0, "web": 2, "worker": 1}
    scaled = [line for line in shop.log() if "Scaled to" in line]
    assert [line.split(" by user")[0] for line in scaled] == [
        "app[api]: Scaled to clock@1:Unsized web@3:Unsized worker@3:Unsized",
        "app[api]: Scaled to clock@0:Unsized web@2:Unsized worker@1:Unsized",
    ]


def test_no_type_is_scaled_where_one_is_refused(serve: Serve, tmp_path: Path) -> None:
    shop = shop_of(serve, tmp_path, web=1)
    refused = serve.dynod("ps:scale", "-a", "shop", "web=4", "wroker=1")
    assert refused.returncode == 1
    assert shop.formation() == {"clock": 0, "web": 1, "worker": 0}
    assert shop.states() == {"web.1": "up"}


def test_nothing_goes_below_nothing(serve: Serve, tmp_path: Path) -> None:
    shop = shop_of(serve, tmp_path, worker=1)
    shop.scale("worker-5")
    shop.wait_until({})
    assert shop.formation()["worker"] == 0


def test_relative_changes_from_everywhere_add_up(serve: Serve, tmp_path: Path) -> None:
    """While others wait for the disk: each counts from what the one before has left."""
    shop = shop_of(serve, tmp_path, worker=3)
    threads = [threading.Thread(target=shop.scale, args=("worker+1",)) for _ in range(12)]
    threads += [threading.Thread(target=shop.scale, args=("clock+2", "worker-1")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shop.formation() == {"clock": 6, "web": 0, "worker": 12}
    shop.wait()


def test_up_and_down_and_up_again_leaves_what_was_asked_for_last(serve: Serve, tmp_path: Path) -> None:
    """A dyno that is wanted again while it still stops comes back when it has ended, and only once."""
    shop = shop_of(serve, tmp_path, web=1, worker=1)
    for _ in range(5):
        shop.scale("worker=0", "web=0")
        shop.scale("worker=3", "web=2")
    shop.wait_until_up("web.1", "web.2", "worker.1", "worker.2", "worker.3")
    assert {name: len(pids) for name, pids in serve.dyno_pids().items()} == dict.fromkeys(shop.pids(), 1)
    assert shop.get("/").status == 200


def test_without_web_dynos_h14_and_back(serve: Serve, tmp_path: Path) -> None:
    shop = shop_of(serve, tmp_path, web=1)
    shop.scale("web=0")
    shop.wait_until({})
    assert shop.get("/").status == 503
    shop.wait_for_log(r'heroku\[router\]: at=error code=H14 desc="No web processes running"')
    shop.scale("web=1")
    assert shop.get("/").status == 200  # held until it is up


def test_a_dyno_that_is_scaled_away_answers_what_it_has(serve: Serve, tmp_path: Path) -> None:
    shop = shop_of(serve, tmp_path, web=1)
    gate = tmp_path / "shop" / "gate"
    os.mkfifo(gate)
    held = OpenRequest(serve, "/gate/gate")
    shop.wait_for_log(r"app\[web\.1\]: request waits at gate")
    pid = shop.pids()["web.1"]
    shop.scale("web=0")
    eventually(lambda: shop.get("/").status == 503, what="nobody gets, or waits for, what only finishes what it has")
    shop.wait_for_log(r"code=H14")
    assert not held.is_answered
    assert "Stopping all processes" not in "".join(shop.log())  # SIGTERM comes after its last answer
    gate.write_text("go")
    assert held.answer() == (200, b"passed\n")
    shop.wait_until({})
    shop.wait_for_log(r"heroku\[web\.1\]: Process exited with status 0")
    assert pid not in {process.pid for process in serve.processes()}


def test_the_highest_numbers_go_and_what_they_have_in_flight_is_answered(serve: Serve, tmp_path: Path) -> None:
    shop = shop_of(serve, tmp_path, web=3)
    before = shop.pids()
    held: dict[str, OpenRequest] = {}
    while not any("app[web.3]: request waits" in line for line in shop.log()):
        name = f"gate-{len(held)}"
        os.mkfifo(tmp_path / "shop" / name)
        held[name] = OpenRequest(serve, f"/gate/{name}")
        shop.wait_for_log(rf"request waits at gate {name}$")
    shop.scale("web=1")
    assert {json.loads(shop.get("/").body)["dyno"] for _ in range(10)} == {"web.1"}
    for name in held:
        (tmp_path / "shop" / name).write_text("go")
    assert {request.answer() for request in held.values()} == {(200, b"passed\n")}
    shop.wait_until_up("web.1")
    assert shop.pids()["web.1"] == before["web.1"]


def test_a_hundred_dynos_come_and_go(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "many", procfile={"worker": "sleep 1000"}, quantities={"worker": 100})
    shop.wait_until_up(*(f"worker.{number}" for number in range(1, 101)))
    pids = {process.pid for process in serve.processes() if process.dyno}
    assert len(pids) == 100
    shop.scale("worker=0")
    shop.wait_until({})
    assert not [process for process in serve.processes() if process.dyno]
    shop.wait_for_log("Process exited with status 143", count=100)
    log = shop.log()
    assert sum("Process exited with status 143" in line for line in log) == 100
    assert sum("State changed from starting to up" in line for line in log) == 100


def test_who_stops_while_many_start_does_not_wait_for_them_all(serve: Serve, tmp_path: Path) -> None:
    """Those that still wait for their turn to boot are never started."""
    (tmp_path / "gates").mkdir()
    gate = tmp_path / "gates" / "closed"
    os.mkfifo(gate)
    shop = serve.app(tmp_path, "many", procfile={"web": toy("web_server", "--gate", gate)}, quantities={"web": 100})
    shop.wait_for_log(r"waits before it binds")
    shop.scale("web=0")
    shop.wait_until({}, timeout_s=60)
    assert sum("Starting process" in line for line in shop.log()) < 50


def test_a_type_that_is_called_as_one_off_dynos_may_be_is_restarted_as_any_other(serve: Serve, tmp_path: Path) -> None:
    """`scheduler` is a common name, and Heroku's own for one-off dynos of its add-on."""
    procfile = {"scheduler": toy("waits"), "worker": toy("waits")}
    shop = serve.app(tmp_path, "shop", procfile=procfile, quantities={"scheduler": 1, "worker": 1})
    shop.wait_until_up("scheduler.1", "worker.1")
    before = shop.pids()
    shop.restart()
    shop.wait()
    shop.wait_until_up("scheduler.1", "worker.1")
    after = shop.pids()
    assert after["scheduler.1"] != before["scheduler.1"]
    assert after["worker.1"] != before["worker.1"]
