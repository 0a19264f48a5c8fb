"""`dynod ps` and its family against a running `dynod up`: what people type, what they see, and what the dynos do."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app_folder import app_folder, toy
from support.up import Up, clean_environment, eventually

TIMEOUT_S = 60
AGE = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d [+-]\d{4} \(~ \d+[smh] ago\)"
pytestmark = pytest.mark.timeout(180)


def dynod(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a verb in the folder and give back how it ended."""
    return subprocess.run(
        [sys.executable, "-m", "dynod", *arguments],
        cwd=folder,
        env={**clean_environment(), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def done(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb that must succeed."""
    ended = dynod(folder, *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended


def main_pids(up: Up) -> dict[str, int]:
    """By dyno, the process that the keeper started."""
    return {dyno: pids[0] for dyno, pids in up.dyno_pids().items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return app_folder(
        tmp_path,
        name="shop",
        procfile={"web": toy("web_server"), "worker": toy("waits"), "release": toy("waits")},
        app_json={"formation": {"web": {"quantity": 2}, "worker": {"quantity": 1}}},
    )


@pytest.fixture
def up(folder: Path) -> Iterator[Up]:
    with Up(folder) as running:
        running.wait_until_up("web.1", "web.2", "worker.1")
        yield running


def test_ps_shows_each_process_type_and_its_dynos(up: Up) -> None:
    shown = done(up.folder, "ps")
    assert re.fullmatch(
        rf"=== web \(Unsized\): \S.*web_server.py \(2\)\n\nweb\.1: up {AGE}\nweb\.2: up {AGE}\n\n"
        rf"=== worker \(Unsized\): \S.*waits.py \(1\)\n\nworker\.1: up {AGE}\n\n",
        shown.stdout,
    ), shown.stdout
    assert shown.stderr == ""
    assert "web.1" not in done(up.folder, "ps", "worker").stdout
    refused = dynod(up.folder, "ps", "db")
    assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", "dynod: No db dynos on ⬢ shop\n")


def test_ps_as_json_is_the_apis_own(up: Up) -> None:
    dynos = json.loads(done(up.folder, "ps", "--json").stdout)
    assert [(dyno["name"], dyno["state"], dyno["app"]["name"]) for dyno in dynos] == [
        ("web.1", "up", "shop"),
        ("web.2", "up", "shop"),
        ("worker.1", "up", "shop"),
    ]
    assert {dyno["name"]: dyno["dynod"]["pid"] for dyno in dynos} == main_pids(up)


def test_scaling_several_at_once_leaves_running_dynos_alone(up: Up) -> None:
    before = main_pids(up)
    scaled = done(up.folder, "ps:scale", "web+1", "worker-1")
    assert scaled.stderr == "Scaling dynos... done, now running web at 3:Unsized, worker at 0:Unsized\n"
    up.wait_for_line(r"app\[api\]: +Scaled to web@3:Unsized worker@0:Unsized by user \S+")
    done(up.folder, "ps:wait")
    up.wait_for_line(r"heroku\[worker\.1\]: +Process exited with status")
    assert done(up.folder, "ps:scale").stdout == "web=3:Unsized worker=0:Unsized\n"
    assert dynod(up.folder, "ps", "worker").returncode == 1
    after = main_pids(up)
    assert set(after) == {"web.1", "web.2", "web.3"}
    assert {name: after[name] for name in ("web.1", "web.2")} == {name: before[name] for name in ("web.1", "web.2")}
    # What `ps:scale` prints it also takes; the highest numbers go first.
    done(up.folder, "scale", "web=1:Unsized", "worker=0:Unsized")
    up.wait_for_line(r"heroku\[web\.2\]: +Process exited with status")
    up.wait_for_line(r"heroku\[web\.3\]: +Process exited with status")
    assert eventually(lambda: set(main_pids(up)) == {"web.1"}, what="web.1 alone")
    assert main_pids(up)["web.1"] == before["web.1"]


def test_without_a_web_dyno_the_router_says_so(up: Up) -> None:
    assert done(up.folder, "ps:scale", "web=0").stderr.endswith("done, now running web at 0:Unsized\n")
    assert eventually(lambda: "web" not in done(up.folder, "ps").stdout, what="no web dyno")
    assert up.get("/").status == 503
    up.wait_for_line(r"code=H14")
    done(up.folder, "ps:scale", "web=1")
    done(up.folder, "ps:wait", "--timeout", "30")
    assert up.get("/").status == 200


def test_relative_changes_at_the_same_time_all_count(up: Up) -> None:
    ended: list[subprocess.CompletedProcess[str]] = []
    threads = [
        threading.Thread(target=lambda: ended.append(dynod(up.folder, "ps:scale", "worker+1"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.returncode for each in ended] == [0] * 4, ended
    assert done(up.folder, "ps:scale").stdout == "web=2:Unsized worker=5:Unsized\n"


def test_restarting_web_leaves_no_gap(up: Up) -> None:
    before = main_pids(up)
    stop = threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        while not stop.is_set():
            statuses.append(up.get("/").status)

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    try:
        restarted = done(up.folder, "ps:restart", "web")
        done(up.folder, "ps:wait")
    finally:
        stop.set()
        for thread in asking:
            thread.join()
    assert restarted.stderr == "Restarting all web dynos on ⬢ shop... done\n"
    assert set(statuses) == {200}
    dynos = {dyno["name"]: dyno["dynod"]["pid"] for dyno in json.loads(done(up.folder, "ps", "--json").stdout)}
    assert dynos["worker.1"] == before["worker.1"]
    assert dynos["web.1"] != before["web.1"]
    assert dynos["web.2"] != before["web.2"]


def test_restarting_one_dyno_and_all(up: Up) -> None:
    before = main_pids(up)
    assert done(up.folder, "restart", "worker.1").stderr == "Restarting dyno worker.1 on ⬢ shop... done\n"
    done(up.folder, "ps:wait")
    between = {dyno["name"]: dyno["dynod"]["pid"] for dyno in json.loads(done(up.folder, "ps", "--json").stdout)}
    assert between["worker.1"] != before["worker.1"]
    assert {name: between[name] for name in ("web.1", "web.2")} == {name: before[name] for name in ("web.1", "web.2")}
    assert done(up.folder, "ps:restart").stderr == "Restarting all dynos on ⬢ shop... done\n"
    done(up.folder, "ps:wait")
    after = {dyno["name"]: dyno["dynod"]["pid"] for dyno in json.loads(done(up.folder, "ps", "--json").stdout)}
    assert not [name for name, pid in after.items() if pid == between[name]]


def test_a_dyno_that_is_stopped_comes_back(up: Up) -> None:
    """As on Heroku: `ps:stop` ends one-off dynos, and those of the formation only for a moment."""
    before = main_pids(up)["worker.1"]
    assert done(up.folder, "ps:stop", "worker.1").stderr == "Stopping dyno worker.1 on ⬢ shop... done\n"
    done(up.folder, "ps:wait")
    (worker,) = json.loads(done(up.folder, "ps", "worker", "--json").stdout)
    assert worker["dynod"]["pid"] != before
    assert "stopped by" in done(up.folder, "ps", "--why", "worker.1").stdout


def test_why_tells_what_has_happened(up: Up) -> None:
    (pid,) = [dyno["dynod"]["pid"] for dyno in json.loads(done(up.folder, "ps", "worker", "--json").stdout)]
    os.kill(pid, signal.SIGKILL)
    up.wait_for_line(r"heroku\[worker\.1\]: +Process exited with status 137")
    done(up.folder, "ps:wait")
    why = done(up.folder, "ps", "--why", "worker.1").stdout
    assert re.match(rf"=== worker\.1: up {AGE}\n\nProcess: pid \d+, port \d+\nCommand: .*waits.py\n\n", why)
    told = [line.split("  ", 1)[1] for line in why.rstrip().splitlines()[5:]]
    assert told[0] == "dynod up"
    assert "process exited with status 137" in told
    assert any(entry.startswith("crash 1 in a row") for entry in told)


def test_wait_gives_up_when_told_to(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, name="shop", procfile={"web": toy("waits"), "worker": toy("waits")})
    with Up(folder) as up:
        up.wait_until_up("worker.1")
        waited = dynod(folder, "ps:wait", "--timeout", "0")
        assert waited.returncode == 1
        assert waited.stderr.splitlines() == [
            "Waiting for every dyno of ⬢ shop to be up... !",
            "dynod: not up after 0 s: web.1 starting",
        ]


def test_sizes(up: Up) -> None:
    before = main_pids(up)
    resized = done(up.folder, "ps:type", "worker=standard-2x")
    assert resized.stderr == "Scaling dynos on ⬢ shop... done\n"
    assert resized.stdout.splitlines() == [
        "=== Process Types",
        "",
        "type    size         qty  memory",
        "──────  ───────────  ───  ────────",
        "web     Unsized      2    no quota",
        "worker  Standard-2X  1    1 GB",
        "",
        "=== Dyno Totals",
        "",
        "type         total",
        "───────────  ─────",
        "Unsized      2",
        "Standard-2X  1",
    ]
    done(up.folder, "ps:wait")
    after = {dyno["name"]: dyno["dynod"]["pid"] for dyno in json.loads(done(up.folder, "ps", "--json").stdout)}
    assert after["worker.1"] != before["worker.1"]  # a change of size restarts
    assert after["web.1"] == before["web.1"]


def test_apps(up: Up) -> None:
    assert done(up.folder, "apps").stdout == "=== Apps\n\nshop\n\n"
    info = done(up.folder, "apps:info").stdout
    assert info.startswith("=== ⬢ shop\n\nCreated At:  ")
    assert "Dynos:       web: 2, worker: 1\n" in info
    assert f"Web URL:     {up.router_url}" in info
    document = json.loads(done(up.folder, "apps:info", "--json").stdout)
    assert document["app"]["name"] == "shop"
    assert len(document["dynos"]) == 3


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["ps:scale", "web=x"], 2, 'expected TYPE=N, TYPE+N or TYPE-N, found "web=x"; for example: web=2 worker+1'),
        (["ps:scale", "web=3", "oops"], 2, 'expected TYPE=N, TYPE+N or TYPE-N, found "oops"'),
        (["ps:scale", "wroker=1"], 1, """Couldn't find that process type (wroker); did you mean "worker"?"""),
        (["ps:scale", "web=9999"], 1, "Cannot scale to more than 500 web dynos."),
        (["ps:scale", "release=1"], 1, "release is not scaled"),
        (["ps:restart", "web.9"], 1, "Couldn't find that dyno (web.9); there are web.1, web.2"),
        (["ps:restart", "wbe"], 1, """Couldn't find that process type (wbe); did you mean "web"?"""),
        (["ps:stop"], 2, "Please specify a process type or dyno name to stop."),
        (["ps:stop", "run.1"], 1, "Couldn't find that dyno (run.1); there are web.1, web.2, worker.1"),
        (["ps:restart", "-p", "web", "-d", "web.1"], 2, "one process type or one dyno, not 2: web, web.1"),
        (["ps:type", "web=huge"], 1, "No such size as huge; there are Unsized, Eco, "),
        (["ps:type", "db=eco"], 2, "Type db not found in process formation."),
        (["ps", "-a", "nope"], 1, "Couldn't find that app."),
        (["ps", "--why", "web.9"], 1, "Couldn't find that dyno (web.9); there are web.1, web.2"),
        (["ps", "--socket", "/nonexistent"], 1, "there is no socket /nonexistent (from --socket)"),
    ],
)
def test_what_is_refused_changes_nothing(shared_up: Up, arguments: list[str], status: int, message: str) -> None:
    before = main_pids(shared_up)
    refused = dynod(shared_up.folder, *arguments)
    assert refused.returncode == status
    assert f"dynod: {message}" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert done(shared_up.folder, "ps:scale").stdout == "web=2:Unsized worker=1:Unsized\n"
    assert main_pids(shared_up) == before


@pytest.fixture(scope="module")
def shared_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """For what changes nothing."""
    folder = app_folder(
        tmp_path_factory.mktemp("shared"),
        name="shop",
        procfile={"web": toy("web_server"), "worker": toy("waits"), "release": toy("waits")},
        app_json={"formation": {"web": {"quantity": 2}, "worker": {"quantity": 1}}},
    )
    with Up(folder) as running:
        running.wait_until_up("web.1", "web.2", "worker.1")
        yield running


def test_the_folder_of_a_dynod_is_found_from_below_it(shared_up: Up) -> None:
    below = shared_up.folder / "src" / "deep"
    below.mkdir(parents=True)
    assert "web.1: up" in done(below, "ps").stdout


def test_elsewhere_the_socket_is_named(shared_up: Up, tmp_path: Path) -> None:
    path = json.loads((shared_up.folder / ".dynod" / "up.json").read_text())["socket"]
    nothing = dynod(tmp_path, "ps", XDG_RUNTIME_DIR=str(tmp_path))
    assert nothing.returncode == 1
    assert nothing.stderr.startswith("dynod: no dynod runs here: start one with `dynod up`")
    assert "web.1: up" in done(tmp_path, "ps", "--socket", path).stdout
    assert "web.1: up" in dynod(tmp_path, "ps", DYNOD_SOCKET=path).stdout
    refused = dynod(tmp_path, "ps", "-a", "other", DYNOD_SOCKET=path)
    assert (refused.returncode, refused.stderr) == (1, "dynod: Couldn't find that app.\n")


def test_a_look_waits_for_the_next_core(up: Up) -> None:
    """The keeper holds the control socket: nobody is refused while one core is gone and the next is not there."""
    before = main_pids(up)
    core = up.core_pid()
    os.kill(core, signal.SIGKILL)
    assert "web.1: up" in done(up.folder, "ps").stdout
    assert up.core_pid(other_than=core)
    assert main_pids(up) == before


def test_a_mark_that_was_left_behind_is_named(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": toy("web_server")})
    path = tmp_path / "gone.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    (folder / ".dynod").mkdir()
    (folder / ".dynod" / "up.json").write_text(json.dumps({"app": "app", "pid": 1, "socket": str(path)}))
    refused = dynod(folder, "ps")
    assert refused.returncode == 1
    assert "has ended without clearing up: start it again with `dynod up`" in refused.stderr
