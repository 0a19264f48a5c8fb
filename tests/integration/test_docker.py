"""dynod in a plain container of Docker's: its defaults, no privilege added; dynod is what the container runs.

A real dockerd, and an image of dynod that is imported (`support.docker_image`). How dynos are kept apart in there is
test_levels.py's.
"""

import json
import re
from collections.abc import Iterator

import pytest

from support import docker_image
from support.app_folder import app_folder
from support.counts import rounds
from support.docker_engine import Container, Engine
from support.up import eventually

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.needs_ability("proc", reason="Docker's containers are Linux's"),
]
IMAGE = "dynod:test"
PORT = 8080
USER = 1000
MB = 1024 * 1024
WEB = """
import http.server, os, signal, sys

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        page = f"{os.environ['DYNO']} of user {os.getuid()}\\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *arguments):
        pass

def leave(*arguments):
    print("left in peace", flush=True)
    sys.exit(0)

signal.signal(signal.SIGTERM, leave)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(1000)"
# What Docker has to be asked for, so that dynod can make containers in its own; and who dynod is there.
CONTAINERS = (
    pytest.param(("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"), 0, 1_900_000_000, id="root"),
    pytest.param(
        (
            *("--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined"),
            *("--user", f"{USER}:{USER}"),
        ),
        *(USER, USER),
        id="nobody special",
    ),
)[: rounds(1, full=2)]
PUBLISHED = ("--publish", f"127.0.0.1:{PORT}:5000")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    docker_image.needs_python()
    with Engine() as running:
        tar = running.folder / "image.tar"
        docker_image.write_image(tar)
        running.docker("import", str(tar), IMAGE)
        tar.unlink()
        yield running


@pytest.fixture(scope="module")
def code(engine: Engine) -> tuple[str, ...]:
    """Options that show an app's code to a container, read-only."""
    procfile = {"web": "python3 web.py", "worker": f'python3 -c "{DEAF}"', "report": "sh -c 'exit 3'"}
    files = {"web.py": WEB}
    manifest = {"formation": {"worker": {"quantity": 0}}}
    folder = app_folder(engine.volume(), procfile=procfile, files=files, app_json=manifest)
    return ("--volume", f"{folder}:/code:ro", "--workdir", "/code")


def released(container: Container) -> None:
    container.wait_for("control socket")
    container.exec("dynod", "apps:create", "shop", "--dir", "/code")
    container.exec("dynod", "ps:wait", "-a", "shop")


def told(container: Container, about: str) -> str:
    """The one sentence of its start that is about this; everything that it tells is dynod's own."""
    notices = container.notices()
    assert [line for line in notices if not line.startswith("dynod: ")] == []
    (line,) = (line for line in notices if about in line)
    return line


def test_serve_is_the_first_process_of_a_container_and_ends_with_it(engine: Engine, code: tuple[str, ...]) -> None:
    """As root, with Docker's defaults: pages, verbs, orphans that fall to it, `docker stop`, and another start."""
    state = ("--volume", f"{engine.volume()}:/var/lib/dynod")
    with engine.container(IMAGE, *PUBLISHED, *code, *state, command=("dynod", "serve")) as container:
        released(container)
        assert told(container, "kept apart").startswith(
            "dynod: dynos are kept apart by users alone, each app its own, not by containers: bwrap: "
        )
        assert "memory, how many processes they have, CPU: no control groups" in told(container, "does not limit")
        assert engine.get(PORT) == "web.1 of user 1900000000\n"
        container.exec("dynod", "ps:scale", "web=2", "-a", "shop")
        container.exec("dynod", "ps:wait", "-a", "shop")
        dynos = json.loads(container.exec("dynod", "ps", "-a", "shop", "--json"))
        assert {dyno["name"]: dyno["state"] for dyno in dynos} == {"web.1": "up", "web.2": "up"}
        assert "heroku[router]: at=info method=GET" in container.exec("dynod", "logs", "-a", "shop")
        assert container.exec("dynod", "run", "-a", "shop", "--no-tty", "--", "id", "-u") == "1900000000\n"

        container.exec("sh", "-c", "setsid sleep 0.01 & exit 0")  # an orphan, which falls to the first process
        eventually(lambda: not any("sleep" in each for each in container.processes()), what="no zombie")
        assert container.processes()[0].startswith("1 ")

        assert container.stop() == 0
        engine.docker("start", container.name)
        eventually(lambda: container.output().count("control socket") == 2, what="ready again")
        container.exec("dynod", "ps:wait", "-a", "shop")
        assert re.fullmatch(r"web\.[12] of user 1900000000\n", engine.get(PORT))
        assert container.exec("dynod", "logs", "-a", "shop", "-n", "200").count("left in peace") == 2
        engine.docker("kill", container.name)
        assert container.status() == 128 + 9


