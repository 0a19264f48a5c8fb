"""What a dyno of `dynod up` is given: environment, folder, session, limits, descriptors, stdin (contracts 5)."""

import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.app_folder import TOYS, app_folder, toy
from support.processes import MARK
from support.up import Up, clean_environment, eventually

DESCRIBES = toy("describes_itself")
DYNOD_BIN = str(Path(sys.prefix) / "bin")


def described(up: Up, dyno: str) -> dict[str, Any]:
    """What the toy in that dyno has written down."""
    up.wait_for_line(rf"app\[{dyno}\]: +described$")
    found: dict[str, Any] = json.loads((up.folder / f"{dyno}.json").read_text())
    return found


def inherited(up: Up, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """What dynod itself was started with."""
    return {**clean_environment(), **(env or {}), MARK: up.mark, "XDG_RUNTIME_DIR": str(up.runtime)}


# The environment


def test_a_dyno_has_the_callers_variables_and_two_more_and_unbuffered_python(tmp_path: Path) -> None:
    with Up(app_folder(tmp_path, procfile={"worker": DESCRIBES})) as up:
        seen = described(up, "worker.1")["environment"]
        port = seen.pop("PORT")
        assert seen == {**inherited(up), "DYNO": "worker.1", "PYTHONUNBUFFERED": "1"}
        assert 20_000 <= int(port) <= 29_999


def test_what_is_meant_for_dynod_is_kept_from_a_dyno(tmp_path: Path) -> None:
    """Its own settings, its service manager's words, and its own virtual environment; not the app's."""
    withheld = {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "600000000",
        "WATCHDOG_PID": "1",
        "LISTEN_PID": "1",
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "x",
        "INVOCATION_ID": "0123",
        "JOURNAL_STREAM": "1:2",
        "DYNOD_SOCKET": "/nowhere",
        "VIRTUAL_ENV": sys.prefix,
    }
    kept = {"PORT": "1234", "DYNO": "mine", "NOTIFY": "kept", "PYTHONUNBUFFERED": "", "MY_DYNOD_X": "kept"}
    with Up(app_folder(tmp_path, procfile={"worker": DESCRIBES}), env={**withheld, **kept}) as up:
        seen = described(up, "worker.1")["environment"]
        assert seen == {**inherited(up, kept), "DYNO": "worker.1", "PORT": seen["PORT"]}
        assert seen["PORT"] != "1234"


def test_another_virtual_environment_is_the_apps(tmp_path: Path) -> None:
    env = {"VIRTUAL_ENV": str(tmp_path)}
    with Up(app_folder(tmp_path, procfile={"worker": DESCRIBES}), env=env) as up:
        assert described(up, "worker.1")["environment"]["VIRTUAL_ENV"] == str(tmp_path)


def test_later_sources_win_and_the_folders_programs_come_first(tmp_path: Path) -> None:
    """The caller, app.json, each -e in its order, dynod; PATH of the last who sets it, behind the folder's own."""
    names = ["caller", "manifest", "first", "second", "dynod"]
    path = os.environ["PATH"]
    manifest: dict[str, object] = {name.upper(): {"value": "manifest"} for name in names[1:]}
    folder = app_folder(
        tmp_path,
        procfile={"worker": DESCRIBES},
        app_json={"env": {**manifest, "DYNO": "manifest", "MADE": {"generator": "secret"}}},
        files={
            ".env": "UNREAD=1\n",
            "first.env": "FIRST=first\nSECOND=first\nPATH=/nowhere\nDYNO=first\nPORT=1\nSPACED='a # b'\n",
            "second.env": f"SECOND=second\nPATH={DYNOD_BIN}:{path}\nDYNOD_FOR_THE_APP=x\n",
            ".venv/bin/x": "",
            "venv/bin/x": "",
            "node_modules/.bin/x": "",
        },
    )
    env = {name.upper(): "caller" for name in names}
    with Up(folder, "-e", "first.env", "-e", "second.env", env=env) as up:
        seen = described(up, "worker.1")["environment"]
        secret, port = seen.pop("MADE"), seen.pop("PORT")
        assert len(secret) == 64
        assert 20_000 <= int(port) <= 29_999
        callers = [entry for entry in path.split(":") if entry != DYNOD_BIN]
        bins = [str(folder / name) for name in (".venv/bin", "venv/bin", "node_modules/.bin")]
        assert seen == {
            **inherited(up),
            "CALLER": "caller",
            "MANIFEST": "manifest",
            "FIRST": "first",
            "SECOND": "second",
            "DYNOD": "manifest",
            "DYNOD_FOR_THE_APP": "x",
            "SPACED": "a # b",
            "DYNO": "worker.1",
            "PYTHONUNBUFFERED": "1",
            "PATH": ":".join([*bins, *callers, DYNOD_BIN]),
        }


def test_a_program_of_the_folder_is_found_before_the_systems(tmp_path: Path) -> None:
    folder = app_folder(
        tmp_path,
        procfile={"worker": "env from the folder"},
        files={"node_modules/.bin/env": "#!/bin/sh\necho own $*\n"},
    )
    (folder / "node_modules/.bin/env").chmod(0o755)
    with Up(folder, "--on-exit", "stop") as up:
        up.wait_for_line(r"app\[worker\.1\]: own from the folder$")
        assert up.wait() == 0


def test_bytes_that_are_no_text_pass_through(tmp_path: Path) -> None:
    env = {"ODD": "a\udcffb\nc=d"}
    with Up(app_folder(tmp_path, procfile={"worker": DESCRIBES}), env=env) as up:
        assert described(up, "worker.1")["environment"]["ODD"] == env["ODD"]


@pytest.mark.parametrize("name", ["mé app's", os.fsdecode(b"app\xff")], ids=["accents", "bytes"])
def test_names_and_values_may_be_any_text(tmp_path: Path, name: str) -> None:
    """Of the folder, in .env and in the command; also after a core has handed over to the next one."""
    procfile = {"worker": f"{DESCRIBES} 'grüß dich'"}
    folder = app_folder(tmp_path, name=name, procfile=procfile, env={"GREETING": "日本 🐙"})
    with Up(folder) as up:
        first = described(up, "worker.1")
        core = up.core_pid()
        os.kill(core, signal.SIGKILL)
        up.core_pid(other_than=core)
        os.kill(first["pid"], signal.SIGKILL)
        said = up.wait_for_line(r"heroku\[worker\.1\]: Process exited with status 137")
        up.wait_for_line(r"app\[worker\.1\]: described$", since=said.number)
        second = described(up, "worker.1")
        assert second["pid"] != first["pid"]
        for seen in (first, second):
            assert seen["folder"] == str(folder)
            assert seen["environment"]["GREETING"] == "日本 🐙"
            assert seen["arguments"] == ["grüß dich"]


def test_each_dyno_has_a_port_of_its_own_and_release_has_none(tmp_path: Path) -> None:
    procfile = {"clock": DESCRIBES, "worker": DESCRIBES, "release": f"{DESCRIBES} leaves"}
    folder = app_folder(tmp_path, procfile=procfile, env={"PORT": "5000"})
    with Up(folder, "--release", "-m", "clock=2,worker=2") as up:
        ports = {described(up, dyno)["environment"]["PORT"] for dyno in ("clock.1", "clock.2", "worker.1", "worker.2")}
        assert len(ports) == 4
        released = up.wait_for_line(r"app\[(release\.\d+)\]: +described$").group()
        seen = described(up, released)
        assert seen["environment"]["DYNO"] == released
        assert "PORT" not in seen["environment"]


# The process


def test_a_dyno_is_a_process_in_a_session_of_its_own_with_nothing_inherited(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"worker": DESCRIBES})
    with Up(folder) as up:
        seen = described(up, "worker.1")
        assert seen["folder"] == str(folder)
        assert seen["parent"] == up.pid
        assert seen["session"] == seen["group"] == seen["pid"] == up.dyno_pids()["worker.1"][0]
        assert (seen["blocked"], seen["ignored"]) == (0, 0)
        descriptors = seen["descriptors"]
        assert sorted(descriptors) == ["0", "1", "2"]
        assert descriptors["0"] == "/dev/null"
        assert descriptors["1"] == descriptors["2"]
        assert descriptors["1"].startswith("pipe:")
        assert seen["stdin"] == "ended"


