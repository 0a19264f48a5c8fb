"""`dynod top`: one look as text, and the live view driven in tmux."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.app_folder import app_folder, toy
from support.installed import program
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

    def screen(self) -> str:
        return self.do("capture-pane", "-p")

    def wait_for(self, *texts: str) -> str:
        def look() -> str | None:
            screen = self.screen()
            return screen if all(text in screen for text in texts) else None

        try:
            return eventually(look, what=f"{texts} on the screen", timeout_s=30)
        except AssertionError:
            print(self.screen())
            raise


@contextmanager
def tmux(folder: Path, command: str) -> Iterator[Tmux]:
    terminal = Tmux(program("tmux"), folder)
    terminal.do("new-session", "-d", "-x", "150", "-y", "30", f"{command}; echo ended with $?; exec cat")
    try:
        yield terminal
    finally:
        terminal.do("kill-server")


def test_top_shows_what_happens_and_does_what_it_is_told(tmp_path: Path) -> None:
    folder = app_folder(
        tmp_path, procfile={"web": toy("web_server"), "worker": toy("waits"), "bad": "true"}, name="shop"
    )
    (folder / "dynod.toml").write_text("[dynos]\nrestart = [300]\n")
    with Up(folder) as up:
        up.wait_until_up("web.1", "worker.1")
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
        with tmux(folder, " ".join(verb)) as terminal:
            terminal.wait_for("DYNO", "web.1", "worker.1", "crashed", "q quit")
            terminal.do("send-keys", "Down")
            terminal.do("send-keys", "+")
            terminal.wait_for("Scale worker to 2? y/n")
            terminal.do("send-keys", "n")
            terminal.wait_for("q quit")
            terminal.do("send-keys", "+")
            terminal.wait_for("Scale worker to 2? y/n")
            terminal.do("send-keys", "y")
            terminal.wait_for("worker.2")
            up.wait_until_up("worker.2")
            for _ in range(20):
                assert up.get("/").status == 200
            terminal.wait_for("p95 ")
            terminal.do("send-keys", "q")
            assert "DYNO" not in terminal.wait_for("ended with 0"), "the screen from before is back"
