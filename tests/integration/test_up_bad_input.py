"""Input that `dynod up` refuses: the exact message, the exit status, nothing started and nothing left behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support import abilities
from support.app_folder import app_folder, toy
from support.up import Up, clean_environment, free_port

WORKER = {"worker": toy("waits")}
WEB = {"web": toy("web_server")}


def refused(
    folder: Path, *arguments: str, status: int = 1, port: int = 0, env: Mapping[str, str] | None = None
) -> list[str]:
    """What a run says that ends by itself with `status`, before any dyno: nothing on stdout, nothing left."""
    with Up(folder, *arguments, port=port, env=env) as up:
        assert up.wait() == status, up.output
        assert up.output.lines("stdout") == []
    return [line.text for line in up.output.lines("stderr")]


# The folder


def test_a_folder_without_a_procfile(tmp_path: Path) -> None:
    folder = app_folder(tmp_path)
    assert refused(folder) == [
        (
            f"dynod: Procfile: no such file in {folder}; "
            'write one with a line for each process type, such as "web: python app.py"'
        )
    ]


def test_a_procfile_by_another_name_that_is_not_there(tmp_path: Path) -> None:
    assert refused(app_folder(tmp_path, procfile=WORKER), "-f", "Procfile.dev") == ["dynod: Procfile.dev: no such file"]


@pytest.mark.parametrize("text", ["", "\n\n", "# web: gunicorn app\n"], ids=["empty", "blank", "comments"])
def test_a_procfile_that_declares_nothing(tmp_path: Path, text: str) -> None:
    assert refused(app_folder(tmp_path, procfile=text)) == [
        'dynod: Procfile: declares no process type; write a line for each, such as "web: python app.py"'
    ]


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere") == [f"dynod: no such folder: {tmp_path / 'nowhere'}"]


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    file = app_folder(tmp_path, procfile=WORKER) / "Procfile"
    with Up(file, port=0) as up:
        assert up.wait() == 1
        assert [line.text for line in up.output.lines()] == [f"dynod: {file} is not a folder"]


def test_every_fault_of_every_file_at_once(tmp_path: Path) -> None:
    folder = app_folder(
        tmp_path,
        procfile=f"worker: {toy('waits')}\nworker: {toy('waits')}\nweb2 gunicorn\n",
        env="A=1\nOOPS\n",
        files={"app.json": '{"env": {"DEBUG": 1},\n"formation": {"wroker": {"quantity": 2}}}'},
    )
    assert refused(folder) == [
        'dynod: Procfile line 2: process type "worker" is declared on line 1 already',
        'dynod: Procfile line 3: expected "name: command", found "web2 gunicorn"',
        "dynod: app.json line 1: env.DEBUG: expected a string or an object, found a whole number; write it in quotes",
        'dynod: app.json line 2: formation.wroker: the Procfile declares no such process type; did you mean "worker"?',
        'dynod: .env line 2: expected "NAME=value", found "OOPS" alone; write "OOPS=" for an empty value',
    ]


def test_an_app_json_that_is_no_json(tmp_path: Path) -> None:
    assert refused(app_folder(tmp_path, procfile=WORKER, files={"app.json": "{\n,}"})) == [
        "dynod: app.json line 2: not valid JSON: expecting property name enclosed in double quotes (column 1)"
    ]


def test_a_variable_that_app_json_requires(tmp_path: Path) -> None:
    manifest = {"env": {"NEEDED": {"required": True, "description": "the key of the shop"}}}
    folder = app_folder(tmp_path, procfile=WORKER, app_json=manifest)
    assert refused(folder) == [
        (
            "dynod: app.json line 3: env.NEEDED is required and has no value: set it in .env or in the environment "
            "(the key of the shop)"
        )
    ]
    with Up(folder, env={"NEEDED": "anything"}) as up:
        up.wait_for_line(r"app\[worker\.1\]: ready")


# Environment files


def test_an_env_file_that_is_missing(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile=WORKER, env={"A": "1"})
    assert refused(folder, "-e", ".env", "-e", "more.env") == ["dynod: more.env: no such file"]


@pytest.mark.parametrize(
    ("name", "reason"), [("sub", "is a directory"), ("/proc/self/mem", "input/output error")], ids=["folder", "no-data"]
)
def test_an_env_file_that_cannot_be_read(tmp_path: Path, name: str, reason: str) -> None:
    folder = app_folder(tmp_path, procfile=WORKER, files={"sub/file": ""})
    assert refused(folder, "-e", name) == [f"dynod: {name}: cannot be read: {reason}"]


@pytest.mark.skipif(os.geteuid() == 0, reason="no mode keeps root from reading a file")
def test_an_env_file_that_may_not_be_read(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile=WORKER, env={"A": "1"})
    (folder / ".env").chmod(0)
    assert refused(folder) == ["dynod: .env: cannot be read: permission denied"]


def test_a_malformed_line_of_an_env_file_does_not_show_its_value(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile=WORKER, files={"secret.env": "OK=1\nSECRET KEY=hunter2\nB='hunter2\n"})
    said = refused(folder, "-e", "secret.env")
    assert said == [
        'dynod: secret.env line 2: expected "NAME=value", found "SECRET KEY=…"',
        """dynod: secret.env line 3: the value of "B" has an unmatched ' quote, or text after the closing one""",
    ]