def test_descriptors_of_the_caller_do_not_reach_a_dyno(tmp_path: Path) -> None:
    """As with `dynod up 3<file`, or make's job server."""
    folder = app_folder(tmp_path, procfile={"worker": DESCRIBES})
    up = Up(folder)
    up._command[:0] = ["sh", "-c", 'exec "$0" "$@" 3</dev/null 9</dev/null']
    with up:
        seen = described(up, "worker.1")
        assert sorted(seen["descriptors"]) == ["0", "1", "2"]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_it_runs_without_standard_descriptors(tmp_path: Path, closed: str) -> None:
    """As `dynod up >&-` and some service managers start it; a dyno has its three all the same."""
    up = Up(app_folder(tmp_path, procfile={"worker": DESCRIBES}))
    up._command[:0] = ["sh", "-c", f'exec "$0" "$@" {closed}']
    with up:
        eventually((up.folder / "worker.1.json").exists, what="the dyno runs")
        seen = json.loads((up.folder / "worker.1.json").read_text())
        assert sorted(seen["descriptors"]) == ["0", "1", "2"]
        assert seen["descriptors"]["0"] == "/dev/null"
        assert seen["descriptors"]["1"].startswith("pipe:")


def test_from_a_terminal_stdin_is_open_and_empty(tmp_path: Path) -> None:
    with Up(app_folder(tmp_path, procfile={"worker": DESCRIBES}), terminal=True) as up:
        up.type("nobody reads this\n")
        seen = described(up, "worker.1")
        assert seen["stdin"] == "open and empty"
        assert sorted(seen["descriptors"]) == ["0", "1", "2"]
        assert seen["session"] == seen["pid"]  # so that the terminal's Ctrl-C is not its own
        up.type("\x03")
        assert up.wait() == 0


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (f"{DESCRIBES} 'a b' $PORT", ["a b", "PORT"]),
        (f'WORD="x y" && {DESCRIBES} "$WORD" 2>/dev/null', ["x y"]),
        (f"{DESCRIBES} plain 'a  b' \"c'd\"", ["plain", "a  b", "c'd"]),
    ],
    ids=["variable", "list", "plain"],
)
def test_no_shell_stands_between_the_keeper_and_the_program(tmp_path: Path, command: str, arguments: list[str]) -> None:
    with Up(app_folder(tmp_path, procfile={"worker": command})) as up:
        seen = described(up, "worker.1")
        assert seen["arguments"] == [seen["environment"]["PORT"] if word == "PORT" else word for word in arguments]
        assert seen["parent"] == up.pid
        (process,) = [process for process in up.processes() if process.dyno]
        assert process.command == (sys.executable, str(TOYS / "describes_itself.py"), *seen["arguments"])


