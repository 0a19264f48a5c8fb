"""`dynod top`: one look as text, and the live view driven in tmux."""

import json
import os
import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from support.app_folder import app_folder, toy
from support.installed import program
from support.serve import Serve
from support.up import Up, clean_environment, eventually

pytestmark = pytest.mark.timeout(120)


class Tmux:
    """A terminal that shows what is drawn in it, and takes keys."""

    def __init__(self, tmux: str, folder: Path) -> None:
        self._tmux = [tmux, "-L", f"dynod-{uuid.uuid4().hex}", "-f", "/dev/null"]
        self._folder = folder

    def do(self, *arguments: str) -> str:
        ended = subprocess.run(
            [*self._tmux, *arguments],
            env=clean_environment(),
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return ended.stdout

    def keys(self, *keys: str) -> None:
        self.do("send-keys", *keys)

    def text(self, text: str) -> None:
        self.do("send-keys", "-l", text)

    def screen(self) -> str:
        return self.do("capture-pane", "-p")

    def wait_for(self, *texts: str, without: str | None = None) -> str:
        def look() -> str | None:
            screen = self.screen()
            return screen if all(text in screen for text in texts) and (without or "\0") not in screen else None

        try:
            return eventually(look, what=f"{texts} on the screen", timeout_s=30)
        except AssertionError:
            print(self.screen())
            raise

    def top(self) -> int | None:
        """The process that the shell in it runs."""
        (shell,) = self.do("list-panes", "-F", "#{pane_pid}").split()
        return next((child.pid for child in psutil.Process(int(shell)).children()), None)


@contextmanager
def tmux(folder: Path, command: str) -> Iterator[Tmux]:
    terminal = Tmux(program("tmux"), folder)
    twice = f"{command}; echo ended with $?; {command}; echo then ended with $?; exec cat"
    terminal.do("new-session", "-d", "-x", "150", "-y", "30", twice)
    try:
        yield terminal
    finally:
        terminal.do("kill-server")


def test_one_look_is_plain_text(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": toy("web_server"), "bad": "true"}, name="shop")
    (folder / "dynod.toml").write_text("[dynos]\nrestart = [300]\n")
    with Up(folder) as up:
        up.wait_until_up("web.1")
        up.wait_for_line(r"heroku\[bad\.1\]: +Cause: ")
        for _ in range(5):
            assert up.get("/").status == 200
        verb = [sys.executable, "-m", "dynod", "top"]
        once = subprocess.run(
            [*verb, "--once"], cwd=folder, env=clean_environment(), capture_output=True, text=True, check=False
        )
        assert once.returncode == 0, once.stderr
        assert once.stdout.startswith("shop  ")
        assert "it ended by itself with status 0" in once.stdout
        assert "\x1b" not in once.stdout
        as_json = subprocess.run(
            [*verb, "--json"], cwd=folder, env=clean_environment(), capture_output=True, text=True, check=False
        )
        by_name = {dyno["name"]: dyno for dyno in json.loads(as_json.stdout)["dynos"]}
        assert by_name["web.1"]["traffic"]["requests"] == 5
        assert sum(by_name["web.1"]["traffic"]["buckets"]) == 5


def test_top_shows_all_apps_opens_one_and_does_what_it_is_told(tmp_path: Path) -> None:
    """One session of one terminal, since each key waits for its own effect."""
    with Serve(tmp_path / "state", toml="[dynos]\nsettle_s = 0\n") as serve:
        procfile = {"web": toy("web_server"), "worker": toy("waits")}
        shop = serve.app(tmp_path, "shop", procfile=procfile, quantities={"web": 1, "worker": 1})
        serve.app(tmp_path, "blog", procfile={"web": toy("web_server")}, quantities={"web": 1})
        shop.wait_until_up("web.1", "worker.1")
        serve.done("config:set", "COLOUR=blue", "-a", "shop")
        once = serve.done("top", "--once")
        assert once.stdout.startswith("2 apps  3 dynos")
        assert {row.split()[0] for row in once.stdout.splitlines()[3:]} == {"shop", "blog"}
        assert {each["app"]["name"] for each in json.loads(serve.done("top", "--json").stdout)} == {"shop", "blog"}
        assert serve.done("top", "--once", "-a", "blog").stdout.startswith("blog  ")
        verb = f"DYNOD_SOCKET={shlex.quote(str(serve.socket))} {sys.executable} -m dynod top"
        with tmux(tmp_path, verb) as terminal:
            rows = terminal.wait_for("2 apps", "shop", "blog", "Enter open").splitlines()
            names = [row.split()[0] for row in rows[3:5]]
            terminal.keys("Home", *["Down"] * names.index("shop"), "Enter")
            terminal.wait_for("DYNO", "web.1", "worker.1", "── log", "State changed from starting to up", "q quit")

            terminal.keys("/")
            terminal.text("COLOUR config")
            terminal.wait_for("/COLOUR config")
            terminal.keys("Enter")
            filtered = terminal.wait_for('── log, with "COLOUR config"', "Set COLOUR config var", without="/COLOUR")
            assert "State changed" not in filtered
            terminal.keys("/", "C-u", "Enter")
            terminal.wait_for("── log ──", "State changed")

            terminal.keys("End", "+")
            terminal.wait_for("Scale worker to 2? y/n")
            terminal.keys("n")
            terminal.wait_for("q quit")
            terminal.keys("+")
            terminal.wait_for("Scale worker to 2? y/n")
            terminal.keys("y")
            terminal.wait_for("Scaling worker to 2", "worker.2")
            shop.wait_until_up("web.1", "worker.1", "worker.2")

            terminal.keys("b")
            terminal.wait_for("Roll back shop to v3? Config vars change back: COLOUR. y/n")
            terminal.keys("y")
            terminal.wait_for("Rolling back to v3: v5")
            eventually(lambda: "Rollback to v3" in serve.done("releases", "-a", "shop").stdout, what="the release")

            for _ in range(20):
                assert shop.get("/").status == 200
            terminal.wait_for("p95 ")
            terminal.keys("?")
            terminal.wait_for("PgUp", "any key")
            terminal.keys("Space", "a")
            terminal.wait_for("2 apps", "blog")
            first = terminal.top()
            terminal.keys("q")
            second = eventually(
                lambda: found if (found := terminal.top()) not in {first, None} else None, what="the second one"
            )
            terminal.wait_for("2 apps", "Enter open")
            os.kill(second, signal.SIGTERM)
            assert "2 apps" not in terminal.wait_for("\nthen ended with 143"), "the screen from before is back"
            assert "ended with 0\n" in terminal.screen()
