"""Builds in the containers of dynos: as the app's user, with nothing of the daemon in sight, and over a killed core."""

import contextlib
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app_folder import TOYS
from support.contained import contained, needs_containers
from support.serve import Serve

pytestmark = pytest.mark.timeout(120)
PACKS = TOYS / "buildpacks"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    needs_containers()
    with contained(tmp_path / "state", env={"DYNOD_DYNOS_SETTLE_S": "0.2"}) as running:
        running.wait_until_ready()
        running.done("apps:create", "shop")
        yield running


def begun(serve: Serve, folder: Path) -> str:
    """The id of a build that nobody waits for."""
    with contextlib.closing(serve.client) as client:
        address = client.create_source("shop")["source_blob"]
        with Path(shutil.make_archive(str(folder.parent / "source"), "gztar", folder)).open("rb") as file:
            client.upload(address["put_url"], file)
        return client.create_build("shop", address["get_url"], None)["id"]


def test_a_build_is_its_apps_own_users_and_sees_nothing_else(serve: Serve, tmp_path: Path) -> None:
    app = serve.known_app("shop")
    with contextlib.closing(serve.client) as client:
        client.replace_buildpacks("shop", [f"file://{PACKS}/assets", f"file://{PACKS}/greeter"])
    secrets = [serve.state / "state.db", serve.config, *serve.state.glob("*.db*")]
    serve.done("config:set", f"SECRETS={' '.join(map(str, secrets))}")
    code = {"server.py": (TOYS / "web_server.py").read_text(), "assets.txt": "some\n", "greeting.txt": "hello\n"}
    serve.done("storage:mount", "data:/data")
    procfile = {"release": "echo migrated >>/data/done", "web": "cat /data/done; exec python3 server.py"}
    folder = serve.folder_of(tmp_path, "code", procfile=procfile, files=code)
    build = begun(serve, folder)
    core = serve.core_pid()
    os.kill(core, signal.SIGKILL)  # wherever the build is
    serve.core_pid(other_than=core)
    said = serve.done("builds:output", build).stdout
    found = re.search(r"^-----> User (\d+) in /build/build with /app reads nothing$", said, re.MULTILINE)
    assert found is not None, said
    if os.geteuid() == 0:
        assert int(found[1]) not in {0, os.getuid()}
    assert "       Released v4\n" in said
    app.wait_until_up("web.1")
    assert app.get("/").status == 200
    app.wait_for_log(r"^app\[web\.1\]: migrated$")
    again = serve.done("builds:output", begun(serve, folder)).stdout
    assert "-----> Restoring cache\n" in again
    app.wait()
    with contextlib.closing(serve.client) as client:
        shutil.copytree(PACKS / "greeter", tmp_path / "pack")  # of this machine's /tmp, which no build sees
        client.replace_buildpacks("shop", [f"file://{tmp_path}/pack"])
    refused = serve.dynod("builds:create", "-a", "shop", "--source-dir", str(folder))
    assert refused.returncode == 1
    assert "in a container its /tmp is its own." in refused.stdout + refused.stderr
    assert list((serve.state / "work").iterdir()) == []
    assert "Traceback" not in str(serve.output)
