"""How far dynos are kept apart on machines that give less: in a plain container of Docker, and to who is not root."""

import contextlib
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dynod.keeper import landlock
from support.app_folder import TOYS, toy
from support.boxed import AS_NOBODY, AS_ROOTLESS, AS_SERVICE, IN_DOCKER, NOBODY, Boxed, needs_root
from support.contained import abstract_socket, needs_containers
from support.serve import Serve, ServedApp
from support.up import eventually

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.needs_ability("subreaper", "proc", "netlink", reason="such machines, and users of apps, are Linux's"),
]
# It runs where the dyno does, or the shop's web dynos never come up.
CHECK = {
    "type": "startup",
    "name": "place",
    "command": ["sh", "-c", 'test "$PWD" = "$HOME" && test -f ../copied && ls'],
}
SETTINGS = {"DYNOD_DYNOS_SETTLE_S": "0.2", "DYNOD_CONTAINER_WRITE_MB": "20"}
# Half of it beside the code, all of it long ago: the file by which it says when its copy was whole is its own too.
FORGES = """\
ls
head -c 12500000 /dev/zero >more; head -c 12500000 /dev/zero >$TMPDIR/more
touch -d @1 more $TMPDIR/more; touch ../copied
exec sleep 1000
"""
BY_USERS = "dynos are kept apart by users alone, each app its own"


_ABOUT_IT = re.compile("kept apart|dynos of all").search


def notices(serve: Serve) -> list[str]:
    """What it says of isolation at the start."""
    return list(filter(_ABOUT_IT, (line.text for line in serve.output.lines("stderr"))))


def lacks(serve: Serve, *, of: str | None = None) -> list[str]:
    """What it says of isolation all along, or what has this text in it."""
    found = json.loads(serve.done("status", "--json").stdout)
    return [lack for lack in found["lacks"] if (_ABOUT_IT(lack) if of is None else of in lack)]


# --- Docker: root with few rights, and no namespaces ------------------------------------------------------------------


@pytest.fixture(scope="module")
def docker() -> Iterator[Boxed]:
    needs_root()
    with Boxed(IN_DOCKER, namespaces=False, env=SETTINGS) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="module")
def shop(docker: Boxed) -> ServedApp:
    procfile = {"web": toy("web_server"), "worker": "sh worker.sh"}
    shop = docker.app(docker.own, "shop", procfile=procfile, app_json={"healthchecks": {"web": [CHECK]}})
    (docker.own / "shop" / "worker.sh").write_text(
        "mkdir media; echo one >media/a.jpg; touch b; echo ready; sleep 999\n"
    )
    shop.wait_until_up("web.1")
    return shop


def test_where_no_container_can_be_made_apps_are_users_and_one_line_says_so(docker: Boxed) -> None:
    (notice,) = notices(docker)
    assert notice.startswith(f"dynod: {BY_USERS}, not by containers: ")
    assert [f"dynod: {lack}" for lack in lacks(docker)] == [notice]


@pytest.fixture(scope="module")
def abstract() -> Iterator[str | None]:
    with abstract_socket() as name:
        yield name


def test_dynos_reach_nothing_but_their_own(docker: Boxed, shop: ServedApp, abstract: str | None) -> None:
    code = docker.own / "thief"
    other = next((docker.state / "dynos").glob(f"{shop.dynos()['web.1']['id']}*"), docker.state / "dynos" / "none")
    known = {
        "state": str(docker.state),
        "secrets": [str(docker.state / "state.db"), "/etc/shadow"],
        "folders": [str(docker.state / name) for name in ("dynos", "logs", "slugs", "work", "cache")]
        + [str(other)]
        + (["/"] if landlock.is_there() else []),  # which every user may list
        "daemon": docker.pid,
        "other": shop.pids()["web.1"],
        "code": str(code),
        "abstract": abstract,
    }
    command = f"{toy('kept_apart')} '{json.dumps(known)}'"
    thief = docker.app(docker.own, "thief", procfile={"worker": command}, quantities={"worker": 1})
    found: dict[str, Any] = json.loads(thief.wait_for_log(r"worker\.1\]: OUTCOMES ").partition("OUTCOMES ")[2])
    thief.wait_for_log(r"app\[worker\.1\]: through /dev/stdout")
    docker.done("apps:destroy", "thief", "--confirm", "thief")
    assert {name for name, error in found["denied"].items() if not error} == set()
    assert {name: error for name, error in found["allowed"].items() if error} == {}
    assert found["uid"] >= 1_900_000_000
    assert found["uid"] != Path(f"/proc/{shop.pids()['web.1']}").stat().st_uid != 0
    assert found["groups"] == []
    assert {int(each, 16) for each in found["capabilities"]} == {0}
    assert (found["no_new_privileges"], found["umask"], found["filters"]) == ("1", "0022", "2")
    assert found["home"] == found["cwd"]
    assert Path(found["home"]).parent.parent == docker.state / "dynos"
    assert found["temporary"] == str(Path(found["home"]).parent / "tmp")
    assert set(found["inherited"]) <= {"0", "1", "2", "3"}  # the last one is the look itself
    assert json.loads((code / "Procfile").read_text().partition(": ")[2].partition("'")[2].rstrip("'\n")) == known


