"""Buildpacks by the classic API in real builds: two stand-ins for such as others write (tests/toys/buildpacks)."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

from dynod.core.build import MOST_WAITING, PENDING
from dynod.platform_api.requests import ApiError
from support.app_folder import TOYS
from support.git_folder import GitFolder
from support.serve import Serve, ServedApp
from support.tarballs import tree
from support.up import eventually

pytestmark = pytest.mark.timeout(120)

PACKS = TOYS / "buildpacks"
BOTH = (f"file://{PACKS}/assets", f"file://{PACKS}/greeter")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that builds see, also as users of their own in containers."""
    folder = tmp_path_factory.mktemp("seen")
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory, seen: Path) -> Iterator[Serve]:
    toml = f"[dynos]\nsettle_s = 0.2\n[container]\nvisible = ['{seen}']\n"
    with Serve(tmp_path_factory.mktemp("serve") / "state", toml=toml) as running:
        running.wait_until_ready()
        yield running


class Gate:
    """Where a build waits until the test lets it go on."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._listener.close()

    def open(self, line: str) -> None:
        """Let one pass; returns once it has heard."""
        self._listener.settimeout(30)
        connection, _address = self._listener.accept()
        with connection:
            connection.sendall(f"{line}\n".encode())
            connection.recv(1)  # the end


@pytest.fixture
def app(serve: Serve, request: pytest.FixtureRequest) -> Iterator[ServedApp]:
    """A new one, named after the test."""
    name = re.sub(r"[^a-z]+", "-", request.node.name)[-20:].strip("-")
    serve.done("apps:create", name)
    yield serve.known_app(name)
    serve.done("apps:destroy", name, "--confirm", name)


def source(
    serve: Serve, parent: Path, *, files: Mapping[str, str], app_json: Mapping[str, object] | None = None
) -> Path:
    """A folder, made anew, without a Procfile unless `files` has one."""
    if (parent / "code").exists():
        shutil.rmtree(parent / "code")
    code = {"server.py": (TOYS / "web_server.py").read_text(), "greeting.txt": "hello\n", **files}
    folder = serve.folder_of(parent, "code", procfile=files.get("Procfile", ""), files=code, app_json=app_json)
    if "Procfile" not in files:
        (folder / "Procfile").unlink()
    return folder


def built(serve: Serve, app: ServedApp, folder: Path, *, status: int = 0) -> str:
    """What a build says; it must end so."""
    ended = serve.dynod("builds:create", "-a", app.name, "--source-dir", str(folder), "--version", "v7")
    assert ended.returncode == status, f"{ended.stdout}{ended.stderr}{serve.output}"
    return ended.stdout


def set_buildpacks(app: ServedApp, *urls: str) -> None:
    with contextlib.closing(app.serve.client) as client:
        client.replace_buildpacks(app.name, list(urls))


def buildpacks(app: ServedApp) -> list[str]:
    with contextlib.closing(app.serve.client) as client:
        return [each["buildpack"]["url"] for each in client.buildpacks(app.name)]


def config(app: ServedApp) -> dict[str, str]:
    found: dict[str, str] = json.loads(app.serve.done("config", "-a", app.name, "--json").stdout)
    return found


def test_several_run_in_order_and_the_last_one_declares_the_types(serve: Serve, app: ServedApp, tmp_path: Path) -> None:
    serve.done("config:set", "-a", app.name, "ASSETS_MODE=loud")
    set_buildpacks(app, *BOTH)
    files = {"assets.txt": "some\n", ".slugignore": "# not for builds\n/ignored.*\n", "ignored.txt": "x"}
    said = built(serve, app, source(serve, tmp_path, files=files))
    expected = [
        "-----> Deleting 1 files matching .slugignore patterns.",
        r"-----> Building on .+",
        "-----> Using buildpacks:",
        re.escape(f"       1. {BOTH[0]}"),
        re.escape(f"       2. {BOTH[1]}"),
        "-----> Assets app detected",
        "-----> Compiling assets",
        "       mode loud, build 1",
        "       stack heroku-24, source v7, home writable",
        "-----> Greeter app detected",
        "-----> Greeting with the tool of the buildpack before",
        "       shouted: hello",
        "-----> Discovering process types",
        r"       Procfile declares types     -> \(none\)",
        "       Default types for buildpack -> web, chat",
        r"-----> Compressing\.\.\.",
        r"       Done: \d+\.\dM",
        r"-----> Launching\.\.\.",
        r"       Released v4",
        rf"       http://{app.name}\.localhost:\d+/ deployed",
    ]
    assert re.fullmatch("\n".join(expected) + "\n", said), said
    # First deploy: one web dyno and no other, and what bin/release gives as config vars.
    app.wait_until_up("web.1")
    assert app.get("/").status == 200
    assert app.formation() == {"web": 1, "chat": 0}
    assert config(app)["GREETED"] == "world"
    # .profile.d comes before the command, which has the process to itself.
    app.scale("chat=1")
    app.wait_for_log(r"^app\[chat\.1\]: hello, world$")
    code = Path(f"/proc/{app.pids()['web.1']}/cwd").readlink()
    assert Path(f"/proc/{app.pids()['web.1']}/comm").read_text().strip() == "python3"
    assert f"{code}/.assets/bin:" in Path(f"/proc/{app.pids()['web.1']}/environ").read_text()
    assert tree(code / "public") == {"assets.txt": "SOME\n", "newest.txt": "-> assets.txt"}
    assert serve.done("run", "-a", app.name, "--", "shout", "and", "you").stdout.strip() == "shouted: and you"
    manifest = json.loads((code / ".slug.json").read_text())
    assert manifest["buildpacks"] == list(BOTH)
    assert manifest["stack"]["machine"] == os.uname().machine
    # The same again: the cache is there, config vars are as they were, the slug is the same slug.
    serve.done("config:unset", "-a", app.name, "GREETED", "ASSETS_MODE")
    (tmp_path / "code" / ".slugignore").unlink()
    again = built(serve, app, tmp_path / "code")
    assert "-----> Restoring cache\n-----> Compiling assets\n       mode none, build 2\n" in again
    assert "       ignored.txt is there\n" in again
    assert "GREETED" not in config(app)


def test_a_build_is_never_roots_though_dynos_are_not_kept_apart(serve: Serve, app: ServedApp, tmp_path: Path) -> None:
    """Nor does it read what is dynod's: its database, its settings, slugs and caches, its own ones neither."""
    set_buildpacks(app, *BOTH)
    folder = source(serve, tmp_path, files={"assets.txt": "some\n"})
    built(serve, app, folder)
    kept = [path for name in ("slugs", "cache", "built") for path in (serve.state / name).rglob("*") if path.is_file()]
    assert len(kept) >= 3
    secrets = [serve.config, *serve.state.glob("*.db*"), *kept[:20]]
    serve.done("config:set", "-a", app.name, f"SECRETS={' '.join(map(str, secrets))}")
    found = re.search(r"^-----> User (\d+) in \S+ with \S+ reads (.*)$", built(serve, app, folder), re.MULTILINE)
    assert found is not None
    assert int(found[1]) != 0
    assert found[2] == "nothing" or os.geteuid() != 0


