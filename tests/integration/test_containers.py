"""A dyno of `serve` is a container: what it cannot reach from inside, what apps can do, how it stops, what it loses."""

import contextlib
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dynod.process.nameless_files import nameless_bytes, on_mounts
from support.app_folder import python, toy
from support.attached_run import AttachedRun
from support.contained import abstract_socket, contained, needs_containers
from support.serve import Serve, ServedApp
from support.source_tree import REPOSITORY

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="containers are Linux's"),
    pytest.mark.needs_ability("subreaper", "proc", reason="containers are Linux's, and so are these"),
]

PORTS_OPEN = "dynos can take the ports of others"
HELD = """\
grep -E '^(Cap...|NoNewPrivs|Seccomp|SigIgn):' /proc/self/status
unshare --user true 2>/dev/null || echo denied
"""

# Signals 32 and 33, which glibc keeps to itself: its posix_spawn, as make's, starts programs that ignore them.
THE_C_LIBRARYS_OWN = 0b11 << 31

STOPS_SLOWLY = """\
trap 'echo heard; exit 3' TERM
mkdir media
echo one >media/a.jpg
echo two >media/b.jpg
echo ready
while :; do sleep 1; done
"""

WRITES_TOO_MUCH = """\
test -e left && echo left over
echo shared memory $(df -m /dev/shm | tail -1)
head -c 30000000 /dev/zero >left
echo wrote some
head -c 30000000 /dev/zero >/tmp/more
exec sleep 1000
"""

# Ends well if it is refused.
REACHES = """\
import socket, sys
client = socket.socket(socket.AF_UNIX)
sys.exit(client.connect_ex(bytes.fromhex(sys.argv[1])) == 0)
"""

# Each of a megabyte: two on the disk, one in memory, one in a folder that lasts.
HOLDS_NAMELESS = """\
take() { head -c 1000000 /dev/zero; }
exec 3>mine 4>/tmp/mine 5>/dev/shm/mine 6>kept/mine
rm mine /tmp/mine /dev/shm/mine kept/mine
take >&3; take >&4; take >&5; take >&6
echo holds
exec sleep 1000
"""