# What runs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["wroker"], 'no process type "wroker" (the arguments): the Procfile declares worker; did you mean "worker"?'),
        (["-m", "web=1"], 'no process type "web" (-m): the Procfile declares worker'),
        (["worker=0"], "nothing to run: Procfile and the options give no dyno at all"),
        (["--app", "My App"], "--app My App: a name is 1 to 30 lower-case letters, digits and dashes"),
        (["--app", "a" * 31], f"--app {'a' * 31}: a name is 1 to 30 lower-case letters, digits and dashes"),
    ],
)
def test_what_does_not_fit_the_app(tmp_path: Path, arguments: list[str], message: str) -> None:
    assert refused(app_folder(tmp_path, procfile=WORKER), *arguments) == [f"dynod: {message}"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "web"], '-m web: expected TYPE=N[,TYPE=N…], found "web"; write "web=1"'),
        (["-m", "web=x"], '-m web=x: the number of "web" dynos must be 0 to 500, found "x"'),
        (["-m", "web=501"], '-m web=501: 501 "web" dynos are too many; 500 of a type are allowed'),
        (["-m", "web=1,web=2"], '-m web=1,web=2: "web" is named twice'),
        (["worker=-1"], '"worker=-1": the number of "worker" dynos must be 0 to 500, found "-1"'),
        (
            ["release"],
            '"release" in the arguments: it is not part of the formation; it runs once, first, with --release',
        ),
        (["-p", "0"], "-p 0: expected [HOST:]PORT with a port from 1 to 65535"),
        (["-p", "99999"], "-p 99999: expected [HOST:]PORT with a port from 1 to 65535"),
        (["-p", "localhost:"], "-p localhost:: expected [HOST:]PORT with a port from 1 to 65535"),
        (["-p"], "option '-p' requires an argument; try 'dynod up --help'"),
        (["--nope"], "no such option '--nope'; try 'dynod up --help'"),
        (
            ["--on-exit", "maybe"],
            "invalid value for '--on-exit': 'maybe' is not one of 'restart', 'stop'; try 'dynod up --help'",
        ),
    ],
)
def test_a_wrong_command_line_ends_with_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    folder = app_folder(tmp_path, procfile={**WORKER, "release": "true"})
    assert refused(folder, *arguments, status=2) == [f"dynod: {message}"]


def test_help_is_on_stdout_and_needs_no_app(tmp_path: Path) -> None:
    with Up(app_folder(tmp_path), "--help", port=0) as up:
        assert up.wait() == 0
        assert up.output.lines("stderr") == []
        shown = up.output.raw("stdout").decode()
        for word in ("Usage: dynod up [OPTIONS] [TYPE[=N] …]", "-C", "-f", "-m", "-p", "-e", "--on-exit", "--strict"):
            assert word in shown


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("nowhere-to-be-found --x", 'command "nowhere-to-be-found" not found on the PATH of the dyno'),
        ("./run", 'command "./run" is not executable; try "chmod +x ./run"'),
        ("./sub", 'command "./sub" is a folder'),
        ("./missing && true", 'command "./missing" not found in {folder}'),
    ],
)
def test_a_command_that_cannot_run_starts_none_of_the_others(tmp_path: Path, command: str, message: str) -> None:
    folder = app_folder(tmp_path, procfile=f"worker: {toy('waits')}\njob: {command}\n", files={"run": "x", "sub/x": ""})
    assert refused(folder) == [f"dynod: Procfile line 2: job: {message.format(folder=folder)}"]
    with Up(folder, "worker") as up:  # what does not run need not be there
        up.wait_for_line(r"app\[worker\.1\]: ready")