def test_the_callers_limit_of_open_files_is_a_dynos(tmp_path: Path) -> None:
    """dynod raises its own, for its many connections; programs that use select(2) break above 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    folder = app_folder(tmp_path, procfile={"worker": DESCRIBES})
    up = Up(folder)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        up.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        seen = described(up, "worker.1")
        limits = Path(f"/proc/{up.core_pid()}/limits").read_text()
    except BaseException as error:
        up.__exit__(type(error), error, error.__traceback__)
        raise
    up.__exit__(None, None, None)
    assert seen["nofile"] == [200, hard]
    (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert line.split()[3:5] == [str(hard), str(hard)]


# dynod beside the app


def test_modules_of_the_app_do_not_stand_in_for_dynods(tmp_path: Path) -> None:
    """The app's folder is not on dynod's path, and dynod's is not on the app's."""
    trap = "raise SystemExit('dynod imported a module of the app')\n"
    modules = ["random", "asyncio", "click", "msgspec", "structlog", "router", "dynod", "sitecustomize", "psutil"]
    files = {f"{name}.py": trap for name in modules} | {f"{name}/__init__.py": trap for name in ("dotenv", "uvloop")}
    folder = app_folder(tmp_path, procfile={"worker": toy("waits")}, files=files)
    up = Up(folder, chdir=True)
    # As it is installed: `python -m` would look into the folder first, and rightly so.
    up._command[:3] = [str(Path(sys.executable).parent / "dynod")]
    with up:
        up.wait_for_line(r"app\[worker\.1\]: ready")
        assert not list(folder.rglob("__pycache__"))
