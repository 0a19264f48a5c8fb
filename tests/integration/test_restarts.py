"""`ps:restart` under `dynod serve`: no gap, no lost request, and what happens when it meets something else."""

import contextlib
import json
import os
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynod.platform_api.client import ApiClient
from dynod.platform_api.finding import Daemon
from support.app_folder import TOYS, app_folder, toy
from support.counts import rounds
from support.open_request import OpenRequest
from support.serve import Serve, ServedApp
from support.steady_load import SteadyLoad
from support.up import Up, eventually

LONGEST_S = rounds(120, full=1800)  # of anything that is waited for under load
pytestmark = pytest.mark.timeout(LONGEST_S + 60)
REQUESTS = rounds(2_000, full=200_000)
RESTARTS = rounds(3, full=20)  # each of them of two web dynos
AT_LEAST_IN_FLIGHT = 20
SERVER = TOYS / "web_server.py"
# While the file "broken" is there it ends before it listens.
BREAKABLE = f"test ! -e broken || exit 3; exec {sys.executable} {SERVER}"
# Where there is a gate it waits there before it listens.
GATED = f"exec {sys.executable} {SERVER} $(test ! -e gate || echo --gate gate)"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with Serve(tmp_path / "state") as running:
        running.wait_until_ready()
        yield running


