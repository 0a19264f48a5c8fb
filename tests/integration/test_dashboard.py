"""The dashboard of a running `dynod serve`, in a real Chromium: what it shows, over a killed core too."""

import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from support.app_folder import toy
from support.browser import Browser
from support.serve import Serve, ServedApp
from support.up import eventually, free_port

pytestmark = pytest.mark.timeout(180)
TOML: Final = "[dynos]\nsettle_s = 0\nrestart = [300]\n"
MARKUP: Final = "<img src=x onerror=alert(1)><script>alert(2)</script>"
LONG: Final = "process_type_of_a_long_name"
PHONE: Final = {"width": 360, "height": 780}
TABLET: Final = {"width": 768, "height": 1024}
DESK: Final = {"width": 1280, "height": 900}


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon with an app that has something to show."""

    serve: Serve
    app: ServedApp
    port: int

    def address(self) -> str:
        """What opens the dashboard once."""
        said = self.serve.done("open", "--dashboard", "-a", "shop", "--json").stdout
        return str(json.loads(said)["url"])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder, port = tmp_path_factory.mktemp("dashboard"), free_port()
    with Serve(folder / "state", "--api", f"127.0.0.1:{port}", toml=TOML) as serve:
        serve.wait_until_ready()
        procfile = {"web": toy("web_server"), "worker": f"echo '{MARKUP}'; {toy('waits')}", LONG: toy("waits")}
        app = serve.app(folder, "shop", procfile=procfile, quantities={"web": 1, "worker": 1, LONG: 1})
        app.wait_until_up("web.1", "worker.1", f"{LONG}.1")
        serve.done("config:set", "-a", "shop", "COLOUR=secret-red", "SIZE=secret-2")
        serve.done("config:set", "-a", "shop", "COLOUR=secret-blue")
        yield Running(serve, app, port)
        assert "Traceback" not in str(serve.output)


def test_a_browser_shows_how_an_app_does(running: Running, tmp_path: Path) -> None:
    with Browser() as browser:
        address = running.address()
        browser.do("open", url=address, **DESK)
        browser.do("see", selector="#dynos [data-name='web.1']", text="up")
        browser.do("see", selector="#state", text="Live")
        measured = browser.do("measure")
        assert isinstance(measured, dict)
        assert measured["address"] == f"http://127.0.0.1:{running.port}/#/apps/shop", "the code is in no address"

        # What an app says is text, wherever it stands.
        browser.do("see", selector="#log", text=MARKUP)
        assert browser.do("ask", script="document.querySelectorAll('img, main script').length") == 0

        row = json.dumps(
            {"name": MARKUP, "states": {MARKUP: 2}, "formation": {MARKUP: 1}, "last": {"at": 1, "what": MARKUP}}
        )
        drawn = (
            f"import('/dashboard/tables.js').then(m => m.fill(document.getElementById('apps'), m.appColumns, [{row}]))"
        )
        browser.do("ask", script=drawn)
        assert str(browser.do("ask", script="document.getElementById('apps').textContent")).count(MARKUP) == 4
        assert browser.do("ask", script="document.querySelectorAll('img, main script').length") == 0
        tried = "(() => { try { document.body.innerHTML = '<b>'; return 'done'; } catch (e) { return e.name; } })()"
        assert browser.do("ask", script=tried) == "TypeError", "its policy would not let it either"

        # Releases by what they have changed; a value of a config var is nowhere.
        browser.do("see", selector="#releases li", text="SIZE")
        newest = str(browser.do("text", selector="#releases li")).split()
        assert newest[:4] == ["v5", "Set", "COLOUR", "config"]
        assert newest[-3:] == ["±", "changed", "COLOUR"]
        assert "secret-" not in str(browser.do("ask", script="document.documentElement.outerHTML"))

        # Live: what passes, what is logged, what is searched for.
        for _ in range(5):
            assert running.app.get("/").status == 200
        browser.do("see", selector="#log", text='method=GET path="/"')
        eventually(lambda: browser.do("text", selector="#figures dd") != "0", what="requests in the figures")
        browser.do("fill", selector="#log-text", text="onerror")
        found = "(lines => lines.length > 0 && lines.every(line => line.textContent.includes('onerror')))"
        eventually(
            lambda: browser.do("ask", script=f"{found}([...document.querySelectorAll('#log p')])"), what="those lines"
        )
        running.app.scale("worker=2")
        browser.do("see", selector="#dynos [data-name='worker.2']", text="up")

        # A core that is killed is missed for moments; the tab's session opens the next one's answers, too.
        core = running.serve.core_pid()
        os.kill(core, signal.SIGKILL)
        running.serve.core_pid(other_than=core)
        browser.do("ask", script="document.getElementById('state').textContent = 'not yet'")
        browser.do("see", selector="#state", text="Live")
        running.app.scale("worker=1")
        eventually(lambda: "worker.2" not in str(browser.do("text", selector="#dynos")), what="one worker")
        # What it complains of is the core that was gone, and what was tried on it above.
        assert [
            each for each in browser.complaints if not re.search(r"Failed to load resource|TrustedHTML", each)
        ] == []

        # On a phone nothing has to be scrolled sideways; in the dark the ground is dark.
        for size, scheme in ((DESK, "light"), (TABLET, "light"), (PHONE, "light"), (PHONE, "dark")):
            browser.do("look", scheme=scheme, **size)
            measured = browser.do("measure")
            assert isinstance(measured, dict)
            assert measured["wide"] <= measured["window"], size
            browser.do("shoot", path=str(tmp_path / f"{size['width']}-{scheme}.png"), whole=True)
            if size is not TABLET:
                assert browser.do("bars") == [], (size, scheme)
        assert browser.do("ask", script="getComputedStyle(document.getElementById('one')).animationName") == "none"
        assert browser.do("ask", script="getComputedStyle(document.body).backgroundColor") == "rgb(16, 18, 24)"

        # By keyboard alone: out, and in again by a token.
        browser.do("look", scheme="light", **DESK)
        browser.do("ask", script="document.getElementById('leave').focus()")
        browser.do("press", key="Enter")
        browser.do("see", selector="#sign-in", text="Sign in")
        assert browser.do("bars") == []
        browser.do("fill", selector="#token", text="dynod-nonsense")
        browser.do("press", key="Enter")
        browser.do("see", selector="#sign-in-error", text="That opens nothing")
        token = running.serve.done("auth:create", "--scope", "read").stdout.strip()
        browser.do("fill", selector="#token", text=token)
        browser.do("press", key="Enter")
        browser.do("see", selector="#dynos [data-name='web.1']", text="up")
        assert token not in str(
            browser.do("ask", script="JSON.stringify([sessionStorage, localStorage, document.cookie])")
        )
        browser.do("click", selector=".back a")
        browser.do("see", selector="#apps [data-name='shop']", text="3 up")
        browser.do("see", selector="#all-facts", text="1 app · 3 dynos")
        assert browser.do("bars") == []


def test_open_is_for_whatever_browser_there_is(running: Running, tmp_path: Path) -> None:
    shown = running.serve.done("open", "/path", "-a", "shop").stdout.strip()
    assert shown.endswith(f"shop.localhost:{running.serve.port}/path")
    assert running.serve.done("open", "-a", "shop").stdout.strip() == shown.removesuffix("path")
    note = tmp_path / "opened"
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" >{note}\n')
    script.chmod(0o755)
    ended = running.serve.done("open", "--dashboard", "-a", "shop", env={"BROWSER": str(script)})
    url = eventually(lambda: note.read_text() if note.exists() else "", what="the browser")
    assert re.fullmatch(rf"http://127\.0\.0\.1:{running.port}/#code=[\w-]{{43}}&app=shop", url)
    assert ended.stdout == ""
    assert "code" not in ended.stderr
    assert "code=" not in str(running.serve.output)
    assert running.serve.dynod("open", "/x", "--dashboard").returncode == 2
