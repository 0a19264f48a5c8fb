"""`dynod deploy`: what is uploaded of a folder, what is said of it, and that it runs."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from support.app_folder import TOYS, toy
from support.attached_run import AttachedRun
from support.git_folder import GitFolder
from support.serve import Serve, ServedApp
from support.up import eventually

pytestmark = pytest.mark.timeout(120)

QUICK = "[dynos]\nsettle_s = 0.5\n"


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    with Serve(tmp_path_factory.mktemp("machine") / "state", toml=QUICK) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture
def app(serve: Serve, request: pytest.FixtureRequest) -> Iterator[ServedApp]:
    """A new one, named after the test."""
    name = re.sub(r"[^a-z]+", "-", request.node.name)[-20:].strip("-")
    serve.done("apps:create", name)
    yield serve.known_app(name)
    serve.done("apps:destroy", name, "--confirm", name)


def source(serve: Serve, parent: Path, *, procfile: str | None = None, files: dict[str, str] | None = None) -> Path:
    """A folder with an app that brings its program along."""
    return serve.folder_of(
        parent,
        "code",
        procfile=f"web: {sys.executable} server.py\n" if procfile is None else procfile,
        files={"server.py": (TOYS / "web_server.py").read_text(), **(files or {})},
    )


def deploy(
    serve: Serve, app: ServedApp | str, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dynod", "deploy", "-a", app if isinstance(app, str) else app.name, *arguments],
        cwd=cwd,
        env=GitFolder.environment({"DYNOD_SOCKET": str(serve.socket), **(env or {})}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def deployed(app: ServedApp) -> dict[str, str]:
    """The files that the web dyno runs among, by name."""
    app.wait_until_up("web.1")
    code = Path(f"/proc/{app.pids()['web.1']}/cwd").readlink()
    found = (path for path in code.rglob("*") if path.is_file() and path.name != ".slug.json")  # the build's own
    return {str(path.relative_to(code)): path.read_text() for path in found}


def test_a_clean_work_tree_is_deployed_as_its_commit(serve: Serve, app: ServedApp, tmp_path: Path) -> None:
    folder = source(serve, tmp_path, files={".gitignore": "ignored\n", "ignored": "x"})
    commit = GitFolder(folder).commit()
    (folder / ".dynod").mkdir()
    (folder / ".dynod" / ".gitignore").write_text("*\n")
    ended = deploy(serve, app, cwd=folder)
    assert ended.returncode == 0, ended.stderr
    assert re.search(rf"Packing ⬢ {app.name}\.\.\. done, main at {commit[:8]}, [\d.]+ (bytes|kB)\n", ended.stderr)
    assert "Uploading... done\n" in ended.stderr
    assert "       Released v3\n" in ended.stdout
    address = f"http://{app.name}.localhost:{serve.port}/"
    assert ended.stdout.splitlines()[-1] == f"⬢ {app.name} v3 is live: {address}"
    assert app.get("/").status == 200
    assert set(deployed(app)) == {".gitignore", "Procfile", "app.json", "server.py"}
    releases = json.loads(serve.done("releases", "--json", "-a", app.name).stdout)
    assert releases[0]["description"] == f"Deploy {commit[:8]}"
    history = [
        (event["action"], event["detail"], event["actor"])
        for event in json.loads(serve.done("events", "--json", "-a", app.name).stdout)
    ]
    me = releases[0]["user"]["email"].partition("@")[0]
    assert history[-1] == ("release.live", f"v3 Deploy {commit[:8]}", me)
    assert {"build.create", "slug.create", "release.create"} <= {action for action, _, actor in history if actor == me}
    # And from a folder of it, what is below that.
    (folder / "sub").mkdir()
    for name in ("Procfile", "server.py", "app.json"):
        (folder / name).rename(folder / "sub" / name)
    GitFolder(folder).commit()
    assert deploy(serve, app, "sub", cwd=folder).returncode == 0
    assert set(deployed(app)) == {"Procfile", "app.json", "server.py"}


def test_what_is_not_committed_is_said_and_deployed(serve: Serve, app: ServedApp, tmp_path: Path) -> None:
    folder = source(serve, tmp_path, files={".gitignore": "ignored\n", "ignored": "x", "gone": "x"})
    commit = GitFolder(folder).commit()
    (folder / "new").write_text("y")
    (folder / "gone").unlink()
    ended = deploy(serve, app, cwd=folder)
    assert ended.returncode == 0, ended.stderr
    assert f"done, main at {commit[:8]}, with changes, " in ended.stderr
    assert " ▸ not committed, and deployed as it is: gone, new\n" in ended.stderr
    assert set(deployed(app)) == {".gitignore", "Procfile", "app.json", "server.py", "new"}


def test_a_folder_under_no_git_is_deployed_by_its_gitignore(serve: Serve, app: ServedApp, tmp_path: Path) -> None:
    folder = source(serve, tmp_path, files={".gitignore": "*.log\n!keep.log\n", "a.log": "x", "keep.log": "x"})
    for name in ("node_modules", ".dynod", "__pycache__"):
        (folder / name).mkdir()
        (folder / name / "x").write_text("x")
    ended = deploy(serve, app, str(folder), cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "done, folder code, " in ended.stderr
    assert set(deployed(app)) == {".gitignore", "Procfile", "app.json", "server.py", "keep.log"}


def test_a_build_or_a_release_that_fails_is_status_1_and_changes_nothing(
    serve: Serve, app: ServedApp, tmp_path: Path
) -> None:
    folder = source(serve, tmp_path)
    assert deploy(serve, app, cwd=folder).returncode == 0
    serving = app.pids()
    (folder / "Procfile").write_text("web\n")
    ended = deploy(serve, app, cwd=folder)
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (1, f"dynod: the build of {app.name} has failed")
    assert "Procfile line 1" in ended.stdout
    (folder / "Procfile").write_text(f"web: {sys.executable} server.py\nrelease: echo no such table; exit 3\n")
    ended = deploy(serve, app, cwd=folder)
    assert ended.returncode == 1
    assert "Running release command...\nno such table\n" in ended.stdout
    assert "release v4 failed, and nothing has changed\n" in ended.stderr
    assert "live" not in ended.stdout
    document = deploy(serve, app, "--json", cwd=folder)
    assert document.returncode == 1
    assert app.pids() == serving
    assert app.get("/").status == 200


def test_a_first_deploy_that_does_not_come_up_is_said(serve: Serve, app: ServedApp, tmp_path: Path) -> None:
    """There is nothing to go back to, so that it is released all the same; the URL would not work."""
    ended = deploy(serve, app, cwd=source(serve, tmp_path, procfile="web: echo no luck; exit 7\n"))
    assert ended.returncode == 1
    assert ended.stderr.endswith(f"dynod: v3 is released, but web.1 has crashed: `dynod logs -a {app.name}` says why\n")


def test_an_app_of_a_folder_runs_from_what_was_deployed(serve: Serve, tmp_path: Path) -> None:
    name = "from-a-folder"
    app = serve.app(tmp_path, name, procfile={"web": toy("web_server")})
    app.wait_until_up("web.1")
    assert deploy(serve, app, cwd=source(serve, tmp_path)).returncode == 0
    assert "server.py" in deployed(app)
    serve.done("apps:destroy", name, "--confirm", name)


def test_an_app_that_is_not_there_is_to_be_made(serve: Serve, tmp_path: Path) -> None:
    ended = deploy(serve, "nowhere", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "dynod: there is no app nowhere here: make it with `dynod apps:create nowhere`\n"


def test_a_bar_on_a_terminal_and_ctrl_c_that_leaves_the_build_running(
    serve: Serve, app: ServedApp, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    folder = source(serve, tmp_path, procfile=f"web: {sys.executable} server.py\nrelease: echo waiting; cat {gate}\n")
    with AttachedRun(
        serve,
        "-a",
        app.name,
        str(folder),
        verb="deploy",
        folder=serve.runtime,
        terminal=True,
        env={"DYNOD_SOCKET": str(serve.socket)},
    ) as run:
        run.wait_for_line(r"Uploading.*━.*kB")
        run.wait_for_line("^waiting")
        run.child.send_signal(signal.SIGINT)
        run.wait_for_line(rf"It goes on; `dynod builds:output \S+ -a {app.name}` follows it")
        assert run.wait() == 130
    gate.write_text("")
    eventually(lambda: app.states() == {"web.1": "up"}, what="the release has gone on")


def test_a_git_remote_is_set_and_leads_to_app_and_daemon(serve: Serve, tmp_path: Path) -> None:
    work = GitFolder(tmp_path / "work")
    env = GitFolder.environment()

    def dynod(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dynod", *arguments]
        return subprocess.run(
            command, cwd=work.folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    url = f"dynod::{serve.socket}/remote-one"
    created = dynod("apps:create", "remote-one", "--socket", str(serve.socket))
    assert created.returncode == 0, created.stderr
    assert created.stdout == f"http://remote-one.localhost:{serve.port}/ | {url}\n"
    assert work.done("remote", "get-url", "dynod") == url
    # Nothing but the remote says which app and which dynod.
    assert dynod("apps:info").stdout.startswith("=== ⬢ remote-one\n")
    assert dynod("apps:create", "remote-two").stdout == f"http://remote-two.localhost:{serve.port}/\n"
    assert work.done("remote", "get-url", "dynod") == url
    changed = dynod("git:remote", "-a", "remote-two")
    # The daemon was found by the remote, whose place stays.
    assert changed.stdout == f"set git remote dynod to dynod::{serve.socket}/remote-two\n"
    assert dynod("apps:info").stdout.startswith("=== ⬢ remote-two\n")
    assert dynod("git:remote", "-a", "nowhere").returncode == 1
    assert dynod("apps:rename", "remote-three").returncode == 0
    assert dynod("apps:info").stdout.startswith("=== ⬢ remote-three\n")
    for name in ("remote-one", "remote-three"):
        dynod("apps:destroy", name, "--confirm", name)