def test_no_request_fails_while_web_dynos_are_restarted(serve: Serve, tmp_path: Path) -> None:
    """contracts.md section 9: sent, failed, sent again by the router, in flight at each switch."""
    seed = random.SystemRandom().randrange(2**32)
    shop = serve.app(tmp_path, "shop", procfile={"web": toy("web_server", "--counts")}, quantities={"web": 2})
    shop.wait_until_up("web.1", "web.2")
    seen = [shop.pids()]
    started = time.monotonic()
    with SteadyLoad(serve.port, "shop.localhost", seed=seed) as load:
        for round_ in range(1, RESTARTS + 1):
            load.wait_for(round_ * REQUESTS // (RESTARTS + 1), timeout_s=LONGEST_S)
            shop.restart(process_type="web")
            shop.wait()
            seen.append(shop.pids())
        load.wait_for(REQUESTS, timeout_s=LONGEST_S)
    seconds = time.monotonic() - started
    shop.scale("web=0")
    shop.wait_until({})
    shop.wait_for_log(r"had \d+ timed requests", count=2 * RESTARTS + 2)
    eventually(lambda: len(router_lines(shop)) >= load.sent, what="a router line for each request")
    had = [re.search(r"had (\d+) timed requests", line) for line in shop.log()]
    received = sum(int(match[1]) for match in had if match)
    switches = load.switches({pid for pid in seen[0].values() if pid is not None})
    lines = router_lines(shop)
    in_flight = [switch.in_flight for switch in switches]
    leaving = [switch.with_leaving for switch in switches]
    print(
        f"seed {seed}: {RESTARTS} rolling restarts of 2 web dynos in {seconds:.0f} s: {load.sent} requests sent, "
        f"{load.posts} of them POSTs; {load.sent - load.outcomes['ok']} failed; {received - load.sent} sent again by "
        f"the router; {len(switches)} switches, in flight at a switch {min(in_flight)} to {max(in_flight)}, "
        f"with the dyno that left {min(leaving)} to {max(leaving)}; {len(lines)} router lines"
    )
    assert set(load.outcomes) == {"ok"}, load.outcomes
    assert received == load.sent, "a request was sent again, or a dyno did not end as it should"
    assert len({pid for pids in seen for pid in pids.values()}) == len(switches) + 2 == 2 * RESTARTS + 2
    assert min(in_flight) >= AT_LEAST_IN_FLIGHT
    assert all("at=info" in line for line in lines)
    assert len(lines) == load.sent


def router_lines(app: ServedApp) -> list[str]:
    return [line for line in app.log() if "heroku[router]: " in line]


def test_what_the_old_dyno_has_in_flight_it_answers(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile={"web": toy("web_server")})
    shop.wait_until_up("web.1")
    gate = tmp_path / "shop" / "gate"
    os.mkfifo(gate)
    held = OpenRequest(serve, "/gate/gate")
    shop.wait_for_log(r"app\[web\.1\]: request waits at gate")
    old = shop.pids()["web.1"]
    shop.restart(dyno="web.1")
    shop.wait()
    new = json.loads(shop.get("/").body)["pid"]
    assert new == shop.pids()["web.1"] != old
    assert not held.is_answered
    gate.write_text("go")
    assert held.answer() == (200, b"passed\n")
    shop.wait_for_log(r"heroku\[web\.1\]: Process exited with status 0")


def test_an_old_dyno_stays_where_the_new_one_does_not_come_up(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile={"web": BREAKABLE})
    shop.wait_until_up("web.1")
    old = shop.pids()
    (tmp_path / "shop" / "broken").touch()
    shop.restart(dyno="web.1")
    shop.wait_for_log(r"heroku\[web\.1\]: Process exited with status 3")
    shop.wait_for_log(r"heroku\[web\.1\]: web\.1 goes on with its old process: the new one did not come up")
    shop.wait_until_up("web.1")
    assert shop.pids() == old
    assert shop.get("/").status == 200
    (tmp_path / "shop" / "broken").unlink()
    shop.restart(dyno="web.1")
    shop.wait()
    assert shop.pids() != old


def test_asked_twice_it_ends_with_one_that_started_after_the_second(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile={"web": toy("web_server")}, quantities={"web": 2})
    shop.wait_until_up("web.1", "web.2")
    old = shop.pids()
    for _ in range(3):
        shop.restart(process_type="web")
    shop.wait()
    shop.wait_until_up("web.1", "web.2")
    new = shop.pids()
    assert not set(old.values()) & set(new.values())
    eventually(lambda: set(serve.dyno_pids()) == {"web.1", "web.2"} and _only(serve), what="nobody else is left")


def _only(serve: Serve) -> bool:
    return all(len(pids) == 1 for pids in serve.dyno_pids().values())


def test_a_dyno_that_boots_is_restarted_too(serve: Serve, tmp_path: Path) -> None:
    procfile = {"web": toy("web_server", "--gate", "gate")}
    folder = serve.folder_of(tmp_path, "shop", procfile=procfile)
    os.mkfifo(folder / "gate")
    serve.done("apps:create", "shop", "--dir", str(folder))
    shop = serve.known_app("shop")
    shop.wait_for_log(r"app\[web\.1\]: waits before it binds")
    first = shop.pids()["web.1"]
    shop.restart(dyno="web.1")
    shop.wait_for_log(r"app\[web\.1\]: waits before it binds", count=2)
    assert shop.pids()["web.1"] != first
    assert shop.states() == {"web.1": "starting"}
    (folder / "gate").write_text("go")
    shop.wait()
    assert shop.get("/").status == 200


@pytest.mark.parametrize("how", ["scale", "destroy", "stop"])
def test_a_restart_under_way_holds_nothing_up(tmp_path: Path, how: str) -> None:
    """Of three, the first boots and never listens; the others wait their turn and are gone before it comes."""
    with Serve(tmp_path / "state") as serve:
        shop = serve.app(tmp_path, "shop", procfile={"web": GATED}, quantities={"web": 3})
        shop.wait_until_up("web.1", "web.2", "web.3")
        os.mkfifo(tmp_path / "shop" / "gate")
        shop.restart(process_type="web")
        shop.wait_for_log(r"waits before it binds")
        match how:
            case "scale":
                shop.scale("web=0")
                shop.wait_until({})
                shop.scale("web=1")
                shop.wait_for_log(r"waits before it binds", count=2)
                (tmp_path / "shop" / "gate").write_text("go")
                shop.wait_until_up("web.1")
                shop.wait()  # no restart is under way any more
            case "destroy":
                serve.done("apps:destroy", "shop", "--confirm", "shop")
                assert serve.app_names() == []
            case _:
                pass
        assert serve.stop() == 0


def test_a_restart_of_a_crashed_dyno_does_not_wait_out_its_delay(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile={"worker": toy("waits")}, quantities={"worker": 1})
    shop.wait_until_up("worker.1")
    for crash in range(1, 5):
        pid = shop.pids()["worker.1"]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        shop.wait_for_log(r"Process exited with status 137", count=crash)
        shop.restart(dyno="worker.1")
        eventually(lambda pid=pid: shop.pids()["worker.1"] not in {None, pid}, what="the next one")  # type: ignore[misc]  # of a loop variable
        shop.wait_until_up("worker.1")
    assert "crash 2 in a row" not in "".join(shop.log())  # a person begins the ladder anew


def test_an_up_that_is_stopped_in_a_rolling_restart_ends(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": GATED})
    with Up(folder, "web=3") as up:
        up.wait_until_up("web.1", "web.2", "web.3")
        os.mkfifo(folder / "gate")
        mark = json.loads((folder / ".dynod" / "up.json").read_text())
        with contextlib.closing(ApiClient(Daemon(socket=mark["socket"], source=""))) as client:
            client.restart(mark["app"], process_type="web")
        up.wait_for_line(r"waits before it binds")
        assert up.stop() == 0
