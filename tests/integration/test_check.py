"""`dynod check` as a user runs it: every problem at once on stderr and exit 1, or what would run and exit 0."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.app_folder import app_folder

TIMEOUT_S = 30


def dynod(
    *arguments: str | Path, cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line of the installed package in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "dynod", *map(str, arguments)],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    return app_folder(
        tmp_path,
        procfile="web: nowhere-to-be-found $PORT\nweb2 gunicorn\nworker: ./work\nworker: x\n",
        env="A=1\n\nOOPS\nKEY='unfinished",
        files={
            "app.json": (
                '{\n"env": {"NEEDED": {"required": true},\n"DEBUG": 1},\n"formation": {"wroker": {"quantity": 2}}\n}'
            ),
            "work": "#!/bin/sh\n",
        },
    )


PROBLEMS = [
    'Procfile line 2: expected "name: command", found "web2 gunicorn"',
    'Procfile line 4: process type "worker" is declared on line 3 already',
    "app.json line 3: env.DEBUG: expected a string or an object, found a whole number; write it in quotes",
    'app.json line 4: formation.wroker: the Procfile declares no such process type; did you mean "worker"?',
    '.env line 3: expected "NAME=value", found "OOPS" alone; write "OOPS=" for an empty value',
    """.env line 4: the value of "KEY" has an unmatched ' quote, or text after the closing one""",
    "app.json line 2: env.NEEDED is required and has no value: set it in .env or in the environment",
    'Procfile line 1: web: command "nowhere-to-be-found" not found on the PATH of the dyno',
    'Procfile line 3: worker: command "./work" is not executable; try "chmod +x ./work"',
]


def test_every_problem_is_shown_at_once(broken: Path) -> None:
    done = dynod("check", cwd=broken)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [*PROBLEMS, f"9 problems in {broken}"]
    assert done.stdout == ""


def test_the_same_as_json(broken: Path) -> None:
    done = dynod("check", "--json", cwd=broken)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["ok"] is False
    shown = [f"{fault['file']} line {fault['line']}: {fault['message']}" for fault in document["faults"]]
    assert shown == PROBLEMS
    assert [declared["name"] for declared in document["types"]] == ["web", "worker"]


def test_an_app_in_order_shows_what_would_run(tmp_path: Path) -> None:
    folder = app_folder(
        tmp_path,
        name="shop",
        procfile="web: sh -c 'exit' $PORT\nrelease: true\nworker: cat\n",
        env="KEY=hunter2\nNAME=x\n",
        app_json={
            "formation": {"worker": {"quantity": 2}},
            "env": {"NEEDED": {}, "GIVEN": "x", "MADE": {"generator": "secret"}},
        },
    )
    done = dynod("check", "-C", folder, cwd=tmp_path, environment={"NEEDED": "1"})
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "shop: Procfile declares 3 process types",
        "  web      sh -c 'exit' $PORT  (1 dyno)",
        "  release  true  (runs first, with --release)",
        "  worker   cat  (2 dynos)",
        ".env sets KEY, NAME",
        "OK",
    ]
    document = json.loads(dynod("check", "--json", cwd=folder, environment={"NEEDED": "1"}).stdout)
    assert document["ok"] is True
    assert document["app"] == "shop"
    assert document["faults"] == []
    assert [(declared["name"], declared["quantity"]) for declared in document["types"]] == [
        ("web", 1),
        ("release", 0),
        ("worker", 2),
    ]


def test_other_files_are_named_as_up_names_them(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, files={"Procfile.dev": "web: cat", "one": "A=1", "two": "B=2"})
    done = dynod("check", "-f", "Procfile.dev", "-e", "one,two", "-C", folder, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-3:] == ["one sets A", "two sets B", "OK"]
    done = dynod("check", "--procfile", "Procfile.dev", "--env", "one", "-e", "three", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["three: no such file", f"1 problem in {folder}"]


def test_programs_of_the_folder_are_found(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile="web: only-here", files={"node_modules/.bin/only-here": "#!/bin/sh\n"})
    (folder / "node_modules/.bin/only-here").chmod(0o755)
    assert dynod("check", cwd=folder).returncode == 0


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_a_folder_that_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    done = dynod("check", "-C", name, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr in {"dynod: no such folder: nowhere\n", "dynod: file is not a folder\n"}
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chek"], """dynod: no such command "chek"; did you mean "check"?; try 'dynod --help'"""),
        (["zzz"], """dynod: no such command "zzz"; try 'dynod --help'"""),
        (["--nope"], "dynod: no such option '--nope'; try 'dynod --help'"),
        (["check", "--nope"], "dynod: no such option '--nope'; try 'dynod check --help'"),
        (["check", "extra"], "dynod: got unexpected extra argument (extra); try 'dynod check --help'"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = dynod(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [message]
    assert done.stdout == ""


def test_help_lists_every_verb_and_version_is_the_packages(tmp_path: Path) -> None:
    done = dynod("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert {line.split()[0] for line in done.stdout.partition("Commands:")[2].splitlines() if line} >= {"up", "check"}
    assert dynod("--version", cwd=tmp_path).stdout == "dynod 0.1.0\n"
    done = dynod("check", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "--json" in done.stdout


def test_help_imports_no_verb_and_nothing_heavy(tmp_path: Path) -> None:
    """A verb pays for itself alone: `dynod ps` is to answer within 100 ms."""
    code = (
        "import sys\n"
        "from dynod.__main__ import main\n"
        "sys.argv = ['dynod', '--help']\n"
        "main()\n"
        "heavy = {'dynod.keeper', 'dynod.cli.check', 'dynod.cli.up', 'dotenv', 'aiohttp', 'asyncio', 'msgspec'}\n"
        "print(*sorted(heavy & set(sys.modules)), end='', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.stderr == ""
    assert done.returncode == 0


def test_a_reader_that_leaves_gets_no_traceback(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile="web: cat\n")
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end) as closed:
        done = subprocess.run(
            [sys.executable, "-m", "dynod", "check"],
            cwd=folder,
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    assert done.stderr == ""
    assert done.returncode == 1


def test_nothing_is_written_into_the_folder(broken: Path) -> None:
    before = sorted(path.name for path in broken.rglob("*"))
    dynod("check", cwd=broken)
    assert sorted(path.name for path in broken.rglob("*")) == before