def test_a_web_dyno_of_another_user_is_found_to_listen_and_gets_requests(shop: ServedApp) -> None:
    assert shop.get("/").status == 200
    shop.restart(dyno="web.1")
    shop.wait()
    assert shop.get("/").status == 200


def wait_until_left(docker: Boxed, shop: ServedApp) -> None:
    """Folders of dynos that run alone; those of others go once their last process has."""
    folders = docker.state / "dynos"
    eventually(lambda: len(list(folders.iterdir())) == len(shop.states()), what="nothing is left of others")


def test_what_a_dyno_wrote_goes_with_it_and_is_named(docker: Boxed, shop: ServedApp) -> None:
    shop.scale("worker=1")
    shop.wait_for_log(r"app\[worker\.1\]: ready")
    shop.scale("worker=0")
    line = shop.wait_for_log(r"heroku\[worker\.1\]: .*discarded")
    assert line == "heroku[worker.1]: 2 files (4 KB) discarded: b, media/a.jpg"
    assert sorted(os.listdir(docker.own / "shop")) == ["Procfile", "app.json", "worker.sh"]  # noqa: PTH208 (names)
    wait_until_left(docker, shop)


def test_a_dyno_that_writes_too_much_is_killed_and_its_code_does_not_count(docker: Boxed) -> None:
    folder = docker.own / "writer"
    app = docker.app(docker.own, "writer", procfile={"worker": "sh writes.sh"})
    with (folder / "large").open("wb") as file:
        file.write(b"x" * 30_000_000)
    (folder / "writes.sh").write_text(FORGES)
    app.scale("worker=1")
    app.wait_for_log(r"app\[worker\.1\]: large")
    line = app.wait_for_log(r"heroku\[worker\.1\]: Error \(Disk limit exceeded\)")
    written, limit = map(int, re.findall(r"(\d+) MB", line))
    assert (20 < written < 30, limit) == (True, 20), line
    docker.done("apps:destroy", "writer", "--confirm", "writer")


def test_daemons_of_a_dyno_end_with_it_though_root_may_not_look_into_them(docker: Boxed) -> None:
    """Without CAP_SYS_PTRACE their marks are read as their user. Another dyno of that user keeps its own."""
    daemon = "(setsid sh -c 'echo daemon $$; exec sleep 987' &) ; sleep 1000"
    other = docker.app(docker.own, "other", procfile={"worker": daemon}, quantities={"worker": 2})
    pids = [int(other.wait_for_log(rf"app\[worker\.{number}\]: daemon").rpartition(" ")[2]) for number in (1, 2)]
    keeps, ends = pids
    eventually(lambda: parent_of(ends) == docker.pid, what="nobody else is its parent")
    if landlock.has_scopes():  # dynos of one app are one user, and no signals of theirs to each other; but ps:exec's
        kill = ("--", "sh", "-c", f"kill -0 {keeps}")
        assert docker.dynod("run", "-a", "other", "--no-tty", *kill).returncode == 1
        docker.done("ps:exec", "-a", "other", "--no-tty", "worker.1", *kill)
    other.scale("worker=1")
    other.wait_until_up("worker.1")
    eventually(lambda: not Path(f"/proc/{ends}").exists(), what="the daemon has ended")
    assert Path(f"/proc/{keeps}").exists()
    docker.done("apps:destroy", "other", "--confirm", "other")
    eventually(lambda: not Path(f"/proc/{keeps}").exists(), what="the other one has ended too")