def test_serve_as_nobody_special_with_everything_read_only_and_limited(engine: Engine, code: tuple[str, ...]) -> None:
    """And with a first process of Docker's own; the container's memory and processors are what dynod goes by."""
    held = (
        "--init",
        "--user",
        f"{USER}:{USER}",
        "--read-only",
        "--tmpfs",
        "/tmp",
        "--env",
        "DYNOD_SOCKET=/tmp/dynod.sock",
    )
    limits = ("--memory", "256m", "--pids-limit", "200", "--cpus", "0.5")
    state = ("--volume", f"{engine.volume(uid=USER)}:/state")
    serve = ("dynod", "serve", "--state", "/state", "--socket", "/tmp/dynod.sock")
    with engine.container(IMAGE, *PUBLISHED, *code, *held, *limits, *state, command=serve) as container:
        released(container)
        assert "dynos are not kept apart: no containers: " in told(container, "kept apart")
        assert engine.get(PORT) == f"web.1 of user {USER}\n"
        share = "from dynod.own_share import memory, processors; print(memory().total, processors())"
        assert container.exec("python3", "-c", share).split() == [str(256 * MB), "1"]
        assert container.processes()[0].endswith(f"docker-init -- {' '.join(serve)}")
        assert container.stop() == 0


def test_up_in_a_container_is_found_by_verbs_and_ends_with_what_it_is_told(
    engine: Engine, code: tuple[str, ...]
) -> None:
    """On a terminal, over a folder that it cannot write to; a second signal is not lost on a first process."""
    command = ("dynod", "up", "-p", "0.0.0.0:5000", "web")
    with engine.container(IMAGE, "--tty", *PUBLISHED, *code, command=command) as container:
        container.wait_for("dynod: listening on")
        container.exec("dynod", "ps:wait")
        assert engine.get(PORT) == "web.1 of user 0\n"
        container.exec("dynod", "ps:scale", "worker=1")
        container.wait_for("deaf")
        engine.docker("kill", "--signal", "TERM", container.name)
        container.wait_for("once more kills")
        container.wait_for("left in peace")
        engine.docker("kill", "--signal", "TERM", container.name)
        assert container.status() == 128 + 15
    ended = engine.docker("run", "--rm", *code, IMAGE, "dynod", "up", "--on-exit", "stop", "report", check=False)
    assert ended.returncode == 3


@pytest.mark.parametrize(("options", "owner", "user"), CONTAINERS)
def test_where_docker_lets_it_dynos_are_in_containers_of_their_own(
    engine: Engine, code: tuple[str, ...], options: tuple[str, ...], owner: int, user: int
) -> None:
    """State on a volume: Docker's own file system is an overlay, above which no other one can write."""
    state = ("--volume", f"{engine.volume(uid=owner)}:/state", "--env", "DYNOD_SOCKET=/tmp/dynod.sock")
    serve = ("dynod", "serve", "--state", "/state", "--socket", "/tmp/dynod.sock")
    with engine.container(IMAGE, *options, *PUBLISHED, *code, *state, command=serve) as container:
        released(container)
        assert [line for line in container.notices() if "not by containers" in line or "no containers" in line] == []
        assert engine.get(PORT) == f"web.1 of user {user}\n"
        seen = "pwd; id -u; ls -d /proc/[0-9]* | wc -l; ls /state 2>/dev/null"
        found = container.exec("dynod", "ps:exec", "-a", "shop", "--no-tty", "web.1", "--", "sh", "-c", seen, status=2)
        place, uid, processes = found.splitlines()
        assert (place, uid) == ("/app", str(user))
        assert int(processes) <= 5
        assert container.stop() == 0
