"""Under `dynod serve`: the core is killed, the keeper is killed, signals come (contracts 1)."""

import http.client
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import processes
from support.abilities import in_hand
from support.app_folder import toy
from support.counts import rounds
from support.serve import Serve, ServedApp
from support.up import eventually

ROUNDS = rounds(4, full=100)
pytestmark = pytest.mark.timeout(rounds(120, full=1800))
MOST_IN_HAND = 100  # lines of a worker that writes one every few milliseconds
GRACE_S = 10  # of those who will not leave: long enough for a core to be replaced meanwhile
PROCFILE = {"web": toy("web_server"), "worker": toy("counts")}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with Serve(tmp_path / "state", toml=f"[dynos]\ngrace_s = {GRACE_S}\n") as running:
        running.wait_until_ready()
        yield running


def two_apps(serve: Serve, parent: Path) -> list[ServedApp]:
    apps = [serve.app(parent, name, procfile=PROCFILE, quantities={"web": 2, "worker": 1}) for name in ("shop", "blog")]
    for app in apps:
        app.wait_until_up("web.1", "web.2", "worker.1")
    return apps


def kill_core(serve: Serve) -> None:
    core = serve.core_pid()
    os.kill(core, signal.SIGKILL)
    serve.core_pid(other_than=core)


def test_a_killed_core_costs_no_dyno_no_refusal_and_no_line(serve: Serve, tmp_path: Path) -> None:
    apps = two_apps(serve, tmp_path)
    before = [app.pids() for app in apps]
    histories = [app.dynos()["web.1"]["dynod"]["why"] for app in apps]
    outcomes: Counter[str] = Counter()
    done = threading.Event()

    def ask(app: ServedApp) -> None:
        while not done.is_set():
            try:
                outcome = str(app.get("/").status)
            except ConnectionRefusedError:
                outcome = "refused"
            except (OSError, http.client.HTTPException):
                outcome = "died with the core"
            outcomes[outcome] += 1

    asking = [threading.Thread(target=ask, args=(app,)) for app in apps]
    for thread in asking:
        thread.start()
    try:
        for _ in range(ROUNDS):
            answered = outcomes["200"]
            eventually(lambda answered=answered: outcomes["200"] > answered + 20, what="answers")  # type: ignore[misc]  # of a loop variable
            kill_core(serve)
    finally:
        done.set()
        for thread in asking:
            thread.join()
    assert [app.pids() for app in apps] == before
    assert [app.dynos()["web.1"]["dynod"]["why"] for app in apps] == histories
    assert set(outcomes) <= {"200", "died with the core"}, outcomes
    assert outcomes["died with the core"] <= ROUNDS * len(asking)
    for app in apps:
        counted = [int(line.split()[-1]) for line in app.log() if line.startswith("app[worker.1]: ")]
        assert len(set(counted)) >= max(counted) + 1 - counted[0] - in_hand(ROUNDS * MOST_IN_HAND)
        assert not any("State changed from up" in line for line in app.log())


def test_formation_and_sizes_that_were_changed_are_still_so(serve: Serve, tmp_path: Path) -> None:
    shop, blog = two_apps(serve, tmp_path)
    shop.scale("web=1", "worker=2:standard-1x")
    shop.wait()
    kill_core(serve)
    assert shop.formation() == {"web": 1, "worker": 2}
    assert shop.dynos()["worker.2"]["size"] == "Standard-1X"
    shop.wait_until_up("web.1", "worker.1", "worker.2")
    assert blog.formation() == {"web": 2, "worker": 1}
    blog.scale("web+1")  # and it can be changed on
    blog.wait_until_up("web.1", "web.2", "web.3", "worker.1")


def test_a_folder_or_settings_that_changed_since_matter_only_at_the_next_start(serve: Serve, tmp_path: Path) -> None:
    shop, _blog = two_apps(serve, tmp_path)
    before = shop.pids()
    (tmp_path / "shop" / "Procfile").write_text("nonsense")
    serve.config.write_text("[nonsense\n")
    kill_core(serve)
    assert shop.pids() == before
    shop.restart(dyno="worker.1")
    shop.wait()
    assert shop.pids()["worker.1"] != before["worker.1"]


