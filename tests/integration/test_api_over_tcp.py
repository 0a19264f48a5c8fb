"""The API over TCP of the real `dynod serve` and `dynod up`: where it may listen, who comes in, who did what."""

import getpass
import http.client
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from dynod.store.files import DATABASE
from support.app_folder import app_folder, toy
from support.serve import Serve
from support.up import Up, clean_environment, eventually, free_port

pytestmark = pytest.mark.timeout(120)
WORKER = {"worker": toy("waits")}


def ask(port: int, token: str | None, method: str, path: str, body: object = None) -> tuple[int, object]:
    """One call on a connection of its own."""
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, body=None if body is None else json.dumps(body).encode(), headers=headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def test_a_token_works_over_a_kill_of_the_core_and_a_restart_and_its_user_is_in_the_audit_trail(
    tmp_path: Path,
) -> None:
    port = free_port()
    with Serve(tmp_path / "state", "--api", f"127.0.0.1:{port}") as serve:
        serve.wait_for_line(rf"dynod: API on http://127\.0\.0\.1:{port}$")
        shop = serve.app(tmp_path, "shop", procfile=WORKER)
        token = serve.done("auth:create", "-d", "CI").stdout.strip()
        limited = serve.done("auth:create", "-a", "shop", "--scope", "read").stdout.strip()
        assert ask(port, None, "GET", "/apps")[0] == 401
        body = {"updates": [{"type": "worker", "quantity": 1}]}
        assert ask(port, limited, "PATCH", "/apps/shop/formation", body)[0] == 403
        assert ask(port, token, "PATCH", "/apps/shop/formation", body)[0] == 200
        shop.wait_until_up("worker.1")
        core = serve.core_pid()
        outcomes: Counter[object] = Counter()
        done = threading.Event()

        def keep_asking() -> None:
            while not done.is_set():
                try:
                    outcomes[ask(port, limited, "GET", "/apps")[0]] += 1
                except ConnectionRefusedError:
                    outcomes["refused"] += 1
                except (OSError, http.client.HTTPException):
                    outcomes["died with the core"] += 1

        asking = threading.Thread(target=keep_asking)
        asking.start()
        try:
            os.kill(core, signal.SIGKILL)
            serve.core_pid(other_than=core)
            answered = outcomes[200]
            eventually(lambda: outcomes[200] > answered + 3, what="answers of the next core")
        finally:
            done.set()
            asking.join()
        assert set(outcomes) <= {200, "died with the core"}
        assert outcomes["died with the core"] <= 1
        listed = serve.done("auth:list").stdout
        assert "admin  CI" in listed
        assert "read of shop" in listed
        assert "never" not in listed
    with Serve(tmp_path / "state", "--api", f"127.0.0.1:{port}", mark=serve.mark) as serve:
        serve.wait_until_ready()
        assert ask(port, token, "GET", "/apps")[0] == 200
        (id_,) = [
            each["id"] for each in json.loads(serve.done("auth:list", "--json").stdout) if each["description"] == "CI"
        ]
        serve.done("auth:revoke", id_[:8])
        assert ask(port, token, "GET", "/apps")[0] == 401
    with closing(sqlite3.connect(tmp_path / "state" / DATABASE)) as database:
        trail = database.execute("SELECT action, actor, origin FROM audit ORDER BY id").fetchall()
    me = getpass.getuser()
    here = f"unix uid {os.getuid()}"
    assert trail == [
        ("app.create", me, here),
        *[("release.create", me, here)] * 3,
        ("formation.set", me, here),
        ("token.create", me, here),
        ("token.create", me, here),
        ("formation.set", me, "tcp 127.0.0.1"),
        ("token.revoke", me, here),
    ]
    assert token not in str(serve.output)


@pytest.mark.parametrize("check", [["--check"], []], ids=["check", "start"])
@pytest.mark.parametrize("address", ["0.0.0.0:{}", "[::]:{}"])
def test_plain_http_where_other_machines_reach_it_is_refused(tmp_path: Path, check: list[str], address: str) -> None:
    state = tmp_path / "state"
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "dynod", "serve", "--config", os.devnull, "--state", str(state)),
            *("--socket", str(tmp_path / "s"), "--listen", f"127.0.0.1:{free_port()}"),
            *("--api", address.format(free_port()), *check),
        ],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert "--insecure-api" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "s").exists()


def test_who_asks_for_it_in_so_many_words_gets_it(tmp_path: Path) -> None:
    port = free_port()
    with Serve(tmp_path / "state", "--api", f"0.0.0.0:{port}", "--insecure-api") as serve:
        serve.wait_until_ready()
        assert ask(port, serve.done("auth:create").stdout.strip(), "GET", "/apps") == (200, [])


def test_the_same_in_up(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile=WORKER, name="shop")
    port = free_port()
    with Up(folder, "--api", f"127.0.0.1:{port}", "worker=1") as up:
        up.wait_for_line(rf"dynod: API on http://127\.0\.0\.1:{port}$")
        up.wait_until_up("worker.1")

        def dynod(*arguments: str) -> str:
            return subprocess.run(
                [sys.executable, "-m", "dynod", *arguments],
                cwd=folder,
                env=clean_environment(),
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            ).stdout

        token = dynod("auth:create").strip()
        assert ask(port, token, "GET", "/apps/shop/dynos")[0] == 200
        core = up.core_pid()
        os.kill(core, signal.SIGKILL)
        up.core_pid(other_than=core)
        eventually(lambda: ask(port, token, "GET", "/apps/shop/dynos")[0] == 200, what="an answer")
        assert dynod("auth:whoami").strip().endswith("@localhost")
    with Up(folder, "--api", f"0.0.0.0:{port}") as up:
        assert up.wait() == 1
        up.wait_for_line("--insecure-api")
