"""The arguments of `ps` and its family, against the real API over a made-up app; output, colours, aliases."""

import getpass
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dynod.cli.main import ALIASES, VERBS, main
from support.api_server import APP, ApiServer, MadeUpOperations

ME = getpass.getuser()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer() as running:
        monkeypatch.setenv("DYNOD_SOCKET", str(running.path))
        monkeypatch.chdir(tmp_path)
        yield running


def made_up(server: ApiServer) -> MadeUpOperations:
    assert isinstance(server.operations, MadeUpOperations)
    return server.operations


@pytest.mark.parametrize(
    ("arguments", "done", "said"),
    [
        (["ps:scale", "web=3"], ("scale", {"web": 3}, {}), "Scaling dynos... done, now running web at 3:Unsized"),
        (
            ["dyno:scale", "web+1", "worker-1"],
            ("scale", {"web": 3, "worker": 0}, {}),
            "Scaling dynos... done, now running web at 3:Unsized, worker at 0:Unsized",
        ),
        (
            ["scale", "web=1:standard-2x"],
            ("scale", {"web": 1}, {"web": "Standard-2X"}),
            "Scaling dynos... done, now running web at 1:Standard-2X",
        ),
        (["ps:restart"], ("restart", None), "Restarting all dynos on ⬢ shop... done"),
        (["ps:restart", "web"], ("restart", "web"), "Restarting all web dynos on ⬢ shop... done"),
        (["restart", "-p", "web"], ("restart", "web"), "Restarting all web dynos on ⬢ shop... done"),
        (["dyno:restart", "web.1"], ("restart", "web.1"), "Restarting dyno web.1 on ⬢ shop... done"),
        (["ps:restart", "--dyno-name", "web.1"], ("restart", "web.1"), "Restarting dyno web.1 on ⬢ shop... done"),
        (["ps:stop", "run"], ("stop", "run"), "Stopping all run dynos on ⬢ shop... done"),
        (["ps:kill", "web.2"], ("stop", "web.2"), "Stopping dyno web.2 on ⬢ shop... done"),
        (["kill", "-d", "web.2"], ("stop", "web.2"), "Stopping dyno web.2 on ⬢ shop... done"),
        (
            ["ps:type", "eco"],
            ("scale", {}, {"web": "Eco", "worker": "Eco"}),
            "Scaling dynos on ⬢ shop... done",
        ),
        (
            ["resize", "web=eco", "worker=basic"],
            ("scale", {}, {"web": "Eco", "worker": "Basic"}),
            "Scaling dynos on ⬢ shop... done",
        ),
    ],
)
def test_what_is_done_and_said(
    server: ApiServer,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    done: tuple[object, ...],
    said: str,
) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().err.splitlines() == [said]
    assert made_up(server).done == [(*done, ME)]


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            ["ps:scale", bad]
            for bad in ("web", "web=", "web=-1", "web=1.5", "=2", "web=2:", "web=2:a:b", "web =2", "+1")
        ),
        ["ps:scale", "web=2", "worker"],
        ["ps:type", "web=eco", "basic"],
        ["ps:type", "web="],
        ["ps:type", "=eco"],
        ["ps:type", "db=eco"],
        ["ps:stop"],
        ["ps:restart", "web", "worker"],
        ["ps:restart", "web", "-d", "web.1"],
        ["ps", "--why", "web.1", "web"],
        ["ps:wait", "--timeout", "-1"],
        ["ps:wait", "--timeout", "soon"],
    ],
)
def test_a_malformed_argument_changes_nothing(
    server: ApiServer, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(("dynod: ", "Scaling dynos on ⬢ shop... !\ndynod: "))
    assert made_up(server).done == []


WITH_JSON = [name for name in VERBS if name.startswith("ps") and name != "ps:exec"]  # whose stdout is the command's


@pytest.mark.parametrize("verb", [*WITH_JSON, "apps", "apps:info"])
@pytest.mark.usefixtures("server")
def test_every_verb_has_json(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    arguments = {"ps:scale": ["web=1"], "ps:stop": ["run"], "ps:type": ["web=eco"]}.get(verb, [])
    assert main([verb, *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_ps_without_dynos_and_without_process_types(server: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    made_up(server).quantities = {}
    assert main(["ps"]) == 0
    assert capsys.readouterr().out == "No dynos on ⬢ shop\n"
    assert main(["ps", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    assert main(["ps", "web"]) == 1
    assert capsys.readouterr().err == "dynod: No web dynos on ⬢ shop; start one with `dynod ps:scale web=1`\n"


def test_a_type_that_is_not_there_is_told_with_what_was_meant(
    server: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up(server)
    assert main(["ps", "wbe"]) == 1
    assert capsys.readouterr().err == 'dynod: No wbe dynos on ⬢ shop; did you mean "web"?\n'


def test_which_app(server: ApiServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    operations = made_up(server)
    operations.views["blog"] = replace(APP, id="fedcba98-0123-4567-89ab-0123456789ab", name="blog")
    assert main(["ps"]) == 2
    assert capsys.readouterr().err == "dynod: which app? name it with -a: blog, shop\n"
    assert main(["ps", "-a", "blog"]) == 0
    monkeypatch.setenv("DYNOD_APP", "nope")
    assert main(["ps"]) == 1
    assert capsys.readouterr().err == "dynod: Couldn't find that app.\n"
    assert main(["ps", "--app", "blog"]) == 0
    assert main(["apps:info", "blog"]) == 0
    monkeypatch.delenv("DYNOD_APP")
    operations.views.clear()
    assert main(["apps"]) == 0
    assert capsys.readouterr().out.endswith("You have no apps.\n")
    assert main(["ps"]) == 2
    assert capsys.readouterr().err == "dynod: this dynod has no app yet: make one with `dynod apps:create`\n"


@pytest.mark.parametrize(
    ("environment", "terminal", "coloured"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
@pytest.mark.usefixtures("server")
def test_colours_are_for_terminals(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], terminal: bool, coloured: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stdout = Screen(terminal)
    monkeypatch.setattr(sys, "stdout", stdout)
    assert main(["ps"]) == 0
    assert ("\x1b[" in stdout.getvalue()) is coloured
    assert "web.1: " in re.sub(r"\x1b\[[0-9;]*m", "", stdout.getvalue())


class Screen(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.usefixtures("server")
def test_a_terminal_that_cannot_show_the_sign_shows_another(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    assert main(["apps:info"]) == 0
    sys.stdout.flush()
    assert written.getvalue().startswith(b"=== ? shop\n")


def test_every_alias_leads_to_a_verb() -> None:
    assert set(ALIASES.values()) <= set(VERBS)
    assert not set(ALIASES) & set(VERBS)


def test_a_mistyped_verb_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ps:scal"]) == 2
    assert 'did you mean "ps:scale"?' in capsys.readouterr().err
