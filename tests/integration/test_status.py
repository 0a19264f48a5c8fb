"""`dynod status` of `serve` and of `up`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dynod import __version__
from support.app_folder import app_folder, toy
from support.serve import Serve
from support.up import Up, clean_environment

pytestmark = pytest.mark.timeout(120)


def test_serve_says_what_runs_and_what_is_in_trouble(tmp_path: Path) -> None:
    with Serve(tmp_path / "state") as serve:
        procfile = {"web": toy("web_server"), "worker": toy("exits_at_once")}
        shop = serve.app(tmp_path, "shop", procfile=procfile, quantities={"web": 2, "worker": 1})
        shop.wait_for_log(r"heroku\[worker\.1\]: State changed from \S+ to crashed")
        shop.wait_until({"web.1": "up", "web.2": "up", "worker.1": "crashed"})
        serve.done("drains:add", "syslog://127.0.0.1:1")
        serve.done("maintenance:on")
        shop.wait_for_log(r"heroku\[worker\.1\]: State changed from \S+ to crashed", count=2)
        status = json.loads(serve.done("status", "--json").stdout)
        assert (status["version"], status["verb"], status["pid"]) == (__version__, "serve", serve.pid)
        assert status["listeners"] == [f"http://127.0.0.1:{serve.port}"]
        assert (status["control"], status["state"]) == (str(serve.socket), str(serve.state))
        assert (status["apps"], status["store_refused"], status["api"]) == (1, 0, None)
        assert status["dynos"]["up"] == 2
        assert status["troubles"][0] == "shop is in maintenance mode"
        text = serve.done("status").stdout
        assert text.startswith(f"=== dynod serve\n\nVersion:  {__version__}\n")
        assert "\n=== In trouble\n\nshop is in maintenance mode\n" in text


def test_up_has_a_status_too_and_says_what_it_lacks(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": toy("web_server")})
    with Up(folder, env={"DYNOD_WITHOUT": "cgroup"}) as up:
        up.wait_for_line(r"State changed from starting to up")
        ended = subprocess.run(
            [sys.executable, "-m", "dynod", "status"],
            cwd=folder,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.startswith("=== dynod up\n")
        assert "Dynos:    1 up\n" in ended.stdout
        assert "=== Cannot be done here\n\ndynos have no control groups" in ended.stdout


def test_what_the_kernel_does_not_limit_is_said_once_at_the_start_and_in_the_status(tmp_path: Path) -> None:
    with Serve(tmp_path / "state", env={"DYNOD_WITHOUT": "cgroup"}) as serve:
        lack = "the kernel does not limit dynos in memory, how many processes they have, CPU"
        serve.wait_for_line(lack)
        serve.wait_until_ready()
        assert [lack in each for each in json.loads(serve.done("status", "--json").stdout)["lacks"]].count(True) == 1
        core = serve.core_pid()
        os.kill(core, signal.SIGKILL)
        serve.core_pid(other_than=core)
        assert lack in serve.done("status").stdout
    assert str(serve.output).count(lack) == 1, "the next core does not say it again"
