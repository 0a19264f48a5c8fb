"""Deploys and rollbacks under the load of contracts 9: no request fails, whether they go live or not.

The counts of issue 8 (20 deploys and rollbacks) run in `make test-full`.
"""

import contextlib
import json
import random
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.app_folder import TOYS
from support.counts import rounds
from support.serve import Serve, ServedApp
from support.steady_load import SteadyLoad

pytestmark = pytest.mark.timeout(600)

QUICK = "[dynos]\nsettle_s = 0.3\ngrace_s = 5\n"
CHANGES = rounds(2, full=20)  # a deploy and a rollback by turns
WEB = f"{sys.executable} server.py --counts"
# What is deployed, and by what it must be refused. Each has all that the others have right.
BREAKS: Mapping[str, tuple[str, dict[str, object], str]] = {
    "build": ("web\n", {}, r"Procfile line 1: expected .*\n !     Push failed"),
    "release phase": (f"web: {WEB}\nrelease: echo no schema; exit 3\n", {}, r"exited with status 3\n.*no schema"),
    "crash": ("web: echo no luck; exit 7\n", {}, r"web\.1: process exited with status 7\n.*no luck"),
    "boot": ("web: exec sleep 600\n", {}, r"web\.1: .*R10"),
    "readiness": (
        f"web: {WEB}\n",
        {"healthchecks": {"web": [{"type": "startup", "command": ["false"], "attempts": 1}]}},
        r"web\.1: Startup check failed",
    ),
}


def deploy(
    serve: Serve, parent: Path, *, procfile: str, text: str, app_json: Mapping[str, object] | None = None
) -> str:
    """What was said of a deploy, good or bad."""
    folder = parent / f"code-{text.replace(' ', '-')}"
    if not folder.exists():
        files = {"server.py": (TOYS / "web_server.py").read_text(), "text": text}
        serve.folder_of(parent, folder.name, procfile=procfile, files=files, app_json=app_json)
    ended = serve.dynod("deploy", "-a", "shop", str(folder))
    return f"{ended.stdout}{ended.stderr}status {ended.returncode}"


def current(app: ServedApp) -> int:
    with contextlib.closing(app.serve.client) as client:
        return max(release["version"] for release in client.releases(app.name) if release["current"])


def test_no_request_fails_over_deploys_rollbacks_and_what_breaks(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with Serve(tmp_path / "state", toml=QUICK) as serve:
        serve.wait_until_ready()
        serve.done("apps:create", "shop")
        app = serve.known_app("shop")
        said = deploy(serve, tmp_path, procfile=f"web: {WEB}\n", text="first")
        assert said.endswith("status 0"), said
        app.wait_until_up("web.1")
        serve.done("settings:set", "-a", "shop", "web.boot_timeout_s=3")
        first = {pid for pid in app.pids().values() if pid is not None}
        with SteadyLoad(serve.port, "shop.localhost", seed=seed) as load:
            load.wait_for(200, timeout_s=60)
            version = current(app)
            for number in range(CHANGES):
                version += 1
                if number % 2:
                    said = serve.done("rollback", "-a", "shop", "--yes").stderr
                    assert f"done, v{version}" in said, said
                else:
                    said = deploy(serve, tmp_path, procfile=f"web: {WEB}\n", text=f"change {number}")
                    assert f"v{version} is live" in said, said
                assert current(app) == version
                load.wait_for(load.sent + 100, timeout_s=60)
            for how, (procfile, app_json, why) in BREAKS.items():
                said = deploy(serve, tmp_path, procfile=procfile, text=how, app_json=app_json)
                assert said.endswith("status 1"), said
                assert re.search(why, said, re.DOTALL), (how, said)
                assert current(app) == version, how
            load.wait_for(load.sent + 100, timeout_s=60)
        switches = load.switches(first)
        in_flight = [switch.in_flight for switch in switches]
        retried = sum("retries=" in line for line in app.log())
        print(f"sent {load.sent}, posts {load.posts}, retried {retried}, in flight at each switch {in_flight}")
        assert set(load.outcomes) == {"ok"}, load.outcomes
        assert len(switches) == CHANGES, "what broke had no request"
        statuses = [each["status"] for each in json.loads(serve.done("releases", "-a", "shop", "--json").stdout)]
        assert statuses.count("failed") == len(BREAKS) - 1  # a build that fails makes no release
