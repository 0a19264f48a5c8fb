"""What `dynod up` will run, from folder and command line: every fault at once, and a plan that a later core reads."""

from pathlib import Path

import msgspec
import pytest

from dynod.cli.up import UpOptions, parse
from dynod.errors import AppFolderError, DynodError
from dynod.up_plan import UpPlan, make_plan
from support.app_folder import app_folder


@pytest.fixture(autouse=True)
def plain_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


def plan(folder: Path, *arguments: str) -> UpPlan:
    options = parse(["-C", str(folder), *arguments])
    assert isinstance(options, UpOptions)
    return make_plan(options)


def refused(folder: Path, *arguments: str) -> list[str]:
    with pytest.raises(DynodError) as caught:
        plan(folder, *arguments)
    return str(caught.value).splitlines()


PROCFILE = {"web": "sleep 1", "worker": "sleep 2", "release": "true"}


def test_each_type_once_and_no_release(tmp_path: Path) -> None:
    made = plan(app_folder(tmp_path, procfile=PROCFILE, name="My App"))
    assert made.quantities == {"web": 1, "worker": 1}
    assert made.commands == PROCFILE
    assert (made.app, made.default_port, made.has_web) == ("my-app", 5000, True)


@pytest.mark.parametrize(
    ("arguments", "quantities"),
    [
        (["web"], {"web": 1}),
        (["worker=3"], {"worker": 3}),
        (["-m", "web=2"], {"web": 2, "worker": 1}),
        (["-m", "web=0"], {"web": 0, "worker": 1}),
        (["web=2", "worker"], {"web": 2, "worker": 1}),
    ],
)
def test_the_command_line_chooses(tmp_path: Path, arguments: list[str], quantities: dict[str, int]) -> None:
    found = plan(app_folder(tmp_path, procfile=PROCFILE), *arguments).quantities
    assert {name: count for name, count in found.items() if count} == {n: c for n, c in quantities.items() if c}


def test_the_next_core_reads_the_same_plan(tmp_path: Path) -> None:
    folder = app_folder(
        tmp_path,
        procfile=PROCFILE,
        env={"A": "1", "PORT": "7000"},
        app_json={"env": {"B": {"value": "2"}, "C": {"generator": "secret"}}, "formation": {"worker": {"quantity": 2}}},
    )
    made = plan(folder)
    assert made.default_port == 7000
    again = msgspec.json.decode(msgspec.json.encode(made), type=UpPlan)
    assert again == made, "generated secrets included"
    (folder / "Procfile").unlink()
    assert again.command("worker", strict=False) is not None
    environment = again.environment("worker.1", 20007)
    assert {name: environment[name] for name in ("A", "B", "PORT", "DYNO")} == {
        "A": "1",
        "B": "2",
        "PORT": "20007",
        "DYNO": "worker.1",
    }
    assert len(environment["C"]) == 64


def test_a_command_needs_no_shell_between_unless_it_uses_one(tmp_path: Path) -> None:
    made = plan(app_folder(tmp_path, procfile={"plain": "sleep 5", "shell": "sleep 5 | cat"}))
    assert list(made.command("plain", strict=False).argv) == ["sleep", "5"]
    assert "-c" in made.command("shell", strict=False).argv
    assert made.command("shell", strict=False).shown == "sleep 5 | cat"


@pytest.mark.parametrize("strict", [False, True])
def test_limits_are_enforced_when_asked_for(tmp_path: Path, *, strict: bool) -> None:
    assert plan(app_folder(tmp_path, procfile=PROCFILE)).command("web", strict=strict).rules.enforce is strict


def test_nothing_to_run_is_refused(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile=PROCFILE)
    assert refused(folder, "-m", "web=0,worker=0")[0].startswith("nothing to run: ")
    assert plan(folder, "-m", "web=0,worker=0", "--release").commands["release"] == "true"


@pytest.mark.parametrize("port", ["0", "70000", "http", "-1"])
def test_a_port_of_the_environment_file_that_is_none_is_refused_by_line(tmp_path: Path, port: str) -> None:
    (line,) = refused(app_folder(tmp_path, procfile=PROCFILE, env=f"A=1\nPORT={port}\n"))
    assert ".env" in line
    assert ":2" in line or "line 2" in line
    assert "expected a port from 1 to 65535" in line


@pytest.mark.parametrize("name", ["", "Upper", "under_score", "x" * 31, "dot.ted", "ümlaut"])
def test_a_name_that_heroku_would_refuse_is_refused(tmp_path: Path, name: str) -> None:
    assert refused(app_folder(tmp_path, procfile=PROCFILE), "--app", name)[0].startswith(f"--app {name}: a name is")


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    folder = app_folder(
        tmp_path,
        procfile={"web": "no-such-program-1", "worker": "no-such-program-2", "release": "no-such-program-3"},
        app_json={"env": {"NEEDED": {"required": True, "description": "x"}}},
    )
    lines = refused(folder)
    assert sum("no-such-program" in line for line in lines) == 2, "release is not run, so it is not looked at"
    assert any("NEEDED" in line for line in lines)
    assert sum("no-such-program" in line for line in refused(folder, "--release")) == 3


def test_a_type_that_is_not_there_is_refused(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile=PROCFILE)
    assert "wrker" in refused(folder, "wrker")[0]
    assert "wrker" in refused(folder, "-m", "wrker=2")[0]


def test_a_folder_without_a_procfile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AppFolderError):
        plan(app_folder(tmp_path))