# The router's port


@contextmanager
def taken(*hosts: str) -> Iterator[int]:
    """A port on which somebody else listens."""
    port = free_port()
    with ExitStack() as stack:
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            stack.enter_context(socket.create_server((host, port), family=family))
        yield port


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_asked_for_that_is_taken(tmp_path: Path, host: str) -> None:
    with taken(host) as port:
        assert refused(app_folder(tmp_path, procfile=WEB), "-p", str(port)) == [
            (
                f"dynod: cannot listen on {'[::1]' if ':' in host else host}:{port}: "
                "another program listens there: stop it, or choose another with -p PORT"
            )
        ]


def test_an_address_that_is_not_this_machines(tmp_path: Path) -> None:
    port = free_port()
    assert refused(app_folder(tmp_path, procfile=WEB), "-p", f"192.0.2.1:{port}") == [
        f"dynod: cannot listen on 192.0.2.1:{port}: cannot assign requested address"
    ]


def test_a_default_port_that_is_taken_gives_way_to_the_next_free_one(tmp_path: Path) -> None:
    with taken("127.0.0.1") as port, Up(app_folder(tmp_path, procfile=WEB, env={"PORT": str(port)}), port=0) as up:
        up.wait_until_up("web.1")
        found = int(up.router_url.rpartition(":")[2])
        assert port < found < port + 100
        assert up.get("/").status == 200


def test_a_port_of_the_env_file_that_is_none(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile=WEB, files={"dev.env": "A=1\nPORT=http\n"})
    assert refused(folder, "-e", "dev.env") == [
        'dynod: dev.env line 2: PORT is "http": expected a port from 1 to 65535'
    ]


# One `dynod up` a folder


@pytest.mark.parametrize("way", ["the folder", "a link to it"])
def test_a_second_one_in_the_folder_is_refused(tmp_path: Path, way: str) -> None:
    """Also from another session, with another runtime directory."""
    folder = app_folder(tmp_path, procfile=WORKER)
    (tmp_path / "link").symlink_to(folder)
    with Up(folder) as first:
        first.wait_for_line(r"app\[worker\.1\]: ready")
        pids = first.dyno_pids()
        said = refused_beside(folder if way == "the folder" else tmp_path / "link", tmp_path)
        assert said == [
            (
                f"dynod: another dynod up (pid {first.pid}) runs in {folder}: "
                "stop it first, or run this one in another folder"
            )
        ]
        assert first.dyno_pids() == pids
        assert (folder / ".dynod/up.json").is_file()


def test_after_a_kill_the_folder_is_free_again(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile=WORKER)
    with Up(folder) as killed:
        killed.wait_for_line(r"app\[worker\.1\]: ready")
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    with Up(folder) as second:
        second.wait_for_line(r"app\[worker\.1\]: ready")


def test_killed_to_the_last_process_it_leaves_a_folder_that_runs_again(tmp_path: Path) -> None:
    """The power went off, or everything was SIGKILLed at once: nobody is left to remove the files."""
    folder = app_folder(tmp_path, procfile=WORKER)
    (folder / ".dynod").mkdir()
    (folder / ".dynod/up.json").write_text('{"app": "app", "pid": 1, "socket": "/nowhere.sock"}')
    (folder / ".dynod/.gitignore").write_text("*\n")
    with Up(folder) as up:
        up.wait_for_line(r"app\[worker\.1\]: ready")


def refused_beside(folder: Path, runtime: Path) -> list[str]:
    """As `refused`, while another `dynod up` of the folder has its mark there."""
    done = subprocess.run(
        [sys.executable, "-m", "dynod", "up", "-C", str(folder)],
        env={**clean_environment(), **abilities.environment({"XDG_RUNTIME_DIR": str(runtime)})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.splitlines()


# What nobody expected


def test_a_bug_at_the_start_is_shown_as_one(tmp_path: Path) -> None:
    """A traceback and 70, not the 1 of refused input. The app's sitecustomize breaks the core, as nothing else can."""
    broken = "import sys\nif 'dynod.daemon' in sys.orig_argv:\n    import uvloop\n    del uvloop.new_event_loop\n"
    folder = app_folder(tmp_path, procfile=WORKER, files={"python/sitecustomize.py": broken})
    said = refused(folder, status=70, env={"PYTHONPATH": str(folder / "python")})
    assert said[0] == "Traceback (most recent call last):"
    assert said[-1].startswith("AttributeError: ")
