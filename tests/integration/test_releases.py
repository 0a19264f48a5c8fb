"""A change of release under the real `dynod serve`: it goes live as a whole or not at all, whatever fails or dies."""

import json
import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from support.app_folder import toy
from support.counts import rounds
from support.serve import Serve, ServedApp
from support.steady_load import SteadyLoad

if TYPE_CHECKING:
    from subprocess import CompletedProcess

pytestmark = pytest.mark.timeout(180)
QUICK = "[dynos]\nsettle_s = 0.3\ngrace_s = 5\n"
WEB = toy("web_server")
LOCK_ROUNDS = rounds(4, full=20)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with Serve(tmp_path / "state", toml=QUICK) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def kill_core(serve: Serve) -> None:
    core = serve.core_pid()
    os.kill(core, signal.SIGKILL)
    serve.core_pid(other_than=core)


def releases(app: ServedApp) -> dict[int, str]:
    """Status by version."""
    found = json.loads(app.serve.done("releases", "-a", app.name, "-n", "1000", "--json").stdout)
    return {each["version"]: each["status"] for each in found}


def running(app: ServedApp) -> dict[str, int]:
    """The release of each dyno."""
    return {name: dyno["release"]["version"] for name, dyno in app.dynos().items()}


def config(app: ServedApp, name: str) -> str:
    return app.serve.done("config:get", name, "-a", app.name).stdout.removesuffix("\n")


def set_later(pool: ThreadPoolExecutor, serve: Serve, *changes: str) -> "Future[CompletedProcess[str]]":
    return pool.submit(serve.dynod, "config:set", *changes)


def open_gate(gate: Path, *, times: int = 1) -> None:
    """Let whoever waits at the FIFO pass; returns once somebody has."""
    for _ in range(times):
        gate.write_bytes(b"go")


def waits_at(gate: Path) -> Callable[[], None]:
    """A FIFO in the app's folder; opens it."""
    os.mkfifo(gate)
    return lambda: open_gate(gate)


# --- what goes live ----------------------------------------------------------------------------------------------


def test_config_vars_take_web_over_without_a_failed_request(serve: Serve, tmp_path: Path) -> None:
    app = serve.app(tmp_path, "shop", procfile={"web": toy("web_server", "--counts")}, quantities={"web": 2})
    app.wait_until_up("web.1", "web.2")
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with SteadyLoad(serve.port, "shop.localhost", seed=seed) as load:
        load.wait_for(200, timeout_s=60)
        for number in range(2):
            assert serve.done("config:set", f"N={number}").stderr.endswith(f"done, v{4 + number}\n")
            load.wait_for(load.sent + 200, timeout_s=60)
    assert set(load.outcomes) == {"ok"}, load.outcomes
    assert running(app) == {"web.1": 5, "web.2": 5}
    assert len({one.pid for one in load.served}) == 6, "every process had requests"


