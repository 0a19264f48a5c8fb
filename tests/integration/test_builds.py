"""Code from an archive: uploaded, made a slug of, released, and running; by verbs and by plain HTTP."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynod.platform_api.requests import ApiError
from support.app_folder import TOYS
from support.serve import Serve, ServedApp
from support.tarballs import member, packed
from support.up import eventually

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with Serve(tmp_path / "state") as running:
        running.wait_until_ready()
        running.done("apps:create", "shop")
        yield running


def source(
    serve: Serve, parent: Path, name: str, *, procfile: str | None = None, files: dict[str, str] | None = None
) -> Path:
    """A folder with an app that brings its program along."""
    web = f"web: {sys.executable} server.py\n"
    return serve.folder_of(
        parent,
        name,
        procfile=web if procfile is None else procfile,
        files={"server.py": (TOYS / "web_server.py").read_text(), **(files or {})},
    )


def shop(serve: Serve) -> ServedApp:
    return serve.known_app("shop")


def code_of(serve: Serve) -> Path:
    """The only slug that there is, unpacked."""
    (unpacked,) = [path for path in (serve.state / "slugs").iterdir() if path.is_dir()]
    return unpacked / "app"


def test_a_folder_is_released_and_runs_from_its_slug(serve: Serve, tmp_path: Path) -> None:
    folder = source(serve, tmp_path, "code", files={"node_modules/left.txt": "out", "kept/in.txt": "in"})
    created = serve.done("builds:create", "--source-dir", str(folder), "--version", "1.0")
    assert "-----> Discovering process types\n       Procfile declares types -> web\n" in created.stdout
    assert "       Released v3\n" in created.stdout
    app = shop(serve)
    app.wait_until_up("web.1")
    assert json.loads(app.get("/").body)["dyno"] == "web.1"
    app.wait_for_log(r"^app\[api\]: Build started by user \S+$")
    app.wait_for_log(r"^app\[api\]: Deploy 1\.0 by user \S+$")
    app.wait_for_log(r"^app\[api\]: Build succeeded$")
    unpacked = code_of(serve)
    pid = app.pids()["web.1"]
    assert Path(f"/proc/{pid}/cwd").resolve() == unpacked
    assert (unpacked / "kept" / "in.txt").read_text() == "in"
    assert not (unpacked / "node_modules").exists()
    assert not (serve.state / "slugs").stat().st_mode & 0o077
    (build,) = json.loads(serve.done("builds", "--json").stdout)
    assert (build["status"], build["source_blob"]["version"], build["dynod"]["release_version"]) == (
        "succeeded",
        "1.0",
        3,
    )
    assert serve.done("builds:output", build["id"]).stdout == created.stdout
    assert "Status:   succeeded\n" in serve.done("builds:info", build["id"]).stdout
    # The folder is only where it came from.
    (folder / "server.py").unlink()
    serve.done("ps:restart")
    app.wait()
    assert app.get("/").status == 200
    core = serve.core_pid()
    os.kill(core, signal.SIGKILL)
    serve.core_pid(other_than=core)
    assert serve.done("builds:output", build["id"]).stdout == created.stdout


def test_the_next_build_takes_over_and_a_broken_one_changes_nothing(serve: Serve, tmp_path: Path) -> None:
    serve.done("builds:create", "--source-dir", str(source(serve, tmp_path, "one")))
    app = shop(serve)
    app.wait_until_up("web.1")
    first = app.pids()
    broken = serve.dynod("builds:create", "--source-dir", str(source(serve, tmp_path, "two", procfile="web\n")))
    assert broken.returncode == 1
    assert "Procfile line 1" in broken.stdout
    assert " !     Push failed\n" in broken.stdout
    assert broken.stderr.endswith("the build of shop has failed\n")
    app.wait_for_log(r"^app\[api\]: Build failed -- check your build output: ")
    assert app.pids() == first
    serve.done("builds:create", "--source-dir", str(source(serve, tmp_path, "three")))
    eventually(lambda: app.pids() != first and app.states() == {"web.1": "up"}, what="the new release runs")
    assert app.get("/").status == 200
    statuses = [build["status"] for build in json.loads(serve.done("builds", "--json").stdout)]
    assert sorted(statuses) == ["failed", "succeeded", "succeeded"]  # their times are whole seconds
    serving = app.pids()
    crashing = source(serve, tmp_path, "four", procfile="web: echo no luck; exit 7\n")
    failed = serve.dynod("builds:create", "--source-dir", str(crashing))
    assert failed.returncode == 1
    assert failed.stderr.endswith("nothing has changed\ndynod: web.1: process exited with status 7\ndynod: no luck\n")
    assert app.pids() == serving


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (packed([member("Procfile", b"web: x\n"), member("../evil", b"x")]), "leads out of it"),
        (packed([member("evil", kind=b"2", link="/etc/passwd")]), "outside of it"),
        (packed([member("README", b"nothing else")]), "Procfile"),
    ],
)
def test_an_archive_that_must_not_be_is_refused_and_said(
    serve: Serve, tmp_path: Path, archive: bytes, message: str
) -> None:
    (tmp_path / "source.tgz").write_bytes(archive)
    refused = serve.dynod("builds:create", "--source-tar", str(tmp_path / "source.tgz"))
    assert refused.returncode == 1
    assert message in refused.stdout
    assert shop(serve).dynos() == {}
    assert "Traceback" not in str(serve.output)


def test_what_is_no_archive_does_not_get_in(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "source.tgz").write_bytes(b"PK\x03\x04")
    refused = serve.dynod("builds:create", "--source-tar", str(tmp_path / "source.tgz"))
    assert refused.returncode == 1
    assert refused.stderr.endswith("This is no gzipped tar.\n")
    assert json.loads(serve.done("builds", "--json").stdout) == []


def test_what_was_not_uploaded_is_not_taken_from_this_machine(serve: Serve) -> None:
    """A URL is fetched from inside the machine's network."""
    with contextlib.closing(serve.client) as client:
        for url, why in (
            ("http://127.0.0.1:1/x.tgz", "not an address that everybody reaches"),
            ("file:///etc/passwd", "expected the get_url"),
            (client.create_source("shop")["source_blob"]["put_url"], "expected the get_url"),
        ):
            with pytest.raises(ApiError, match=why):
                client.create_build("shop", url, None)
        with pytest.raises(ApiError, match="Couldn't find that source"):
            client.create_build("shop", client.create_source("shop")["source_blob"]["get_url"], None)


def test_of_a_folder_under_git_only_what_git_knows_or_would_is_packed(serve: Serve, tmp_path: Path) -> None:
    folder = source(serve, tmp_path, "code", files={".gitignore": "secret.txt\n", "secret.txt": "x", "new.txt": "y"})
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    serve.done("builds:create", "--source-dir", str(folder))
    shop(serve).wait_until_up("web.1")
    names = {path.name for path in code_of(serve).iterdir()}
    assert names == {".gitignore", ".slug.json", "Procfile", "app.json", "new.txt", "server.py"}