def test_where_no_group_counts_processes_those_of_an_app_are_limited_by_its_user(docker: Boxed) -> None:
    assert any(lack.endswith("but processes of an app by its user") for lack in lacks(docker, of="no control groups"))
    app = docker.app(docker.own, "many", procfile={"worker": toy("threads_until_refused", 5000)})
    docker.done("ps:type", "worker=Basic", "-a", "many")
    app.scale("worker=1")
    line = app.wait_for_log(r"app\[worker\.1\]: (refused after|started all)")
    assert 4000 < int(line.rpartition(" ")[2]) < 4096, line
    docker.done("apps:destroy", "many", "--confirm", "many")


def parent_of(pid: int) -> int:
    found = re.search(r"^PPid:\t(\d+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_commands_run_and_enter_as_the_apps_user(docker: Boxed, shop: ServedApp) -> None:
    inside = "id -u; pwd; echo $HOME $DYNO; ls"
    user = str(Path(f"/proc/{shop.pids()['web.1']}").stat().st_uid)
    entered = docker.done("ps:exec", "-a", "shop", "--no-tty", "web.1", "--", "sh", "-c", inside).stdout.splitlines()
    home = entered[1]
    assert Path(f"/proc/{shop.pids()['web.1']}/cwd").samefile(home)
    assert entered == [user, home, f"{home} web.1", "Procfile", "app.json", "worker.sh"]
    ended = docker.dynod("run", "-a", "shop", "--no-tty", "--", "sh", "-c", f"{inside}; exit 7")
    assert ended.returncode == 7, ended.stderr
    uid, place, names, *files = ended.stdout.splitlines()
    assert (uid, names.partition(" ")[0]) == (user, place)
    assert place != home
    assert files == ["Procfile", "app.json", "worker.sh"]


@pytest.mark.usefixtures("shop")
def test_storage_is_seen_below_the_code_alone(docker: Boxed) -> None:
    refused = docker.dynod("storage:mount", "data:/data", "-a", "shop")
    assert refused.returncode == 1
    assert "below /app alone" in refused.stderr
    docker.done("storage:mount", "up:/app/media/up", "-a", "shop")
    run = ("run", "-a", "shop", "--no-tty", "--", "sh", "-c")
    docker.done(*run, "echo kept >media/up/a")
    assert docker.done(*run, "cat media/up/a").stdout == "kept\n"
    docker.done("storage:unmount", "up", "-a", "shop")


def test_a_build_is_its_apps_users_too(docker: Boxed) -> None:
    docker.done("apps:create", "built")
    app = docker.known_app("built")
    with contextlib.closing(docker.client) as client:
        client.replace_buildpacks("built", [f"file://{TOYS}/buildpacks/{name}" for name in ("assets", "greeter")])
    code = {"server.py": (TOYS / "web_server.py").read_text(), "assets.txt": "some\n", "greeting.txt": "hello\n"}
    folder = docker.folder_of(docker.own, "code", procfile={"web": "exec python3 server.py"}, files=code)
    docker.done("builds:create", "-a", "built", "--source-dir", str(folder))
    kept = [path for name in ("slugs", "built") for path in (docker.state / name).rglob("*") if path.is_file()]
    others = docker.state / "cache" / "of-another"
    others.mkdir(mode=0o700)
    (others / "file").write_text("x")
    (everybodys := Path(f"/proc/{docker.pid}/root/everybodys")).write_text("x")
    secrets = [docker.state / "state.db", others / "file", *kept[:20]]
    secrets += [Path("/") / everybodys.name] if landlock.is_there() else []
    docker.done("config:set", "-a", "built", f"SECRETS={' '.join(map(str, secrets))}")
    said = docker.done("builds:create", "-a", "built", "--source-dir", str(folder)).stdout
    found = re.search(r"^-----> User (\d+) in \S+ with \S+ reads (.*)$", said, re.MULTILINE)
    assert found is not None, said
    assert int(found[1]) >= 1_900_000_000
    assert found[2] == "nothing"
    assert "-----> Restoring cache\n" in said
    app.wait_until_up("web.1")
    assert app.get("/").status == 200
    assert str(Path(f"/proc/{app.pids()['web.1']}").stat().st_uid) == found[1]
    docker.done("apps:destroy", "built", "--confirm", "built")


def test_they_outlive_the_core_and_are_the_next_ones(docker: Boxed, shop: ServedApp) -> None:
    before, core = shop.pids(), docker.core_pid()
    os.kill(core, signal.SIGKILL)
    docker.core_pid(other_than=core)
    shop.wait_until_up("web.1")
    assert shop.pids() == before
    assert shop.get("/").status == 200
    shop.restart(dyno="web.1")
    shop.wait()
    assert shop.get("/").status == 200
    wait_until_left(docker, shop)


# --- as the service: no root, but the right to be others --------------------------------------------------------------


def test_a_service_that_is_not_root_gives_each_app_a_user_in_its_container() -> None:
    """The rights are those of systemd/dynod.service; the code of a slug may be written over."""
    needs_root()
    needs_containers()
    with Boxed(AS_SERVICE, namespaces=True, env={"DYNOD_DYNOS_SETTLE_S": "0.2"}) as serve:
        serve.wait_until_ready()
        assert notices(serve) == []
        apps = [deployed(serve, name) for name in ("shop", "blog")]
        for app in apps:
            assert app.get("/").status == 200
        users = [Path(f"/proc/{child_of(app.pids()['web.1'])}").stat().st_uid for app in apps]
        assert NOBODY not in users
        assert min(users) >= 1_900_000_000
        assert len(set(users)) == 2
        serve.done("storage:mount", "data:/data", "-a", "blog")
        apps[1].restart(dyno="web.1")
        apps[1].wait()
        assert apps[1].get("/").status == 200
        inside = f"pwd; id -u; echo x >>server.py; mkdir sub/made; cat {serve.state}/state.db 2>/dev/null; id -un"
        inside += "; grep -h -e CapEff -e CapBnd -e NoNew -e Seccomp: /proc/self/status"
        inside += "; echo kept >/data/kept; kill -0 1 2>&1"
        for verb in (("run", "-a", "blog", "--no-tty"), ("ps:exec", "-a", "blog", "--no-tty", "web.1")):
            ended = serve.dynod(*verb, "--", "sh", "-c", inside).stdout.splitlines()
            assert ended[:3] == ["/app", str(users[1]), "dyno"], "\n".join(apps[1].log()[-8:])
            assert [line.split()[1].lstrip("0") for line in ended[3:7]] == ["", "", "1", "2"], ended
            assert "not permitted" in ended[7]
        apps[1].wait_for_log(r"heroku\[run\.\d+\]: 1 files? \(\d+ KB\) discarded: server.py")
        (kept,) = (serve.state / "storage").rglob("kept")
        assert kept.stat().st_uid == users[1]
        code = [path for path in (serve.state / "slugs").rglob("server.py") if path.read_text().endswith("x\n")]
        assert code == [], "code is never written to"
        serve.done("apps:destroy", "blog", "--confirm", "blog")
        eventually(lambda: len(list((serve.state / "dynos").iterdir())) == 1, what="nothing is left of the other app")


def test_in_a_rootless_container_users_are_those_that_there_are() -> None:
    """Root of a namespace, as with Podman: few numbers, and no file can be shown as another user's."""
    needs_root()
    needs_containers()
    with Boxed(AS_ROOTLESS, namespaces=True) as serve:
        serve.wait_until_ready()
        (notice,) = notices(serve)
        assert "no containers: there is no user 1900000000 here, see container.first_uid; no users: " in notice
    few = {"DYNOD_CONTAINER_FIRST_UID": "10000", "DYNOD_CONTAINER_UIDS": "50000"}
    with Boxed(AS_ROOTLESS, namespaces=True, env=few) as serve:
        serve.wait_until_ready()
        serve.wait_for_line("dynos cannot write over the code of folders, only over what was deployed: ")
        deployed(serve, "shop")
        inside = "id -u; echo x >>server.py; mkdir sub/made; pwd"
        ended = serve.dynod("run", "-a", "shop", "--no-tty", "--", "sh", "-c", inside)
        assert ended.stdout == "10000\n/app\n", ended.stdout


def deployed(serve: Boxed, name: str) -> ServedApp:
    """An app with a slug, which a build has made as its user."""
    serve.done("apps:create", name)
    with contextlib.closing(serve.client) as client:
        client.replace_buildpacks(name, [f"file://{TOYS}/buildpacks/{pack}" for pack in ("assets", "greeter")])
    secrets = f"SECRETS={serve.state / 'state.db'} {serve.config}"
    serve.done("config:set", "-a", name, secrets)
    code = {"server.py": (TOYS / "web_server.py").read_text(), "assets.txt": f"{name}\n", "greeting.txt": "hello\n"}
    procfile = {"web": "exec python3 server.py"}
    folder = serve.folder_of(serve.own, name, procfile=procfile, files={**code, "sub/file": ""})
    said = serve.done("builds:create", "-a", name, "--source-dir", str(folder)).stdout
    assert re.search(r"^-----> User 1\d{4,} in /build/build with /app reads nothing$", said, re.MULTILINE), said
    app = serve.known_app(name)
    app.wait_until_up("web.1")
    return app


def child_of(watcher: int | None) -> int:
    """A process of the dyno itself, below what makes its container."""
    assert watcher is not None
    pid = watcher
    for _ in range(2):
        pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    return pid


# --- nobody special ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unprivileged() -> Iterator[Boxed]:
    needs_root()
    needs_containers()
    with Boxed(AS_NOBODY, namespaces=True) as serve:
        serve.wait_until_ready()
        yield serve


def test_without_root_a_user_namespace_makes_the_container(unprivileged: Boxed) -> None:
    serve = unprivileged
    (notice,) = notices(serve)
    assert notice.startswith("dynod: dynos of all apps run as dynod's own user, in containers: ")
    app = serve.app(serve.own, "shop", procfile={"web": toy("web_server")})
    app.wait_until_up("web.1")
    assert app.get("/").status == 200
    inside = "echo x >made; pwd; id -u; echo $HOME; ls /proc | grep -c '^[0-9]'; grep CapEff /proc/self/status"
    inside += f"; ls {serve.state} 2>/dev/null"
    ended = serve.dynod("run", "-a", "shop", "--no-tty", "--", "sh", "-c", inside)
    place, uid, home, processes, capabilities = ended.stdout.splitlines()
    assert (place, uid, home) == ("/app", str(NOBODY), "/app")
    assert int(processes) <= 5
    assert int(capabilities.split()[1], 16) == 0
    assert sorted(os.listdir(serve.own / "shop")) == ["Procfile", "app.json"]  # noqa: PTH208 (names)
    held = "pwd; id -u; grep -h -e CapEff -e CapBnd -e NoNew -e Seccomp: /proc/self/status"
    for verb in (("run", "-a", "shop", "--no-tty"), ("ps:exec", "-a", "shop", "--no-tty", "web.1")):
        ended = serve.dynod(*verb, "--", "sh", "-c", held)
        lines = ended.stdout.splitlines()
        assert lines[:2] == ["/app", str(NOBODY)], ended.stderr
        assert [line.split()[1].lstrip("0") for line in lines[2:]] == ["", "", "1", "2"]
    app.wait_for_log(r"heroku\[run\.\d+\]: 1 files? \(4 KB\) discarded: made")


def test_what_may_not_be_read_of_storage_is_named_by_a_backup_of_the_rest(unprivileged: Boxed, tmp_path: Path) -> None:
    """Of a daemon that is not root: modes that its own user has set hold for it, too."""
    serve = unprivileged
    serve.app(serve.own, "files", procfile={"web": toy("web_server")}, quantities={"web": 0})
    serve.done("storage:mount", "uploads:/data", "-a", "files")
    made = "cd /data; echo kept >file; mkdir closed; echo lost >closed/file; chmod 0 closed"
    serve.done("run", "-a", "files", "--no-tty", "--", "sh", "-c", made)
    ended = serve.dynod("backup", str(tmp_path / "backup.tgz"), "--storage")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Storage of files: uploads, 1 file, 5 bytes" in ended.stderr
    assert "without what dynod may not read of storage: uploads of files (closed)" in ended.stderr
    restored = serve.done("restore", str(tmp_path / "backup.tgz"), "--state", str(tmp_path / "new"))
    assert "not in it, as dynod may not read it: closed" in restored.stderr
    (folder,) = (tmp_path / "new/storage").glob("*/uploads")
    assert sorted(path.name for path in folder.rglob("*")) == ["closed", "file"]


def test_without_root_and_namespaces_dynos_run_as_dynod_and_one_line_says_so() -> None:
    needs_root()
    with Boxed(AS_NOBODY, namespaces=False) as serve:
        serve.wait_until_ready()
        (notice,) = notices(serve)
        assert notice.startswith("dynod: dynos are not kept apart: no containers: ")
        app = serve.app(serve.own, "shop", procfile={"web": toy("web_server")})
        app.wait_until_up("web.1")
        assert app.get("/").status == 200
        assert Path(f"/proc/{app.pids()['web.1']}").stat().st_uid == NOBODY
    with Boxed(AS_NOBODY, namespaces=False, isolation="user") as serve:
        assert serve.wait() == 1
        serve.wait_for_line("container.isolation: no users for apps: dynod may not")