def test_a_release_command_runs_first_and_its_output_is_kept_and_streamed(
    serve: Serve, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    procfile = {"web": WEB, "release": 'echo "begun with $N"; test -p gate && cat gate > /dev/null; echo migrated'}
    app = serve.app(tmp_path, "shop", procfile=procfile)
    app.wait_until_up("web.1")
    assert serve.dynod("releases:output").stderr == "dynod: Release v3 has no release output available.\n"
    pass_on = waits_at(tmp_path / "shop" / "gate")
    setting = set_later(pool, serve, "N=1")
    app.wait_for_log(r"app\[release\.\d+\]: begun with 1")
    assert running(app)["web.1"] == 3
    assert "v4  Set N config vars release command executing" in serve.done("releases").stdout
    following = pool.submit(serve.dynod, "releases:output", "v4")
    waiting = serve.dynod("config:set", "N=2", "--no-wait")
    assert waiting.stderr.endswith("recorded, v5\n")
    assert serve.dynod("releases:output", "v5").stderr == (
        "dynod: Release command not started yet. Please try again in a few seconds.\n"
    )
    assert serve.dynod("ps:wait", "--timeout", "0").returncode == 1
    kill_core(serve)
    pass_on()
    assert following.result().returncode in {0, 1}  # cut with the core, or reconnected by it
    assert setting.result().stderr == (
        "Setting N and restarting ⬢ shop... recorded, v4\n"
        "Running release command...\nbegun with 1\nmigrated\n"  # each once, though the core was killed meanwhile
        "done, v4\n"
    )
    app.wait_for_log(r"app\[release\.\d+\]: begun with 2")
    pass_on()
    app.wait()
    assert releases(app) == dict.fromkeys(range(1, 6), "succeeded")
    assert running(app)["web.1"] == 5
    assert set(serve.done("releases:output", "v4").stdout.splitlines()) == {"begun with 1", "migrated"}
    assert serve.done("releases:output", "v5").stdout == "begun with 2\nmigrated\n"
    assert sum("app[api]: Running release v4 commands" in line for line in app.log()) == 1


def test_back_and_forward_again(serve: Serve, tmp_path: Path) -> None:
    app = serve.app(tmp_path, "shop", procfile={"web": WEB})
    app.wait_until_up("web.1")
    for number in (1, 2):
        serve.done("config:set", f"N={number}")
    refused = serve.dynod("rollback", "v4")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[0] == "These config vars change back to what v4 had: N"
    back = serve.done("rollback", "--yes")
    assert back.stderr.splitlines()[1] == "Rolling back ⬢ shop to v4... done, v6"
    assert config(app, "N") == "1"
    serve.done("releases:rollback", "v5", "--yes")
    assert (config(app, "N"), running(app)) == ("2", {"web.1": 7})
    serve.done("rollback", "v4", "--code-only")
    assert (config(app, "N"), running(app)) == ("2", {"web.1": 8})
    assert serve.done("releases:diff", "v6", "v7").stdout == "=== ⬢ shop v6 … v7\n\nConfig vars:\n~ N\n\n"
    assert "- N=1\n+ N=2\n" in serve.done("releases:diff", "v6", "v7", "--values").stdout
    assert "No difference." in serve.done("releases:diff", "v7").stdout
    assert serve.dynod("rollback", "v1").stderr.splitlines()[-1] == "dynod: Cannot roll back to v1: it has no code."
    why = serve.done("ps", "--why", "web.1").stdout
    assert [line.split("  ")[1].split(" by ")[0] for line in why.splitlines() if " by " in line] == [
        "created",
        *(f"release v{number}" for number in range(4, 9)),
    ]


def test_two_changes_at_once_both_hold(serve: Serve, tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    app = serve.app(tmp_path, "shop", procfile={"web": WEB, "worker": toy("waits")}, quantities={"worker": 1})
    app.wait_until_up("web.1", "worker.1")
    for done in [set_later(pool, serve, f"{name}=1") for name in "ABC"]:
        assert done.result().returncode == 0, done.result().stderr
    assert [config(app, name) for name in "ABC"] == ["1", "1", "1"]
    assert releases(app) == dict.fromkeys(range(1, 7), "succeeded")
    assert running(app) == {"web.1": 6, "worker.1": 6}


# --- what fails --------------------------------------------------------------------------------------------------

BREAKS = {
    "release": r"release\.\d+: the release command exited with status 3\ncannot migrate",
    "crash": r"web\.1: process exited with status 3\nno such database",
    "boot": r"web\.1: .*R10 .*\nwaits before it binds",
    "port": r"web\.1: .*\b3999\b",
    "readiness": r"web\.1: Startup check failed once: .*exited with status 1; process exited with status 137",
    "worker": r"worker\.1: process exited with status 7\nno queue",
}


def test_whatever_fails_leaves_the_old_release_serving_and_says_why(serve: Serve, tmp_path: Path) -> None:
    web = (
        'case "$BAD" in '
        "crash) echo no such database; exit 3;; "
        f"boot) exec {toy('web_server', '--gate', 'gate')};; "
        f"port) exec {toy('web_server', '--port', 3999)};; "
        f"esac; exec {WEB}"
    )
    procfile = {
        "web": web,
        "worker": f'test "$BAD" != worker || {{ echo no queue; exit 7; }}; exec {toy("waits")}',
        "release": 'test "$BAD" != release || { echo cannot migrate; exit 3; }',
    }
    check = {"type": "startup", "command": ["sh", "-c", 'test "$BAD" != readiness'], "attempts": 1}
    app = serve.app(
        tmp_path,
        "shop",
        procfile=procfile,
        quantities={"worker": 1},
        app_json={"healthchecks": {"web": [check]}},
    )
    os.mkfifo(tmp_path / "shop" / "gate")
    app.wait_until_up("web.1", "worker.1")
    serve.done("config:set", "GOOD=1")
    web_pid = app.pids()["web.1"]
    for version, (how, why) in enumerate(BREAKS.items(), start=5):
        if how == "boot":
            serve.done("settings:set", "web.boot_timeout_s=1")
        failed = serve.dynod("config:set", f"BAD={how}", f"ONLY_{how.upper()}=1")
        assert failed.returncode == 1
        if how == "boot":
            serve.done("settings:unset", "web.boot_timeout_s")
        said = [line.removeprefix("dynod: ") for line in failed.stderr.splitlines()]
        assert said[0].endswith(f"restarting ⬢ shop... recorded, v{version}"), said
        assert said[1] == "Running release command..."
        assert ("cannot migrate" in said[2]) is (how == "release"), "what it printed"
        reason = said.index(f"release v{version} failed, and nothing has changed")
        text = "\n".join(said[reason + 1 :])
        assert re.search(why, text), (how, text)
        app.wait_until_up("web.1", "worker.1")
        assert running(app) == {"web.1": 4, "worker.1": 4}
        assert app.pids()["web.1"] == web_pid, "it served all along"
        assert app.get("/").status == 200
        assert (config(app, "BAD"), config(app, f"ONLY_{how.upper()}"), config(app, "GOOD")) == ("", "", "1")
        assert re.search(rf"^BAD: +{how}$", serve.done("releases:info", f"v{version}").stdout, re.MULTILINE)
        app.wait_for_log(rf"^app\[api\]: Release v{version} failed: .*; v4 goes on$")
    assert serve.done("config:set", "GOOD=2").stderr.endswith(f"done, v{5 + len(BREAKS)}\n")
    assert running(app) == dict.fromkeys(("web.1", "worker.1"), 5 + len(BREAKS))


def test_a_first_deploy_that_crashes_does_so_for_all_to_see(serve: Serve, tmp_path: Path) -> None:
    app = serve.app(tmp_path, "shop", procfile={"web": "echo nothing works; exit 3"})
    app.wait_for_log(r"heroku\[web\.1\]: Starting again in \d+ s \(crash 2 in a row\)")
    assert releases(app) == {1: "succeeded", 2: "succeeded", 3: "succeeded"}
    (tmp_path / "shop" / "Procfile").write_text(f"web: {WEB}\n")
    assert serve.done("config:set", "A=1").returncode == 0  # what crashed before is no measure
    assert running(app) == {"web.1": 4}


# --- what dies ---------------------------------------------------------------------------------------------------


def test_a_core_killed_while_web_boots_beside_or_a_worker_is_replaced_ends_on_one_release(
    serve: Serve, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    web = f'test -n "$GATE" && exec {toy("web_server", "--gate", "gate")}; exec {WEB}'
    app = serve.app(tmp_path, "shop", procfile={"web": web, "worker": toy("ignores_sigterm")}, quantities={"worker": 1})
    pass_on = waits_at(tmp_path / "shop" / "gate")
    app.wait_until_up("web.1", "worker.1")
    old = app.pids()["web.1"]
    setting = set_later(pool, serve, "GATE=1")
    app.wait_for_log(r"app\[worker\.1\]: SIGTERM: no")
    kill_core(serve)  # while the worker is replaced
    app.wait_for_log(r"app\[web\.1\]: waits before it binds")
    kill_core(serve)  # while web boots beside
    assert app.get("/").status == 200
    assert app.pids()["web.1"] == old
    assert serve.dynod("ps").returncode == 0
    pass_on()
    assert setting.result().stderr == "Setting GATE and restarting ⬢ shop... done, v4\n", setting.result()
    app.wait()
    assert releases(app)[4] == "succeeded"
    assert running(app) == {"web.1": 4, "worker.1": 4}
    # Counted by what dynod says: a line of the dyno's own may be repeated by the core that takes over.
    starts = [line for line in app.log() if "heroku[web.1]: Starting process" in line]
    assert len(starts) == 2, "what booted goes on booting"


def test_a_pending_release_is_gone_on_with_by_a_fresh_start(
    serve: Serve, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    procfile = {"web": WEB, "release": "echo begun; test ! -p gate || cat gate > /dev/null"}
    app = serve.app(tmp_path, "shop", procfile=procfile)
    app.wait_until_up("web.1")
    gate = tmp_path / "shop" / "gate"
    os.mkfifo(gate)
    setting = set_later(pool, serve, "N=1")
    app.wait_for_log(r"app\[release\.\d+\]: begun")
    serve.send_signal(signal.SIGKILL)  # all of it: power has failed
    assert serve.wait() == -signal.SIGKILL
    assert setting.result().returncode == 1
    gate.unlink()
    with Serve(tmp_path / "state", toml=QUICK, mark=serve.mark) as again:
        again.wait_until_ready()
        shop = again.known_app("shop")
        shop.wait()
        assert releases(shop) == dict.fromkeys(range(1, 5), "succeeded")
        assert (running(shop), config(shop, "N")) == ({"web.1": 4}, "1")


# --- what must never be ------------------------------------------------------------------------------------------


def test_a_worker_with_a_lock_is_released_many_times_and_never_meets_itself(serve: Serve, tmp_path: Path) -> None:
    record = tmp_path / "record"
    app = serve.app(tmp_path, "shop", procfile={"worker": toy("holds_lock", record)}, quantities={"worker": 1})
    app.wait_for_log(r"app\[worker\.1\]: ready")
    for number in range(LOCK_ROUNDS):
        if number % 2:
            serve.done("config:set", f"N={number}", "--no-wait")
            kill_core(serve)
        serve.done("config:set", f"N={number}")
        app.wait()
    lines = record.read_text().splitlines()
    assert "two run" not in lines
    began = [line.split()[0] for line in lines if line.endswith("began")]
    assert began == ["-", *map(str, range(LOCK_ROUNDS))]
    assert lines == [f"{name} {what}" for name in began for what in ("began", "ended")][:-1], "one after the other"


def test_a_websocket_held_open_delays_no_release_beyond_its_grace(serve: Serve, tmp_path: Path) -> None:
    app = serve.app(tmp_path, "shop", procfile={"web": toy("websocket_echo")})
    app.wait_until_up("web.1")
    address = f"ws://127.0.0.1:{serve.port}/"
    with connect(address) as held:
        assert held.recv() == "web.1"
        assert serve.done("config:set", "A=1").stderr.endswith("done, v4\n")
        assert running(app) == {"web.1": 4}
        with connect(address) as new:
            assert new.recv() == "web.1"
            with pytest.raises(ConnectionClosed):
                held.recv(timeout=60)  # the old dyno ends within its grace, and with it what it held
            new.send("on")
            assert new.recv() == "on"