WSGI = """\
import os

open("/tmp/ready", "w").close()


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"in {os.getcwd()}\\n".encode()]
"""


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    needs_containers()
    state = tmp_path_factory.mktemp("contained") / "state"
    before = os.umask(0o077)  # as a service may have it; dynos have another
    try:
        running = contained(state, settings="write_mb = 50").__enter__()
    finally:
        os.umask(before)
    with contextlib.ExitStack() as left:
        left.push(running.__exit__)
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="module")
def shop(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> ServedApp:
    """An app whose dynos the other one tries to reach."""
    folder = tmp_path_factory.mktemp("shop")
    shop = serve.app(folder, "shop", procfile={"web": toy("web_server"), "worker": "sh worker.sh"})
    (folder / "shop" / "worker.sh").write_text(STOPS_SLOWLY)
    shop.wait_until_up("web.1")
    return shop


@pytest.fixture(scope="module")
def abstract() -> Iterator[str | None]:
    with abstract_socket() as name:
        yield name


@pytest.fixture(scope="module")
def outcomes(
    serve: Serve, shop: ServedApp, abstract: str | None, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What a dyno of another app found out."""
    folder = tmp_path_factory.mktemp("thief")
    (in_tmp := folder / "of-the-machine").write_text("secret")
    shop.wait_until_up("web.1")  # whatever the tests before have done to it: it listens where it has said last
    ports = [at[1] for line in shop.log() if (at := re.search(r"web\.1\]: listening on .*port (\d+)", line))]
    known = {
        "state": str(serve.state),
        "other_code": str(next(folder.parent.glob("shop*/shop/Procfile"))),
        "other_pid": shop.pids()["web.1"],
        "other_port": int(ports[-1]),
        "daemon": serve.pid,
        "port_to_be": None if any(PORTS_OPEN in lack for lack in serve_status(serve)["lacks"]) else 29_998,
        "in_tmp": str(in_tmp),
        "abstract": abstract,
        "node": shutil.which("node") is not None,
        "java": shutil.which("java") is not None,
    }
    command = f"{toy('tries_everything')} '{json.dumps(known)}'"
    thief = serve.app(folder, "thief", procfile={"worker": command}, quantities={"worker": 1})
    line = thief.wait_for_log(r"worker\.1\]: OUTCOMES ", timeout_s=60)
    found: dict[str, Any] = json.loads(line.partition("OUTCOMES ")[2])
    return {**found, "log": thief.log()}


def test_a_dyno_reaches_nothing_but_its_own(outcomes: dict[str, Any]) -> None:
    assert {name for name, error in outcomes["denied"].items() if not error} <= {"signal what watches over it"}


def test_apps_do_what_apps_do(outcomes: dict[str, Any]) -> None:
    assert {name: error for name, error in outcomes["allowed"].items() if error} == {}
    assert outcomes["certificates"] > 0
    assert "app[worker.1]: through /dev/stdout" in outcomes["log"]


def test_it_is_at_home_in_app_as_a_user_of_its_own_without_any_power(outcomes: dict[str, Any]) -> None:
    assert (outcomes["cwd"], outcomes["home"]) == ("/app", "/app")
    assert {int(each, 16) for each in outcomes["capabilities"]} == {0}
    assert outcomes["no_new_privileges"]
    assert outcomes["processes"][0] == 1
    assert len(outcomes["processes"]) <= 3
    assert set(outcomes["inherited"]) <= {"0", "1", "2", "3"}  # the last one is the look itself
    if os.geteuid() == 0:
        assert outcomes["uid"] == outcomes["gid"] >= 1_900_000_000
        assert outcomes["groups"] == []
        assert outcomes["user_name"] == "dyno"


def test_what_watches_over_a_dyno_is_not_ended_by_it(serve: Serve, outcomes: dict[str, Any]) -> None:
    assert "signal what watches over it" in outcomes["denied"]
    assert serve.known_app("thief").states() == {"worker.1": "up"}


def test_a_stop_reaches_the_dyno_and_what_it_wrote_is_named(serve: Serve, shop: ServedApp) -> None:
    shop.scale("worker=1")
    shop.wait_for_log(r"app\[worker\.1\]: ready")
    shop.scale("worker=0")
    shop.wait_for_log(r"app\[worker\.1\]: heard")
    shop.wait_for_log(r"heroku\[worker\.1\]: Process exited with status 3")
    line = shop.wait_for_log(r"heroku\[worker\.1\]: .*discarded")
    assert line == "heroku[worker.1]: 2 files (8 KB) discarded: media/a.jpg, media/b.jpg"
    assert len(list((serve.state / "dynos").iterdir())) == sum(
        len(serve.known_app(name).states()) for name in serve.app_names()
    )
    assert not list(serve.state.parent.glob("shop*/shop/media"))


def test_a_one_off_dyno_is_in_the_same_kind_of_container(serve: Serve, shop: ServedApp) -> None:
    ended = serve.dynod("run", "-a", "shop", "--no-tty", "--", "sh", "-c", "pwd; ls; exit 7")
    assert (ended.returncode, ended.stdout) == (7, "/app\nProcfile\napp.json\nworker.sh\n")
    shop.wait_for_log(r"heroku\[run\.\d+\]: Process exited with status 7")


def test_a_one_off_dyno_has_a_terminal_in_its_container(serve: Serve, shop: ServedApp) -> None:
    """Its window, Ctrl-C to the foreground alone, job control, its status; and signals of whoever stops it."""
    with terminal_on(serve, "-a", "shop", "bash", "--norc", verb="run") as session:
        session.type("stty size; pwd; id -u\r")
        session.wait_for_line(r"33 111$")
        session.wait_for_line(r"/app$")
        # A program of its own: what Ctrl-C meets is in the foreground once that has written.
        session.type("sh -c \"echo go''ing; exec sleep 1000\"\r")
        session.wait_for_line(r"going$")
        session.type("\x03")
        session.type("echo interrupted $?; ulimit -c; umask\r")
        session.wait_for_line(r"interrupted 130$")
        session.wait_for_line(r"0022$")
        assert session.end("exit 4\r") == 4
        assert session.attributes() == session.before
    with terminal_on(serve, "-a", "shop", "sleep 1000", verb="run") as session:
        dyno = session.dyno
        shop.wait_for_log(rf"heroku\[{dyno}\]: State changed from starting to up")
        serve.done("ps:stop", dyno, "-a", "shop")
        assert session.wait() == 143


def test_a_running_dyno_can_be_entered(serve: Serve, shop: ServedApp) -> None:
    """Its files, processes, user and environment; the session ends with it."""
    inside = "pwd; id -u; echo $HOME $DYNO $PORT; cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c web_server; exit 9"
    ended = serve.dynod("ps:exec", "-a", "shop", "--no-tty", "web.1", "--", "sh", "-c", inside)
    assert ended.returncode == 9, ended.stderr
    place, uid, names, servers = ended.stdout.splitlines()
    assert place == "/app"
    assert int(uid) == (os.geteuid() or int(serve.dynod("run", "-a", "shop", "--no-tty", "id", "-u").stdout))
    assert names == f"/app web.1 {shop.dynos()['web.1']['dynod']['port']}"
    assert int(servers) >= 1, "it sees the dyno's own processes"
    with terminal_on(serve, "-a", "shop", "web.1", verb="ps:exec") as session:
        session.type("stty size; echo made >/tmp/by-hand; echo in $DYNO\r")
        session.wait_for_line(r"33 111$")
        session.wait_for_line(r"in web\.1$")
        again = serve.done("ps:exec", "-a", "shop", "web.1", "cat", "/tmp/by-hand")
        assert again.stdout == "made\n"
        shop.restart(dyno="web.1")
        # The kernel has ended it with the first process, or dynod what was left, or it heard of the stop itself.
        assert session.wait() in {129, 137, 143}
    shop.wait()
    events = json.loads(serve.done("events", "-a", "shop", "--json").stdout)
    entered = [each["detail"] for each in events if each["action"] == "dyno.exec"]
    assert any(re.fullmatch(r"run\.\d+ in web\.1: cat /tmp/by-hand", detail) for detail in entered), entered


def test_who_enters_a_dyno_is_held_to_what_it_is_held_to(serve: Serve, shop: ServedApp) -> None:
    """The same filter, no privileges to be gained, no capabilities; and signals are as at the start of a program."""
    shop.wait_until_up("web.1")
    inside = (*("--no-tty", "-a", "shop"), *("--", "sh", "-c", HELD))
    entered = serve.done("ps:exec", *inside[:3], "web.1", *inside[3:]).stdout
    assert entered == serve.done("run", *inside).stdout
    held = dict(line.split(":\t") for line in entered.splitlines()[:-1])
    assert (held["NoNewPrivs"], held["Seccomp"]) == ("1", "2")
    assert {int(held[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0}
    assert int(held["SigIgn"], 16) & ~THE_C_LIBRARYS_OWN == 0
    assert entered.splitlines()[-1] == "denied"


def test_gunicorn_serves_and_its_check_runs_beside_it(serve: Serve, abstract: str | None, tmp_path: Path) -> None:
    """Two workers, which report by files in /tmp; the command of the check finds what the dyno has made there.

    The check is the app's own idea, and reaches no more of the machine than the dyno does.
    """
    made = ["sh", "-c", "test -e /tmp/ready && pwd && id -u"]
    reaches = [sys.executable, "-c", REACHES, (abstract or "\0of nobody").encode().hex()]
    checks = [
        {"type": "startup", "name": name, "command": words} for name, words in (("made", made), ("reaches", reaches))
    ]
    folder = serve.folder_of(
        tmp_path,
        "wsgi",
        procfile={"web": f"{sys.executable} -m gunicorn --workers 2 --bind 0.0.0.0:$PORT wsgi:app"},
        app_json={"healthchecks": {"web": checks}},
        files={"wsgi.py": WSGI},
    )
    with contextlib.closing(serve.client) as client:
        client.create_app("wsgi", str(folder))
    app = serve.known_app("wsgi")
    app.wait_until_up("web.1")
    answers = [app.get("/") for _ in range(5)]
    assert {(answer.status, answer.text) for answer in answers} == {(200, "in /app\n")}
    serve.done("apps:destroy", "wsgi", "--confirm", "wsgi")


def terminal_on(serve: Serve, *arguments: str, verb: str) -> AttachedRun:
    env = {"DYNOD_SOCKET": str(serve.socket)}
    return AttachedRun(serve, *arguments, terminal=True, size=(33, 111), folder=serve.runtime, env=env, verb=verb)


def test_what_is_written_to_storage_outlives_the_dyno(serve: Serve, shop: ServedApp) -> None:
    def run(command: str) -> str:
        ended = serve.done("run", "-a", shop.name, "--no-tty", "--", "sh", "-c", command)
        return ended.stdout

    refused = serve.dynod("storage:mount", "uploads:/etc", "-a", "shop")
    assert refused.returncode == 1
    assert "no folder can be mounted there" in refused.stderr, refused.stderr
    serve.done("storage:mount", "uploads:/app/media/up", "-a", "shop")
    run("echo kept >media/up/a; echo lost >b")
    assert run("cat media/up/a; ls") == "kept\nProcfile\napp.json\nmedia\nworker.sh\n"
    listed = json.loads(serve.done("storage", "-a", "shop", "--json").stdout)
    assert [(each["name"], each["path"]) for each in listed] == [("uploads", "/app/media/up")]
    folder = Path(listed[0]["folder"])
    assert (folder / "a").read_text() == "kept\n"
    assert folder.is_relative_to(serve.state)
    for slip, meant in (("uplaods", "uploads"), ("/app/media/pu", "/app/media/up")):
        assert f'did you mean "{meant}"?' in serve.dynod("storage:unmount", slip, "-a", "shop").stderr
    serve.done("storage:unmount", "/app/media/up", "-a", "shop")
    assert "media" not in run("ls")
    assert (folder / "a").exists()
    assert serve.dynod("storage:unmount", "uploads", "-a", "shop").returncode == 1


def test_the_app_answers_through_the_router(shop: ServedApp) -> None:
    assert shop.get("/").status == 200


def test_a_container_outlives_the_core_and_is_stopped_by_the_next(serve: Serve, shop: ServedApp) -> None:
    before = shop.pids()["web.1"]
    core = serve.core_pid()
    os.kill(core, signal.SIGKILL)
    serve.core_pid(other_than=core)
    shop.wait_until_up("web.1")
    assert shop.pids()["web.1"] == before
    assert shop.get("/").status == 200
    shop.restart(dyno="web.1")
    shop.wait()
    assert shop.pids()["web.1"] != before
    assert shop.get("/").status == 200


def test_the_machine_is_not_changed(serve: Serve) -> None:
    assert not Path("/usr/made-by-a-dyno").exists()
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(serve.state) not in mounts
    assert str(REPOSITORY) not in mounts


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def limited(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> ServedApp:
    """An app whose dynos have sizes."""
    if any("in memory" in lack or "processes they have" in lack for lack in serve_status(serve)["lacks"]):
        pytest.skip("no control groups for memory and processes here")
    folder = tmp_path_factory.mktemp("limited")
    eats = python("b = bytearray(1200 << 20); b[::4096] = b'x' * len(b[::4096]); print('had all of it')")
    procfile = {"worker": toy("forks_until_refused", 300), "eater": f"{eats}"}
    app = serve.app(folder, "limited", procfile=procfile)
    serve.done("ps:type", "worker=Basic", "eater=Basic", "-a", "limited")
    return app


def test_a_dyno_that_writes_too_much_is_told_killed_and_started_with_nothing_of_it(
    serve: Serve, shop: ServedApp, tmp_path: Path
) -> None:
    """In /tmp and over its code, both together."""
    app = serve.app(tmp_path, "writer", procfile={"worker": "sh writes.sh"})
    (tmp_path / "writer" / "writes.sh").write_text(WRITES_TOO_MUCH)
    app.scale("worker=1")
    app.wait_for_log(r"app\[worker\.1\]: shared memory tmpfs +1024 ")
    line = app.wait_for_log(r"heroku\[worker\.1\]: Error \(Disk limit exceeded\)")
    written, limit = map(int, re.findall(r"(\d+) MB", line))
    assert (written > limit, limit) == (True, 50), line
    app.wait_for_log(r"heroku\[worker\.1\]: Process exited with status 137")
    app.wait_for_log(r"app\[worker\.1\]: wrote some", count=2)
    app.scale("worker=0")
    assert not [line for line in app.log() if "left over" in line]
    assert shop.states()["web.1"] == "up"
    serve.done("apps:destroy", "writer", "--confirm", "writer")


def test_what_a_dyno_holds_open_and_has_removed_is_found(serve: Serve, tmp_path: Path) -> None:
    """Where it is the dyno's own to write and on the disk."""
    app = serve.app(tmp_path, "holder", procfile={"worker": "sh holds.sh"})
    (tmp_path / "holder" / "holds.sh").write_text(HOLDS_NAMELESS)
    serve.done("storage:mount", "kept:/app/kept", "-a", "holder")
    app.scale("worker=1")
    app.wait_for_log(r"app\[worker\.1\]: holds")
    pid = app.pids()["worker.1"]
    assert pid is not None
    pids = [each.pid for each in psutil.Process(pid).children(recursive=True)]
    assert 2_000_000 <= nameless_bytes(pids, on_mounts("/app", "/tmp")) < 2_100_000
    serve.done("apps:destroy", "holder", "--confirm", "holder")


def serve_status(serve: Serve) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(serve.done("status", "--json").stdout)
    return found


def test_a_dyno_forks_as_far_as_its_size_goes(limited: ServedApp) -> None:
    limited.scale("worker=1")
    line = limited.wait_for_log(r"app\[worker\.1\]: (refused after|forked all)")
    assert 200 < int(line.rpartition(" ")[2]) < 256, line
    limited.scale("worker=0")
    limited.wait_until({})


def test_a_dyno_beyond_its_memory_is_killed_and_the_log_says_by_whom(limited: ServedApp) -> None:
    limited.scale("eater=1")
    limited.wait_for_log(r"heroku\[eater\.1\]: Killed by the kernel: the dyno was out of memory")
    limited.wait_for_log(r"heroku\[eater\.1\]: Error R15 \(Memory quota vastly exceeded\)")
    limited.wait_for_log(r"heroku\[eater\.1\]: Process exited with status 137")
    limited.scale("eater=0")
    limited.wait_until({})
    assert "app[eater.1]: had all of it" not in limited.log()
