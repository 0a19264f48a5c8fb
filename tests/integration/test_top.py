"""`dynod top`: one look as text, and the live view driven in tmux."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import pytest

from support.app_folder import app_folder, toy
from support.installed import program
from support.serve import Serve, ServedApp
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
    terminal.do("new-session", "-d", "-x", "150", "-y", "30", command)
    try:
        yield terminal
    finally:
        terminal.do("kill-server")


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon with two apps, for all sessions of terminals."""

    serve: Serve
    shop: ServedApp
    blog: ServedApp

    @property
    def verb(self) -> str:
        return f"DYNOD_SOCKET={shlex.quote(str(self.serve.socket))} {sys.executable} -m dynod top"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("top")
    with Serve(folder / "state", toml="[dynos]\nsettle_s = 0\nrestart = [300]\n") as serve:
        procfile = {"web": toy("web_server"), "worker": toy("waits")}
        shop = serve.app(folder, "shop", procfile=procfile, quantities={"web": 1, "worker": 1})
        procfile = {"web": toy("web_server"), "bad": "false"}
        blog = serve.app(folder, "blog", procfile=procfile, quantities={"web": 1, "bad": 1})
        shop.wait_until_up("web.1", "worker.1")
        blog.wait_until({"web.1": "up", "bad.1": "crashed"})
        yield Running(serve, shop, blog)


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


def test_top_shows_all_apps_opens_one_and_does_what_it_is_told(running: Running, tmp_path: Path) -> None:
    """One session of one terminal, since each key waits for its own effect."""
    serve, shop = running.serve, running.shop
    serve.done("config:set", "COLOUR=blue", "-a", "shop")
    once = serve.done("top", "--once")
    assert once.stdout.startswith("2 apps  4 dynos")
    assert {row.split()[0] for row in once.stdout.splitlines()[3:]} == {"shop", "blog"}
    assert {each["app"]["name"] for each in json.loads(serve.done("top", "--json").stdout)} == {"shop", "blog"}
    assert serve.done("top", "--once", "-a", "blog").stdout.startswith("blog  ")
    twice = f"{running.verb}; echo ended with $?; {running.verb}; echo then ended with $?; exec cat"
    with tmux(tmp_path, twice) as terminal:
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


RED: Final = "\x1b[31m"
ENDS: Final[Mapping[str | signal.Signals, int]] = {
    "q": 0,
    "C-c": 0,
    signal.SIGTERM: 143,
    signal.SIGQUIT: 131,
    signal.SIGHUP: 129,
}


@dataclass(frozen=True, slots=True)
class Shell:
    """An interactive one in tmux, as people have it."""

    terminal: Tmux

    def runs(self, command: str, *shown: str) -> str:
        self.terminal.text(command)
        self.terminal.keys("Enter")
        return self.terminal.wait_for(*shown)

    def state(self) -> str:
        """How the terminal is: another screen, cursor, wrapping."""
        return self.terminal.do("display-message", "-p", "#{alternate_on} #{cursor_flag} #{wrap_flag}").strip()


def test_the_terminal_is_as_it_was_after_every_way_of_ending(running: Running, tmp_path: Path) -> None:
    """And while it lasts: stopped and continued, made as small as can be, its daemon's core killed."""
    with tmux(tmp_path, "PS1='$ ' TERM=tmux bash --norc --noprofile") as terminal:
        shell = Shell(terminal)
        shell.runs("stty -g >before; echo bef''ore", "before")
        for number, (ends, status) in enumerate(ENDS.items()):
            shell.runs(f"{running.verb} -a blog", "DYNO", "web.1", "── log", "q quit")
            assert shell.state() == "1 0 0"
            if number == 0:
                stopped_resized_and_bereft(running, shell)
            pid = terminal.top()
            assert pid is not None
            os.kill(pid, ends) if isinstance(ends, signal.Signals) else terminal.keys(ends)
            eventually(lambda: shell.state() == "0 1 1", what="the screen from before")
            assert "DYNO  STATE" not in shell.runs(f"echo end{number} $?", f"end{number} {status}")
            shell.runs(f"stty -g | diff - before && echo same{number} ter''minal", f"same{number} terminal")
        breaks = "from dynod.cli.top_screen import Screen\nwith Screen().taken(): raise LookupError('a bug')\n"
        (tmp_path / "breaks.py").write_text(breaks)
        shell.runs(f"{sys.executable} breaks.py", "LookupError: a bug")
        assert shell.state() == "0 1 1"
        shell.runs("stty -g | diff - before && echo still ali''ke", "still alike")


def stopped_resized_and_bereft(running: Running, shell: Shell) -> None:
    terminal = shell.terminal
    terminal.keys("C-z")
    terminal.wait_for("Stopped")
    assert shell.state() == "0 1 1"
    shell.runs("stty -g | diff - before && echo stop''ped alike", "stopped alike")
    shell.runs("fg", "DYNO", "── log", "q quit")
    assert shell.state() == "1 0 0"

    terminal.do("resize-window", "-x", "12", "-y", "2")
    terminal.wait_for("q quit", without="DYNO")
    terminal.do("resize-window", "-x", "100", "-y", "12")
    terminal.wait_for("DYNO", "── log", "q quit")
    terminal.do("resize-window", "-x", "150", "-y", "30")

    terminal.keys("r")
    terminal.wait_for("Restart web.1? y/n")
    terminal.keys("x")
    terminal.wait_for("q quit")
    terminal.keys("r", "y")
    terminal.wait_for("Restarting web.1", "Stopping all processes with SIGTERM")
    for word, then in (("on", "MAINTENANCE"), ("off", "q quit")):
        terminal.keys("m")
        terminal.wait_for(f"Switch maintenance mode of blog {word}? y/n")
        terminal.keys("y")
        terminal.wait_for(f"Maintenance mode is {word}", then if word == "on" else "web=1")

    core, sock = running.serve.core_pid(), running.serve.socket
    away = sock.rename(sock.with_name("away.sock"))  # so that it is not found, which a core alone is at once
    os.kill(core, signal.SIGKILL)
    running.serve.core_pid(other_than=core)
    terminal.wait_for("trying again", "web.1")
    away.rename(sock)
    terminal.wait_for("Maintenance mode is off", without="trying again")
    running.serve.done("config:set", "AFTER=1", "-a", "blog")
    terminal.wait_for("Set AFTER config var", without="trying again")


def test_colours_and_characters_are_those_that_the_terminal_can_show(running: Running, tmp_path: Path) -> None:
    plainer = f"PYTHONIOENCODING=latin-1 NO_COLOR=1 {running.verb} -a blog"
    with tmux(tmp_path, f"{running.verb} -a blog; echo now without; {plainer}; exec cat") as terminal:
        terminal.wait_for("── log", "↑↓ choose", "crashed")
        assert RED in coloured(terminal)
        terminal.keys("q")
        terminal.wait_for("-- log --", "^v choose", "crashed")
        assert not re.search(r"\x1b\[[34][0-7]", coloured(terminal))


def coloured(terminal: Tmux) -> str:
    return terminal.do("capture-pane", "-p", "-e")
