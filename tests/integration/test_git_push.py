"""`git push dynod main` by the real git, over the control socket: what is built, what is said, and what is refused."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app_folder import TOYS
from support.git_folder import GitFolder
from support.serve import Serve, ServedApp
from support.up import eventually

pytestmark = pytest.mark.timeout(120)

QUICK = "[dynos]\nsettle_s = 0.5\n"
WEB = f"web: {sys.executable} server.py\n"


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    with Serve(tmp_path_factory.mktemp("machine") / "state", toml=QUICK) as running:
        running.wait_until_ready()
        yield running


class Shop:
    """An app, and a repository whose remote leads to it."""

    def __init__(self, serve: Serve, name: str, parent: Path) -> None:
        serve.done("apps:create", name)
        self.serve = serve
        self.app: ServedApp = serve.known_app(name)
        folder = serve.folder_of(
            parent, "work", procfile=WEB, files={"server.py": (TOYS / "web_server.py").read_text()}
        )
        self.work = GitFolder(folder)
        self.work.done("remote", "add", "dynod", f"dynod::{serve.socket}/{name}")

    def push(self, *what: str) -> subprocess.CompletedProcess[str]:
        return self.work.git("push", "dynod", *(what or ("main",)))

    def pushed(self, *what: str) -> str:
        """What git says of a push that is taken in."""
        ended = self.push(*what)
        assert ended.returncode == 0, f"{ended.stderr}\n{self.serve.output}"
        return ended.stderr

    def version(self) -> int:
        """Of the newest release."""
        return int(
            json.loads(self.serve.done("releases", "-n", "1", "--json", "-a", self.app.name).stdout)[0]["version"]
        )

    def branches(self) -> dict[str, str]:
        """Of the repository there."""
        lines = self.work.done("ls-remote", "--heads", "dynod").splitlines()
        return {name.removeprefix("refs/heads/"): commit for commit, name in (line.split() for line in lines)}


@pytest.fixture
def shop(serve: Serve, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    name = re.sub(r"[^a-z]+", "-", request.node.name.removeprefix("test_"))[:20].strip("-")
    made = Shop(serve, name, tmp_path)
    yield made
    serve.done("apps:destroy", name, "--confirm", name)
    assert not list((serve.state / "git").glob(f"{made.app.id}*"))


def test_a_push_to_main_is_built_released_and_live(serve: Serve, shop: Shop, tmp_path: Path) -> None:
    commit = shop.work.commit()
    said = shop.pushed()
    remote = [line.removeprefix("remote: ").rstrip() for line in said.splitlines() if line.startswith("remote: ")]
    assert remote[:2] == ["Compressing source files... done.", "Building source:"]
    assert "-----> Launching..." in remote
    assert "       Released v3" in remote
    assert "Verifying deploy... done." in remote
    assert re.search(r"\* \[new branch\] +main -> main", said)
    shop.app.wait_until_up("web.1")
    assert shop.app.get("/").status == 200
    release = json.loads(serve.done("releases", "--json", "-a", shop.app.name).stdout)[0]
    assert release["description"] == f"Deploy {commit[:8]}"
    # The same once more is nothing, a fetch is what was pushed.
    assert "Everything up-to-date" in shop.pushed()
    assert shop.version() == 3
    clone = tmp_path / "clone"
    shop.work.done("clone", "--quiet", f"dynod::{serve.socket}/{shop.app.name}", str(clone))
    assert GitFolder(clone).done("rev-parse", "HEAD") == commit
    # A later one replaces it.
    pid = shop.app.pids()["web.1"]
    shop.work.commit(more="more")
    shop.pushed()
    eventually(lambda: shop.app.states() == {"web.1": "up"} and shop.app.pids()["web.1"] != pid, what="new code")


def test_a_failed_build_and_a_failed_release_refuse_the_push(shop: Shop) -> None:
    good = shop.work.commit()
    shop.pushed()
    shop.app.wait_until_up("web.1")
    serving = shop.app.pids()
    shop.work.commit(Procfile="web\n")
    ended = shop.push()
    assert ended.returncode == 1
    assert "Procfile line 1" in ended.stderr
    assert re.search(r"remote: +! +Push failed", ended.stderr)
    assert re.search(rf"remote: !\s+Push rejected to {shop.app.name}\.", ended.stderr)
    assert "! [remote rejected] main -> main (pre-receive hook declined)" in ended.stderr
    shop.work.commit(Procfile=WEB + "release: echo no such table; exit 3\n")
    ended = shop.push()
    assert ended.returncode == 1
    assert "remote: Running release command..." in ended.stderr
    assert "remote: no such table" in ended.stderr
    assert re.search(r"remote: +! +release v4 failed, and nothing has changed", ended.stderr)
    assert "(pre-receive hook declined)" in ended.stderr
    assert shop.branches() == {"main": good}
    assert shop.app.pids() == serving
    # Mended, it goes through, and a history that was written anew does too, if it is forced.
    shop.work.commit(Procfile=WEB)
    assert "Verifying deploy... done." in shop.pushed()
    shop.work.done("commit", "--quiet", "--amend", "--message", "another history")
    assert shop.push().returncode == 1
    shop.pushed("--force", "main")


def test_other_branches_are_taken_in_and_not_built(shop: Shop) -> None:
    commit = shop.work.commit()
    said = shop.pushed("main:topic")
    assert "remote: Pushed to non-main branch, skipping build." in said
    assert "remote: To build it: git push dynod topic:main" in said
    assert shop.branches() == {"topic": commit}
    assert shop.version() == 2
    shop.pushed("main:master", "main:refs/tags/v1")
    assert shop.version() == 3
    refused = shop.push("--delete", "master")
    assert refused.returncode == 1
    assert "cannot be deleted" in refused.stderr
    shop.pushed("--delete", "topic")
    assert set(shop.branches()) == {"master"}


def test_two_pushes_at_once_are_one_and_a_refusal_by_name(shop: Shop, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    shop.work.commit(Procfile=WEB + f"release: echo waiting; cat {gate}\n")
    first = subprocess.Popen(
        ["git", "push", "dynod", "main"],
        cwd=shop.work.folder,
        env=GitFolder.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert first.stderr is not None
        said = ""
        while "remote: waiting" not in said:  # live: while the release command runs
            line = first.stderr.readline()
            assert line, said
            said += line
        shop.work.commit(more="more")
        second = shop.push()
        assert second.returncode == 1
        assert re.search(rf"\S+ \(since [\d:]+\) is pushing to {shop.app.name} just now", second.stderr)
        gate.write_text("")
        assert "Verifying deploy... done." in first.stderr.read()
        assert first.wait() == 0
    finally:
        first.kill()
        first.wait()
        if first.stderr is not None:
            first.stderr.close()


def test_a_push_goes_on_over_a_killed_core(serve: Serve, shop: Shop, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    shop.work.commit(Procfile=WEB + f"release: echo waiting; cat {gate}; echo it is done\n")
    push = subprocess.Popen(
        ["git", "push", "dynod", "main"],
        cwd=shop.work.folder,
        env=GitFolder.environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert push.stderr is not None
        while "remote: waiting" not in (line := push.stderr.readline()):
            assert line
        core = serve.core_pid()
        os.kill(core, signal.SIGKILL)
        serve.core_pid(other_than=core)
        gate.write_text("")
        rest = push.stderr.read()
        assert "remote: it is done" in rest
        assert "remote: waiting" not in rest
        assert "remote: Verifying deploy... done." in rest
        assert push.wait() == 0
    finally:
        push.kill()
        push.wait()
        if push.stderr is not None:
            push.stderr.close()


def test_what_is_not_there_is_named(serve: Serve, tmp_path: Path) -> None:
    work = GitFolder(tmp_path / "work")
    work.commit()
    for url, why in (
        (f"dynod::{serve.socket}/nowhere", "dynod: Couldn't find that app."),
        ("dynod::/nonexistent/dynod.sock/shop", "dynod: there is no socket /nonexistent/dynod.sock"),
        ("dynod::../../etc", "dynod: the URL of the remote: expected dynod::APP"),
    ):
        ended = work.git("push", url, "main")
        assert ended.returncode == 128
        assert why in ended.stderr
    assert "Traceback" not in str(serve.output)


def test_who_pushes_is_in_the_audit_trail_and_held_to_the_app(serve: Serve, shop: Shop) -> None:
    """The hook speaks for whoever pushes, and may no more than deploy that app; nobody it speaks for may go further."""
    shop.work.commit()
    shop.pushed()
    build = json.loads(serve.done("builds", "--json", "-a", shop.app.name).stdout)[0]
    assert build["user"]["email"] == json.loads(serve.done("auth:whoami", "--json").stdout)["email"]
    held = """
import sys
from dynod.platform_api.client import ApiClient
from dynod.platform_api.requests import ApiError
from dynod.platform_api.finding import Daemon
socket, app = sys.argv[1:]
daemon = Daemon(socket=socket, source="--socket")
client = ApiClient(daemon, on_behalf={"user": "eve", "origin": "ssh key", "app": app})
assert client.account()["name"] == "eve"
assert [each["name"] for each in client.apps()] == [app]
for refused in (
    lambda: client.config_vars("other"),
    lambda: client.destroy_app(app),
    lambda: client.create_app("another-one", None),
    client.authorizations,
    lambda: list(client.backup()),
    lambda: client.send("POST", "/dynod/on-behalf", {"user": "root", "origin": "x", "app": app}),
):
    try:
        refused()
    except ApiError as error:
        print(error.status)
"""
    serve.done("apps:create", "other")
    ended = subprocess.run(
        [sys.executable, "-c", held, str(serve.socket), shop.app.name], capture_output=True, text=True, check=False
    )
    serve.done("apps:destroy", "other", "--confirm", "other")
    assert (ended.stderr, ended.stdout.split()) == ("", ["404", "403", "403", "403", "403", "403"])