def test_equal_sources_are_one_slug(serve: Serve, app: ServedApp, tmp_path: Path) -> None:
    set_buildpacks(app, *BOTH)
    folder = source(serve, tmp_path, files={"assets.txt": "some\n"})
    places = []
    for _ in range(2):
        built(serve, app, folder)
        app.wait()
        places.append(Path(f"/proc/{app.pids()['web.1']}/cwd").readlink())
    assert places[0] == places[1]  # it is named by its content
    assert places[0].parent.name == hashlib.sha256((places[0].parent.with_suffix(".tgz")).read_bytes()).hexdigest()


FAULTS: Mapping[str, tuple[dict[str, str], tuple[str, ...], list[str]]] = {
    "detect": (
        {},
        BOTH,
        [r" !     App not compatible with buildpack: file://\S+/assets\n       This buildpack needs an "],
    ),
    "compile": (
        {"greeting.txt": "fail"},
        BOTH[1:],
        [" !     the greeting is no greeting\n !     Push rejected, failed to compile Greeter app."],
    ),
    "repository": ({}, ("https://127.0.0.1:1/none.git",), [r" !     The buildpack https://127\S+ cannot be fetched: "]),
    "name": ({}, ("someone/unheard-of",), [" !     someone/unheard-of is not built into dynod: set the URL"]),
    "folder": ({}, ("file:///nowhere/at-all",), ["there is no such folder or .tgz"]),
    "procfile": ({"Procfile": "web\n"}, ("heroku/procfile",), [" !     Procfile line 1: expected"]),
    "nothing": ({".buildpacks": "# none\n"}, (), [" !     No default language could be detected for this app."]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_fails_is_said_and_changes_nothing(serve: Serve, app: ServedApp, tmp_path: Path, fault: str) -> None:
    files, packs, said = FAULTS[fault]
    set_buildpacks(app, *packs)
    output = built(serve, app, source(serve, tmp_path, files=files), status=1)
    for form in said:
        assert re.search(form, output), output
    assert output.endswith(" !     Push failed\n")
    assert app.dynos() == {}
    app.wait_for_log(r"^app\[api\]: Build failed -- check your build output: ")
    assert list((serve.state / "work").iterdir()) == []


def test_a_repository_is_had_at_its_branch_and_from_its_copy_where_it_is_gone(
    serve: Serve, app: ServedApp, tmp_path: Path, seen: Path
) -> None:
    pack = seen / "pack"
    shutil.copytree(PACKS / "greeter", pack)
    repository = GitFolder(pack)
    repository.commit()
    repository.done("checkout", "--quiet", "-b", "loud")
    compile_ = pack / "bin" / "compile"
    compile_.write_text(compile_.read_text().replace("shout ", "echo LOUD "))
    repository.commit()
    repository.done("checkout", "--quiet", "main")
    set_buildpacks(app, f"file://{pack}/.git#loud")
    folder = source(serve, tmp_path, files={})
    assert "       LOUD hello\n" in built(serve, app, folder)
    shutil.rmtree(pack)
    set_buildpacks(app, f"file://{pack}/.git#missing")
    assert "there is no such folder" in built(serve, app, folder, status=1)


def test_an_archive_is_a_buildpack_too(serve: Serve, app: ServedApp, tmp_path: Path, seen: Path) -> None:
    shutil.make_archive(str(seen / "archive"), "gztar", PACKS, "greeter")
    (seen / "archive.tar.gz").rename(seen / "pack.tgz")
    set_buildpacks(app)
    files = {"greeting.txt": "hello", ".profile": "shout() { echo hi; }\n"}
    folder = source(serve, tmp_path, files=files)
    with web_server(seen) as url:
        for pack in (f"file://{seen}/pack.tgz", f"{url}/pack.tgz"):
            serve.done("config:set", "-a", app.name, f"BUILDPACK_URL={pack}")
            failed = built(serve, app, folder, status=1)
            assert f"-----> Using buildpack: {pack}\n-----> Greeter app detected\n" in failed
            assert "shout: command not found" in failed  # nobody has exported it
        serve.done("config:set", "-a", app.name, f"BUILDPACK_URL={url}/none.tgz")
        missing = built(serve, app, folder, status=1)
    assert f" !     The buildpack {url}/none.tgz cannot be fetched: File not found\n" in missing


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """The folder's files on loopback."""

    class Files(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=os.fspath(folder))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_first_deploy_goes_by_app_json_and_a_second_one_does_not(
    serve: Serve, app: ServedApp, tmp_path: Path
) -> None:
    manifest = {
        "buildpacks": [{"url": url} for url in BOTH],
        "formation": {"chat": {"quantity": 1}},
        "env": {"SECRET": {"generator": "secret"}, "COLOUR": "red", "OPTIONAL": {"required": False}},
        "scripts": {"postdeploy": "shout first of all"},
        "healthchecks": {"web": [{"type": "startup", "command": ["shout", "up"], "attempts": 1}]},
    }
    folder = source(serve, tmp_path, files={"assets.txt": "some\n"}, app_json=manifest)
    built(serve, app, folder)
    app.wait_for_log(r"^app\[run\.\d+\]: shouted: first of all$")
    app.wait_until(up(app))
    assert app.formation() == {"web": 1, "chat": 1}
    assert buildpacks(app) == list(BOTH)
    first = config(app)
    assert (len(first["SECRET"]), first["COLOUR"], first["GREETED"], "OPTIONAL" in first) == (64, "red", "world", False)
    serve.done("config:unset", "-a", app.name, "COLOUR")
    built(serve, app, folder)
    app.wait()
    assert config(app) == {name: value for name, value in first.items() if name != "COLOUR"}
    said = r"^app\[run\.\d+\]: shouted: first of all$"
    assert len([line for line in app.log() if re.search(said, line)]) == 1
    # As if the core had been killed when the first release was live, and no dynos of it were asked for yet.
    with contextlib.closing(sqlite3.connect(serve.state / "state.db", timeout=30)) as state, state:
        assert state.execute("DELETE FROM formation WHERE app_id = ?", (app.id,)).rowcount == 2
    for _ in range(2):  # once: the second core finds it done
        core = serve.core_pid()
        os.kill(core, signal.SIGKILL)
        serve.core_pid(other_than=core)
        app.wait_for_log(said, count=2)
        app.wait_until(up(app))
        assert app.formation() == {"web": 1, "chat": 1}
    assert len([line for line in app.log() if re.search(said, line)]) == 2


def test_a_slug_of_another_machine_says_so_until_it_is_rebuilt(
    serve: Serve, app: ServedApp, tmp_path: Path, seen: Path
) -> None:
    python = seen / "python"

    def becomes(version: str) -> None:
        python.write_text(f"#!/bin/sh\necho Python {version}\n")
        python.chmod(0o755)

    becomes("3.11.2")
    serve.done("config:set", "-a", app.name, f"INTERPRETER={python}")
    set_buildpacks(app, *BOTH)
    built(serve, app, source(serve, tmp_path, files={"assets.txt": "some\n"}))
    app.wait_until_up("web.1")
    pids = app.pids()
    becomes("3.11.9")
    serve.done("config:set", "-a", app.name, "A=1")
    becomes("3.13.0")
    app.wait()
    pids = app.pids()
    why = f"v6 was built for Python 3.11.2, this machine has 3.13.0: dynod rebuild -a {app.name}"
    refused = serve.dynod("config:set", "-a", app.name, "A=2")
    assert (refused.returncode, why in refused.stderr) == (1, True)
    assert app.pids() == pids
    core = serve.core_pid()
    os.kill(core, signal.SIGKILL)
    serve.core_pid(other_than=core)
    app.wait_for_log(
        rf"^app\[api\]: v5 was built for Python 3\.11\.2, this machine has 3\.13\.0: dynod rebuild -a {app.name}$"
    )
    rebuilt = serve.done("rebuild", "-a", app.name).stdout
    assert "-----> Greeter app detected\n" in rebuilt
    assert rebuilt.endswith(f"⬢ {app.name} v7 is live\n")
    serve.done("config:set", "-a", app.name, "A=3")
    app.wait()
    assert app.get("/").status == 200
    serve.done("apps:create", "unbuilt")
    nothing = serve.dynod("rebuild", "-a", "unbuilt")
    assert nothing.stderr == "dynod: The source of what unbuilt runs is not here: deploy it again.\n"
    everything = serve.done("rebuild", "--all")  # and nothing of what was never built
    assert "-----> Greeter app detected\n" in everything.stdout
    assert everything.stdout.endswith(f"⬢ {app.name} v9 is live\n")
    assert "unbuilt" not in everything.stdout + everything.stderr
    for source_kept in (serve.state / "built").glob("*"):
        assert source_kept.is_file()
        source_kept.unlink()
    nothing = serve.dynod("rebuild", "--all")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert nothing.stderr == (
        f" ▸ The source of what {app.name} runs is not here: deploy it again.\n"
        f"dynod: not rebuilt, and running as before: {app.name}\n"
    )
    serve.done("apps:destroy", "unbuilt", "--confirm", "unbuilt")


def up(app: ServedApp) -> dict[str, str]:
    """Its formation's dynos, up."""
    return {f"{name}.{number}": "up" for name, count in app.formation().items() for number in range(1, count + 1)}


def test_a_build_outlives_its_core_and_says_on_what_it_said(serve: Serve, app: ServedApp, tmp_path: Path) -> None:
    with Gate() as gate:
        outlives(serve, app, tmp_path, gate)


def outlives(serve: Serve, app: ServedApp, tmp_path: Path, gate: Gate) -> None:
    serve.done("config:set", "-a", app.name, f"GATE={gate.port}")
    set_buildpacks(app, *BOTH)
    folder = source(serve, tmp_path, files={"assets.txt": "some\n", "greeting.txt": "wait\n"})
    id_ = begun(serve, app, folder)
    second = begun(serve, app, folder)  # which waits for its turn
    follow_until(serve, app, id_, "-----> Waiting at ")
    core = serve.core_pid()
    os.kill(core, signal.SIGKILL)
    serve.core_pid(other_than=core)
    assert status_of(serve, app, id_) == PENDING
    for line, build in (("go", id_), ("and on", second)):
        follow_until(serve, app, build, "-----> Waiting at ")
        gate.open(line)
        output = serve.done("builds:output", "-a", app.name, build).stdout
        assert f"-----> Went on: {line}\n" in output
        assert output.count("-----> Compiling assets\n") == 1
        assert "       Released v" in output
        assert status_of(serve, app, build) == "succeeded"
    assert "-----> Waiting for build " in serve.done("builds:output", "-a", app.name, second).stdout
    app.wait()
    assert app.get("/").status == 200


def test_what_takes_too_long_or_too_much_fails(tmp_path: Path) -> None:
    toml = "[builds]\ntimeout_s = 2\nslug_bytes = 1000000\n"
    with contextlib.ExitStack() as stack:
        serve = stack.enter_context(Serve(tmp_path / "state", toml=toml))
        serve.wait_until_ready()
        serve.done("apps:create", "shop")
        app = serve.known_app("shop")
        set_buildpacks(app, *BOTH)
        gate = stack.enter_context(Gate())
        serve.done("config:set", "-a", "shop", f"GATE={gate.port}")
        files = {"assets.txt": "some\n", "greeting.txt": "big\n"}
        assert re.search(
            r" !     Compiled slug size: 1\.0M is too large \(max is 1M\)\.\n !     Push failed\n$",
            built(serve, app, source(serve, tmp_path, files=files), status=1),
        )
        files["greeting.txt"] = "wait\n"
        late = built(serve, app, source(serve, tmp_path, files=files), status=1)
        assert late.endswith(" !     Timed out building: it may take 2 s.\n !     Push failed\n")
        assert app.dynos() == {}


def test_so_many_builds_may_wait_and_all_of_them_end_with_their_app(serve: Serve, tmp_path: Path) -> None:
    serve.done("apps:create", "doomed")
    app = serve.known_app("doomed")
    set_buildpacks(app, *BOTH)
    with Gate() as gate:
        serve.done("config:set", "-a", "doomed", f"GATE={gate.port}")
        folder = source(serve, tmp_path, files={"assets.txt": "x\n", "greeting.txt": "wait\n"})
        id_ = begun(serve, app, folder)
        follow_until(serve, app, id_, "-----> Waiting at ")
        for _ in range(MOST_WAITING):
            begun(serve, app, folder)
        refused = rf"^doomed has 10 builds waiting for build {id_}: try again later\.$"
        with pytest.raises(ApiError, match=refused):
            begun(serve, app, folder)
        serve.done("apps:destroy", "doomed", "--confirm", "doomed")
    left = [serve.state / "work" / id_, serve.state / "cache" / app.id, serve.state / "builds" / app.id]
    assert [path for path in left if path.exists()] == []
    assert "Traceback" not in str(serve.output)


def begun(serve: Serve, app: ServedApp, folder: Path) -> str:
    """The id of a build that nobody waits for."""
    with contextlib.closing(serve.client) as client:
        address = client.create_source(app.name)["source_blob"]
        packed = shutil.make_archive(str(folder.parent / "source"), "gztar", folder)
        with Path(packed).open("rb") as file:
            client.upload(address["put_url"], file)
        return client.create_build(app.name, address["get_url"], "v7")["id"]


def follow_until(serve: Serve, app: ServedApp, build: str, beginning: str) -> None:
    """Follow what it says, as it says it, up to a line."""
    with contextlib.closing(serve.client) as client:
        said = b""
        for piece in client.stream(client.build(app.name, build)["output_stream_url"]):
            said += piece
            if any(line.startswith(beginning) for line in said.decode().splitlines()):
                return
    raise AssertionError(f"no line begins with {beginning!r}: {said.decode()}")


def status_of(serve: Serve, app: ServedApp, build: str) -> str:
    with contextlib.closing(serve.client) as client:
        return eventually(lambda: client.build(app.name, build)["status"], what="the build is known")
