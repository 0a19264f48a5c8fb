"""`dynod serve`: its settings, its state, its apps, and which of them a request reaches."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import abilities, processes
from support.app_folder import app_folder, toy
from support.serve import Serve
from support.up import clean_environment, eventually, free_port

pytestmark = pytest.mark.timeout(120)
WEB = {"web": toy("web_server")}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """One with nothing in it."""
    with Serve(tmp_path / "state") as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """One for all tests to which other apps beside theirs are nothing, and among them is one that is `taken`."""
    parent = tmp_path_factory.mktemp("shared")
    with Serve(parent / "state") as running:
        running.wait_until_ready()
        running.app(parent, "taken", procfile={"worker": toy("waits")})
        yield running


def serve_once(tmp_path: Path, *arguments: str, toml: str = "") -> subprocess.CompletedProcess[str]:
    """`dynod serve` that is expected to end by itself."""
    config = tmp_path / "dynod.toml"
    config.write_text(toml)
    return subprocess.run(
        [sys.executable, "-m", "dynod", "serve", "--config", str(config), *arguments],
        env={**clean_environment(), **abilities.environment()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- starting ----------------------------------------------------------------------------------------------------


def test_it_starts_with_nothing_and_stops_clean(serve: Serve) -> None:
    assert serve.done("apps").stdout == "You have no apps.\n"
    answer = serve.get("/")
    assert answer.status == 404
    assert "No such app" in answer.text
    refused = serve.dynod("ps")
    assert (refused.returncode, refused.stderr) == (
        2,
        "dynod: this dynod has no app yet: make one with `dynod apps:create`\n",
    )
    assert serve.stop() == 0
    assert not serve.socket.exists()


def test_nobody_else_can_look_at_its_state(shared: Serve, tmp_path: Path) -> None:
    private = shared.app(tmp_path, "private", procfile=WEB)
    private.wait_until_up("web.1")
    for path in [shared.state, *shared.state.rglob("*"), shared.socket]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert not mode & 0o077, f"{path}: {mode:o}"


def test_check_looks_at_the_settings_and_starts_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    checked = serve_once(tmp_path, "--check", "--state", str(state), toml="[dynos]\ngrace_s = 5\n")
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert not state.exists()


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[dynos]\ngrace = 5\n", "dynos.grace: "),
        ("[dynos]\ngrace_s = -1\n", "dynos.grace_s: expected"),
        ("[serve]\nlisten = 'nowhere'\n", "serve.listen: expected"),
        ("[router]\nbalance = 'fair'\n", "balance"),
        ("[router]\nno_such_thing = 1\n", "no_such_thing"),
        ("[app]\ngrace_s = 5\n", "dynod settings:set -a APP"),
        ("serve = 5\n", "serve: expected a table"),
        ("[serve\n", "dynod.toml"),
        (
            '[serve]\nmetrics_token_file = "/nowhere/token"\n',
            "metrics_token_file: /nowhere/token: No such file or directory",
        ),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_made(tmp_path: Path, toml: str, message: str) -> None:
    state = tmp_path / "state"
    ended = serve_once(tmp_path, "--state", str(state), "--socket", str(tmp_path / "s"), toml=toml)
    assert ended.returncode == 1, ended.stderr
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not state.exists()
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[dynos]\ngrace = 5\n", "dynos.grace: "),
        ("[serve\n", "dynod.toml"),
        ("[router]\nbalance = 'fair'\n", "balance"),
    ],
)
def test_a_wrong_setting_is_told_by_check(tmp_path: Path, toml: str, message: str) -> None:
    """By the same look: the table above would be the same here."""
    state = tmp_path / "state"
    arguments = ["--state", str(state), "--socket", str(tmp_path / "s"), "--check"]
    ended = serve_once(tmp_path, *arguments, toml=toml)
    assert ended.returncode == 1, ended.stderr
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not state.exists()
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--socket", "/proc/dynod.sock", "cannot listen on /proc/dynod.sock"),
        ("--socket", "/dev/null/dynod.sock", "cannot listen on /dev/null/dynod.sock"),
        ("--socket", "/tmp/" + "x" * 110, "too long"),
        ("--state", "/dev/null/state", "/dev/null/state"),
        ("--listen", "192.0.2.1:5000", "192.0.2.1"),
    ],
)
def test_a_place_that_cannot_be_used_is_refused_by_name(tmp_path: Path, option: str, value: str, message: str) -> None:
    places = {
        "--state": str(tmp_path / "state"),
        "--socket": str(tmp_path / "socket"),
        "--listen": f"127.0.0.1:{free_port()}",
        option: value,
    }
    ended = serve_once(tmp_path, *(word for place in places.items() for word in place))
    assert ended.returncode == 1, ended.stderr
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_file_that_is_no_socket_is_not_replaced_by_one(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    ended = serve_once(
        tmp_path, "--state", str(tmp_path / "state"), "--socket", str(precious), "--listen", f"127.0.0.1:{free_port()}"
    )
    assert ended.returncode == 1, ended.stderr
    assert precious.read_text() == "mine"


def test_a_second_one_on_the_same_state_or_socket_or_port_is_refused(shared: Serve, tmp_path: Path) -> None:
    listen, before = f"127.0.0.1:{free_port()}", shared.app_names()
    state, other = str(shared.state), str(tmp_path / "other")
    same_state = serve_once(tmp_path, "--state", state, "--socket", str(tmp_path / "s"), "--listen", listen)
    assert same_state.returncode == 1
    assert "another dynod (pid" in same_state.stderr
    same_socket = serve_once(tmp_path, "--state", other, "--socket", str(shared.socket), "--listen", listen)
    assert same_socket.returncode == 1
    assert f"another dynod serves on {shared.socket}" in same_socket.stderr
    taken = f"127.0.0.1:{shared.port}"
    same_port = serve_once(tmp_path, "--state", other, "--socket", str(tmp_path / "s"), "--listen", taken)
    assert same_port.returncode == 1
    assert (
        f":{shared.port}: another program listens there: stop it, or choose another with --listen" in same_port.stderr
    )
    assert shared.app_names() == before  # and the first one still serves


def test_after_a_kill_state_and_socket_are_free_again(tmp_path: Path) -> None:
    with Serve(tmp_path / "state") as serve:
        shop = serve.app(tmp_path, "shop", procfile=WEB)
        shop.wait_until_up("web.1")
        for process in serve.processes():
            os.kill(process.pid, signal.SIGKILL)
        assert serve.wait() == -signal.SIGKILL
        processes.wait_until_gone(serve.mark, timeout_s=30)
        again = Serve(tmp_path / "state", mark=serve.mark)
        again.socket = serve.socket  # a dead socket lies there
        again._command[again._command.index("--socket") + 1] = str(serve.socket)
        with again:
            again.wait_until_ready()
            again.known_app("shop").wait_until_up("web.1")


# --- apps --------------------------------------------------------------------------------------------------------


def test_a_new_app_runs_one_web_dyno_and_is_reached_by_its_name(serve: Serve, tmp_path: Path) -> None:
    procfile = {**WEB, "worker": toy("waits"), "release": toy("waits")}
    folder = serve.folder_of(tmp_path, "shop-1", procfile=procfile)
    created = serve.done("apps:create", "shop", "--dir", str(folder))
    assert created.stderr == "Creating ⬢ shop... done\n"
    assert created.stdout == f"http://shop.localhost:{serve.port}/\n"
    shop = serve.known_app("shop")
    shop.wait_until_up("web.1")
    assert shop.formation() == {"release": 0, "web": 1, "worker": 0}
    assert json.loads(shop.get("/").body)["dyno"] == "web.1"
    assert serve.done("apps").stdout == "=== Apps\n\nshop\n\n"
    assert "Dynos:       web: 1\n" in serve.done("apps:info").stdout
    assert re.fullmatch(r"app\[api\]: Initial release by user \S+", shop.log()[0])


def test_app_json_says_how_many_there_are_at_first(shared: Serve, tmp_path: Path) -> None:
    procfile = {**WEB, "worker": toy("waits")}
    several = shared.app(tmp_path, "several", procfile=procfile, quantities={"web": 2, "worker": 1})
    several.wait_until_up("web.1", "web.2", "worker.1")


def test_a_relative_folder_is_the_callers(shared: Serve) -> None:
    shared.folder_of(shared.runtime, "here", procfile=WEB)
    shared.done("apps:create", "here", "--dir", "here")
    shared.known_app("here").wait_until_up("web.1")
    shutil.rmtree(shared.runtime / "here")


@pytest.mark.parametrize(
    ("name", "procfile", "message"),
    [
        ("Shop", "web: sleep 1\n", "app name"),
        ("shop-", "web: sleep 1\n", "app name"),
        ("s", "web: sleep 1\n", "app name"),
        ("x" * 31, "web: sleep 1\n", "app name"),
        ("taken", "web: sleep 1\n", "there is such an app already"),
        ("shop", None, "Procfile"),
        ("shop", "web sleep 1\nworker: sleep 1\n", "Procfile line 1"),
        ("shop", "web: no-such-program-anywhere\n", "no-such-program-anywhere"),
        ("shop", "web: sleep 1\nweb: sleep 2\n", "Procfile line 2"),
    ],
)
def test_an_app_that_is_refused_changes_nothing(
    shared: Serve, tmp_path: Path, name: str, procfile: str | None, message: str
) -> None:
    before, logs = shared.app_names(), os.listdir(shared.state / "logs")  # noqa: PTH208 (names)
    folder = app_folder(tmp_path, name="new", procfile=procfile)
    refused = shared.dynod("apps:create", name, "--dir", str(folder))
    assert refused.returncode == 1, refused.stderr
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr + str(shared.output)
    assert shared.app_names() == before
    assert [entry.name for entry in folder.iterdir()] == (["Procfile"] if procfile is not None else [])
    assert sorted(os.listdir(shared.state / "logs")) == sorted(logs)  # noqa: PTH208 (names)


def test_a_folder_that_is_none_is_refused(shared: Serve, tmp_path: Path) -> None:
    before = shared.app_names()
    for folder in (tmp_path / "missing", shared.config):
        refused = shared.dynod("apps:create", "shop", "--dir", str(folder))
        assert refused.returncode == 1
        assert str(folder) in refused.stderr
    assert shared.app_names() == before


def test_an_app_is_destroyed_only_when_its_name_is_said_again(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile=WEB)
    shop.wait_until_up("web.1")
    unasked = serve.dynod("apps:destroy", "shop")
    assert (unasked.returncode, unasked.stderr.splitlines()[-1]) == (
        2,
        "dynod: nobody answers here, and nothing was done: say it with --confirm shop",
    )
    refused = serve.dynod("apps:destroy", "shop", "--confirm", "shoe")
    assert refused.returncode == 2
    assert "confirmation did not match shop" in refused.stderr
    assert shop.states() == {"web.1": "up"}
    pid = shop.pids()["web.1"]
    assert serve.done("apps:destroy", "shop", "--confirm", "shop").stderr == "Destroying ⬢ shop... done\n"
    assert serve.app_names() == []
    assert pid not in {process.pid for process in serve.processes()}
    assert serve.get("/", headers={"Host": "shop.localhost"}).status == 404
    assert (tmp_path / "shop" / "Procfile").exists()
    assert list((serve.state / "logs").iterdir()) == []
    again = serve.done("apps:create", "shop", "--dir", str(tmp_path / "shop"))  # the name is free again
    assert again.returncode == 0
    new = serve.known_app("shop")
    assert new.id != shop.id
    new.wait_until_up("web.1")
    assert sum("Initial release by user" in line for line in new.log()) == 1  # none of the old one's lines


def test_an_app_whose_dyno_will_not_leave_is_destroyed_all_the_same(tmp_path: Path) -> None:
    """Longer than the 30 s that a client waits for an answer: the verb must wait on, and tell the truth."""
    with Serve(tmp_path / "state") as serve:
        procfile = {"worker": toy("ignores_sigterm")}
        stubborn = serve.app(tmp_path, "stubborn", procfile=procfile, quantities={"worker": 1})
        stubborn.wait_for_log(r"app\[worker\.1\]: ready")
        shop = serve.app(tmp_path, "shop", procfile=WEB)
        shop.wait_until_up("web.1")
        destroyed = serve.done("apps:destroy", "stubborn", "--confirm", "stubborn")
        assert destroyed.stderr == "Destroying ⬢ stubborn... done\n"
        assert serve.app_names() == ["shop"]
        assert set(serve.dyno_pids()) == {"web.1"}
        assert shop.get("/").status == 200


# --- which app a request reaches ---------------------------------------------------------------------------------


def test_requests_are_told_apart_by_host(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile=WEB)
    shop.wait_until_up("web.1")
    # The only app gets what names no app.
    assert json.loads(serve.get("/", headers={"Host": "example.com"}).body)["pid"] == shop.pids()["web.1"]
    blog = serve.app(tmp_path, "blog", procfile=WEB)
    blog.wait_until_up("web.1")

    def reached(host: str) -> object:
        answer = serve.get("/", headers={"Host": host})
        return json.loads(answer.body)["pid"] if answer.status == 200 else answer.status

    assert reached("shop.localhost") == shop.pids()["web.1"]
    assert reached("BLOG.localhost:80") == blog.pids()["web.1"]
    assert reached("blog.localhost.") == blog.pids()["web.1"]
    assert [reached(host) for host in ("example.com", "localhost", "127.0.0.1", "a.shop.localhost")] == [404] * 4
    assert "No such app" in serve.get("/", headers={"Host": "example.com"}).text
    serve.done("apps:destroy", "blog", "--confirm", "blog")
    assert reached("example.com") == shop.pids()["web.1"]
    assert reached("blog.localhost") == shop.pids()["web.1"]  # what names no app, again


def test_settings_name_the_domain_and_the_default_app(tmp_path: Path) -> None:
    toml = '[serve]\napps_domain = "apps.example"\ndefault_app = "shop"\n'
    with Serve(tmp_path / "state", toml=toml) as serve:
        blog = serve.app(tmp_path, "blog", procfile=WEB)
        blog.wait_until_up("web.1")
        assert serve.get("/", headers={"Host": "other.example"}).status == 404  # it is not the default
        assert serve.get("/", headers={"Host": "blog.apps.example"}).status == 200
        shop = serve.app(tmp_path, "shop", procfile=WEB)
        shop.wait_until_up("web.1")
        answer = serve.get("/", headers={"Host": "other.example"})
        assert json.loads(answer.body)["pid"] == shop.pids()["web.1"]


def test_many_apps_at_once(shared: Serve, tmp_path: Path) -> None:
    apps = [shared.app(tmp_path, f"app-{number}", procfile=WEB) for number in range(12)]
    for app in apps:
        app.wait_until_up("web.1")
    pids = {app.name: app.pids()["web.1"] for app in apps}
    assert {app.name: json.loads(app.get("/").body)["pid"] for app in apps} == pids
    assert len(set(pids.values())) == 12
    for app in apps:
        app.wait_for_log(r"heroku\[router\]: at=info")
        assert sum("heroku[router]: at=info" in line for line in app.log()) == 1


# --- a new start -------------------------------------------------------------------------------------------------


def test_apps_and_formation_survive_a_reboot(tmp_path: Path) -> None:
    with Serve(tmp_path / "state") as serve:
        shop = serve.app(tmp_path, "shop", procfile={**WEB, "worker": toy("waits"), "clock": toy("waits")})
        blog = serve.app(tmp_path, "blog", procfile={"worker": toy("waits")}, quantities={"worker": 1})
        shop.wait_until_up("web.1")
        serve.done("ps:scale", "-a", "shop", "web=2", "worker+3", "worker-1")
        serve.done("ps:type", "-a", "shop", "worker=standard-2x")
        serve.done("ps:scale", "-a", "blog", "worker=0")
        shop.wait()
        ids = shop.id, blog.id
    with Serve(tmp_path / "state", mark=serve.mark) as again:
        again.wait_until_ready()
        shop, blog = again.known_app("shop"), again.known_app("blog")
        assert (shop.id, blog.id) == ids
        shop.wait_until_up("web.1", "web.2", "worker.1", "worker.2")
        assert shop.formation() == {"clock": 0, "web": 2, "worker": 2}
        assert {dyno["size"] for dyno in shop.dynos().values()} == {"Unsized", "Standard-2X"}
        assert blog.dynos() == {}
        assert shop.get("/").status == 200


def test_a_folder_that_is_broken_by_then_changes_nothing(tmp_path: Path) -> None:
    with Serve(tmp_path / "state") as serve:
        serve.app(tmp_path, "shop", procfile=WEB).wait_until_up("web.1")
    (tmp_path / "shop" / "Procfile").write_text("web python\n")
    with Serve(tmp_path / "state", mark=serve.mark) as again:
        again.wait_for_line(r"^dynod: shop: .*Procfile line 1")
        again.wait_for_line(r"^dynod: shop: its folder is released when it is in order")
        again.known_app("shop").wait_until_up("web.1")
        assert again.get("/", headers={"Host": "shop.localhost"}).status == 200
        assert again.done("apps:destroy", "shop", "--confirm", "shop").returncode == 0


def test_a_folder_that_has_changed_by_then_is_a_new_release(tmp_path: Path) -> None:
    with Serve(tmp_path / "state") as serve:
        serve.app(tmp_path, "shop", procfile=WEB).wait_until_up("web.1")
    with (tmp_path / "shop" / "Procfile").open("a") as procfile:
        procfile.write(f"worker: {toy('counts')}\n")
    with Serve(tmp_path / "state", mark=serve.mark, toml="[dynos]\nsettle_s = 0.5\n") as again:
        again.wait_until_ready()
        shop = again.known_app("shop")
        shop.wait_for_log(r"app\[api\]: Release v4 created by user dynod")
        eventually(lambda: shop.formation() == {"web": 1, "worker": 0}, what="the new type is there, without dynos")
        shop.wait_until_up("web.1")
        assert shop.dynos()["web.1"]["release"]["version"] == 4


def test_a_folder_that_is_mended_runs_as_before(tmp_path: Path) -> None:
    with Serve(tmp_path / "state") as serve:
        shop = serve.app(tmp_path, "shop", procfile=WEB, quantities={"web": 2})
        shop.wait_until_up("web.1", "web.2")
    (tmp_path / "shop").rename(tmp_path / "away")
    with Serve(tmp_path / "state", mark=serve.mark) as again:
        again.wait_for_line(r"^dynod: shop: ")
        again.known_app("shop").wait_for_log(r"heroku\[web\.2\]: Process could not be started: .*/shop: No such file")
    (tmp_path / "away").rename(tmp_path / "shop")
    with Serve(tmp_path / "state", mark=serve.mark) as third:
        third.wait_until_ready()
        third.known_app("shop").wait_until_up("web.1", "web.2")


def test_the_environment_of_a_dyno_is_built_from_nothing(tmp_path: Path) -> None:
    with Serve(tmp_path / "state", env={"SECRET_OF_THE_CALLER": "x"}) as serve:
        shop = serve.app(
            tmp_path,
            "shop",
            procfile={"worker": toy("describes_itself")},
            quantities={"worker": 1},
            app_json={"env": {"GREETING": {"value": "hello"}}},
        )
        (tmp_path / "shop" / ".env").write_text("FROM_DOTENV=1\n")
        shop.wait_for_log(r"app\[worker\.1\]: described")
        environment = json.loads((tmp_path / "shop" / "worker.1.json").read_text())["environment"]
        assert environment["GREETING"] == "hello"
        assert environment["DYNO"] == "worker.1"
        assert re.fullmatch(r"2\d{4}", environment["PORT"])
        allowed = {"GREETING", "DYNO", "PORT", "PATH", "LANG", "TZ", "HOME", "PYTHONUNBUFFERED", processes.MARK}
        assert set(environment) <= allowed, set(environment) - allowed


def test_a_client_is_refused_while_it_stops_and_not_left_waiting(tmp_path: Path) -> None:
    with Serve(tmp_path / "state") as serve:
        shop = serve.app(tmp_path, "shop", procfile={**WEB, "worker": toy("ignores_sigterm")}, quantities={"worker": 1})
        shop.wait_for_log(r"app\[worker\.1\]: ready")
        serve.send_signal(signal.SIGTERM)
        shop.wait_for_log(r"app\[worker\.1\]: SIGTERM: no")

        def refused() -> bool:
            with socket.socket() as client:
                client.settimeout(1)
                return client.connect_ex(("127.0.0.1", serve.port)) != 0

        assert eventually(refused, what="connections are refused", timeout_s=10)
        serve.send_signal(signal.SIGTERM)
        assert serve.wait() == 128 + signal.SIGTERM


def test_an_option_that_is_none_is_a_wrong_usage(tmp_path: Path) -> None:
    ended = serve_once(tmp_path, "--no-such-option")
    assert ended.returncode == 2
    assert "--no-such-option" in ended.stderr