def test_an_app_that_is_destroyed_while_the_core_dies_is_there_or_gone_and_nothing_is_left_over(
    serve: Serve, tmp_path: Path
) -> None:
    stubborn = serve.app(tmp_path, "stubborn", procfile={"worker": toy("ignores_sigterm")}, quantities={"worker": 1})
    stubborn.wait_for_log(r"app\[worker\.1\]: ready")
    destroying = threading.Thread(target=serve.dynod, args=("apps:destroy", "stubborn", "--confirm", "stubborn"))
    destroying.start()
    stubborn.wait_for_log(r"app\[worker\.1\]: SIGTERM: no")
    kill_core(serve)
    destroying.join()  # it is told that its connection was cut
    # What was not acknowledged was not done: the app is there, and is destroyed by asking again.
    assert serve.app_names() == ["stubborn"]
    serve.done("apps:destroy", "stubborn", "--confirm", "stubborn")
    assert serve.app_names() == []
    assert not serve.dyno_pids()


def test_lines_of_an_app_that_is_no_more_are_removed_at_the_next_start(serve: Serve, tmp_path: Path) -> None:
    """As a core leaves them that is killed when the app is forgotten and its history not yet removed."""
    shop = serve.app(tmp_path, "shop", procfile={"worker": toy("counts")})
    logs = serve.state / "logs"
    left = logs / "01234567-89ab-4cde-8f01-23456789abcd"
    left.mkdir()
    (left / "0-0.log").write_bytes(b"a line\n")
    kill_core(serve)
    eventually(lambda: not left.exists(), what="the folder is gone")
    assert [entry.name for entry in logs.iterdir()] == [shop.id]
    assert shop.log()


def test_a_stop_goes_on_in_the_next_core(serve: Serve, tmp_path: Path) -> None:
    app = serve.app(tmp_path, "stubborn", procfile={"worker": toy("ignores_sigterm")}, quantities={"worker": 1})
    app.wait_for_log(r"app\[worker\.1\]: ready")
    serve.send_signal(signal.SIGTERM)
    app.wait_for_log(r"app\[worker\.1\]: SIGTERM: no")
    kill_core(serve)
    assert serve.wait() == 0  # after the rest of the grace
    assert any("Error R12 (Exit timeout)" in line for line in app.log())


def test_a_killed_keeper_takes_everything_with_it(serve: Serve, tmp_path: Path) -> None:
    serve.app(tmp_path, "shop", procfile=PROCFILE, quantities={"web": 2, "worker": 1}).wait_until_up(
        "web.1", "web.2", "worker.1"
    )
    hiding = serve.app(tmp_path, "hiding", procfile={"worker": toy("daemonises", "worker")}, quantities={"worker": 1})
    hiding.wait_until_up("worker.1")
    serve.send_signal(signal.SIGKILL)
    assert serve.wait() == -signal.SIGKILL
    assert processes.wait_until_gone(serve.mark, timeout_s=30) == []


def test_a_hangup_changes_nothing(serve: Serve, tmp_path: Path) -> None:
    """It will reload the settings; until then it must not end anything."""
    shop = serve.app(tmp_path, "shop", procfile=PROCFILE)
    shop.wait_until_up("web.1")
    pids = shop.pids()
    for _ in range(3):
        serve.send_signal(signal.SIGHUP)
    shop.scale("web=2")
    shop.wait_until_up("web.1", "web.2")
    assert shop.pids()["web.1"] == pids["web.1"]
    kill_core(serve)  # the next one hears of all signals so far
    assert shop.pids()["web.1"] == pids["web.1"]
    assert shop.get("/").status == 200


def test_a_second_signal_waits_for_nobodys_grace(serve: Serve, tmp_path: Path) -> None:
    app = serve.app(tmp_path, "stubborn", procfile={"worker": toy("ignores_sigterm")}, quantities={"worker": 1})
    app.wait_for_log(r"app\[worker\.1\]: ready")
    serve.send_signal(signal.SIGTERM)
    app.wait_for_log(r"app\[worker\.1\]: SIGTERM: no")
    serve.send_signal(signal.SIGINT)
    assert serve.wait() == 128 + signal.SIGINT
