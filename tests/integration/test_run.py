"""One-off dynos as people run them: on a terminal, through pipes, without anybody; and what happens when they go."""

import contextlib
import hashlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from dynod.keeper.features import NAMES, WITHOUT
from dynod.platform_api.client import ApiClient
from dynod.platform_api.finding import Daemon
from dynod.platform_api.requests import ApiError
from dynod.platform_api.schema import Dyno
from support import processes
from support.app_folder import app_folder, python, toy
from support.attached_run import AttachedRun
from support.serve import Serve
from support.up import Up, clean_environment, eventually

pytestmark = pytest.mark.timeout(120)
SHORT = {"DYNOD_DYNOS_RECONNECT_S": "0.1", "DYNOD_DYNOS_HANGUP_S": "0.2"}
POSIX = {WITHOUT: ",".join(NAMES)}
HANGUP = "Client connection closed. Sending SIGHUP to all processes"
R16 = (
    "Error R16 (Detached) -> An attached process is not responding to SIGHUP after its external connection was closed."
)
PYTHON = f"{sys.executable} -iq"


def folder_of(parent: Path) -> Path:
    return app_folder(
        parent, procfile={"worker": toy("waits"), "greet": "echo hello"}, env={"GREETING": "from .env"}, name="shop"
    )


@pytest.fixture(params=[{}, POSIX], ids=["linux", "posix"])
def without(request: pytest.FixtureRequest) -> dict[str, str]:
    return dict(request.param)


@pytest.fixture(scope="module")
def ups(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[dict[str, str]], Up]]:
    """One for each set of abilities."""
    with contextlib.ExitStack() as stack:

        @cache
        def started(without: str) -> Up:
            env = {**SHORT, WITHOUT: without} if without else SHORT
            running = stack.enter_context(Up(folder_of(tmp_path_factory.mktemp("up")), "worker", env=env, port=0))
            running.wait_until_up("worker.1")
            return running

        yield lambda without: started(without.get(WITHOUT, ""))


@pytest.fixture
def up(ups: Callable[[dict[str, str]], Up], without: dict[str, str]) -> Up:
    """Of all tests that have a one-off dyno of their own and leave the core alone.

    The numbers of those are random, and what was said of another one of the same name is forgotten.
    """
    running = ups(without)
    running.output.forget()
    return running


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Up]:
    """With Heroku's times."""
    with Up(folder_of(tmp_path), "worker", port=0) as running:
        running.wait_until_up("worker.1")
        yield running


@contextlib.contextmanager
def client(up: Up) -> Iterator[ApiClient]:
    (path,) = (up.runtime / "dynod").glob("*.sock")
    with contextlib.closing(ApiClient(Daemon(socket=str(path), source="test"))) as api:
        yield api


def dynos(up: Up) -> list[str]:
    with client(up) as api:
        return [each["name"] for each in api.dynos("shop")]


def run_dyno(up: Up, command: str) -> Dyno:
    """To attach to, not attached yet."""
    with client(up) as api:
        return api.run_dyno("shop", command, environment={}, attach=True, terminal=False)


def attach(up: Up, dyno: Dyno) -> socket.socket:
    with client(up) as api:
        connection, rest = api.attach(dyno["attach_url"] or "", None)
        assert rest == b"", "nothing runs yet"
        return connection.dup()  # a client that is closed takes its session with it


def platform_lines(up: Up, dyno: str) -> list[str]:
    found = (re.search(rf"heroku\[{re.escape(dyno)}\]: (.*)", line.text) for line in up.output.lines("stdout"))
    return [match[1] for match in found if match]


def run(up: Up, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "dynod", "run", *arguments],
        input=stdin,
        capture_output=True,
        cwd=up.folder,
        env={**clean_environment(), processes.MARK: up.mark},
        timeout=60,
        check=False,
    )


# --- on a terminal ---------------------------------------------------------------------------------------------------


def test_a_session_on_a_terminal(up: Up) -> None:
    """Keys, window size, Ctrl-C, the exit status, and a terminal that is as it was."""
    with AttachedRun(up, PYTHON, terminal=True, size=(33, 111)) as session:
        dyno = session.dyno
        session.type("import os, time; print('size', *os.get_terminal_size())\r")
        session.wait_for_line(r"^size 111 33")
        assert session.attributes() != session.before, "keys reach the dyno one by one"
        session.type("print('sle' 'eps'); time.sleep(1000)\r")
        session.wait_for_line(r"^sleeps")
        session.type("\x03")
        session.wait_for_line(r"^KeyboardInterrupt")
        assert session.end("raise SystemExit(3)\r") == 3
        assert session.attributes() == session.before
    up.wait_for_line(rf"heroku\[{dyno}\]: State changed from up to complete")
    assert platform_lines(up, dyno) == [
        "Awaiting client",
        f"Starting process with command `{PYTHON}`",
        "State changed from starting to up",
        "Process exited with status 3",
        "State changed from up to complete",
    ]
    up.wait_for_line(rf"app\[api\]: Starting process with command `{re.escape(PYTHON)}` by user \S+$")
    assert not [line for line in up.output.lines() if f"app[{dyno}]" in line.text], "its output is the client's alone"


def test_the_window_changes_its_size(up: Up) -> None:
    with AttachedRun(up, toy("window"), terminal=True, size=(33, 111)) as session:
        session.wait_for_line(r"^window 33 111$")
        session.resize(50, 132)
        session.wait_for_line(r"^window 50 132$")
        session.type("\x03")
        assert session.wait() == 130


def test_a_death_by_a_signal_is_128_and_more(up: Up) -> None:
    with AttachedRun(up, "sh -c 'kill -KILL $$'", terminal=True) as session:
        assert session.wait() == 137


def test_four_interrupts_leave_whatever_the_program_does(up: Up) -> None:
    deaf = python(
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); time.sleep(1000)"
    )
    with AttachedRun(up, deaf, terminal=True) as session:
        dyno = session.dyno
        session.wait_for_line(r"^deaf")  # not the command, which is shown too
        assert session.end("\x03\x03\x03\x03") == 130
        assert session.attributes() == session.before
    up.wait_for_line(rf"heroku\[{dyno}\]: Process exited with status 129")


# --- through pipes ---------------------------------------------------------------------------------------------------


def test_ten_megabytes_go_through_unchanged(up: Up) -> None:
    data = random.Random(1).randbytes(10_000_000)
    ended = run(up, "cat", stdin=data)
    assert ended.returncode == 0, ended.stderr
    assert hashlib.sha256(ended.stdout).digest() == hashlib.sha256(data).digest()


def test_stdin_ends_where_it_ends(up: Up) -> None:
    ended = run(up, "wc", "-c", stdin=b"")
    assert (ended.returncode, ended.stdout.strip()) == (0, b"0")
    assert re.search(rb"^Running wc -c on \S+ shop\.\.\. up, run\.\d+$", ended.stderr, re.MULTILINE)


def test_words_reach_the_program_as_they_are_and_one_word_is_a_line(up: Up) -> None:
    assert run(up, "echo", "a  b", "$HOME; exit 3").stdout == b"a  b $HOME; exit 3\n"
    ended = run(up, 'echo "$GREETING"; exit 3')
    assert (ended.returncode, ended.stdout) == (3, b"from .env\n")
    assert run(up, "greet", "you").stdout == b"hello you\n"


def test_a_one_off_dyno_has_a_name_and_a_port_and_its_own_variables(up: Up) -> None:
    ended = run(up, "-e", "A=1;B=x\\;y", "-e", "DYNO=web.1;PORT=1", "echo $DYNO $PORT $A $B $GREETING")
    assert re.fullmatch(rb"run\.\d+ 2\d{4} 1 x;y from .env\n", ended.stdout)


def test_what_reads_nothing_is_no_trouble(up: Up) -> None:
    ended = run(up, "exit 4", stdin=b"x" * 1_000_000)
    assert ended.returncode == 4


def test_a_command_that_is_not_there(up: Up) -> None:
    ended = run(up, "nosuchprogram")
    assert ended.returncode == 127
    assert ended.stderr.endswith(b"dynod: nosuchprogram: No such file or directory\n")


def test_without_a_terminal_signals_are_passed_on(up: Up) -> None:
    with AttachedRun(up, toy("waits")) as session:
        session.wait_for_line(r"^ready")
        session.send_signal(signal.SIGINT)
        session.wait_for_line(r"^got SIGINT")
        assert session.wait() == 0


def test_ps_stop_ends_it(up: Up) -> None:
    with AttachedRun(up, "sleep 1000") as session:
        dyno = session.dyno
        up.wait_for_line(rf"heroku\[{dyno}\]: State changed from starting to up")
        with client(up) as api:
            api.stop("shop", dyno=dyno)
        assert session.wait() == 143
    assert "Stopping all processes with SIGTERM" in platform_lines(up, dyno)


# --- somebody goes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipes"])
def test_a_client_that_goes_away_hangs_up(tmp_path: Path, without: dict[str, str], *, terminal: bool) -> None:
    """Between SIGHUPs there is Heroku's time: one is enough."""
    with Up(folder_of(tmp_path), "worker", env={"DYNOD_DYNOS_RECONNECT_S": "0.1", **without}, port=0) as up:
        up.wait_until_up("worker.1")
        with AttachedRun(up, toy("hangs_on", "leaves"), terminal=terminal) as session:
            dyno = session.dyno
            session.wait_for_line(r"^ready")
            session.send_signal(signal.SIGKILL)
        up.wait_for_line(rf"heroku\[{dyno}\]: State changed from up to complete")
        assert platform_lines(up, dyno)[3:] == [
            HANGUP,
            "Process exited with status 5",
            "State changed from up to complete",
        ]


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipes"])
def test_what_ignores_three_hangups_goes_on_and_is_logged(up: Up, terminal: bool) -> None:
    """R16. It is not stuck for want of a reader: what it writes goes to the log from then on."""
    with AttachedRun(up, toy("hangs_on", "writes"), terminal=terminal) as session:
        dyno = session.dyno
        session.wait_for_line(r"^ready")
        session.send_signal(signal.SIGKILL)
    up.wait_for_line(re.escape(f"heroku[{dyno}]: {R16}"))
    assert platform_lines(up, dyno)[3:] == [HANGUP, HANGUP, HANGUP, R16]
    up.wait_for_line(rf"app\[{dyno}\]: written$")
    up.wait_for_line(rf"app\[{dyno}\]: line 19999$")
    assert dyno in dynos(up)


def test_nobody_comes(tmp_path: Path) -> None:
    with Up(folder_of(tmp_path), "worker", env={"DYNOD_DYNOS_AWAIT_CLIENT_S": "0.1"}, port=0) as up:
        up.wait_until_up("worker.1")
        dyno = run_dyno(up, "echo")
        up.wait_for_line(rf"heroku\[{dyno['name']}\]: State changed from starting to complete")
        assert platform_lines(up, dyno["name"]) == [
            "Awaiting client",
            "Error R13 (Attach error) -> Failed to attach to process",
            "Process exited",
            "State changed from starting to complete",
        ]
        with pytest.raises(ApiError, match="ended"):
            attach(up, dyno)


def test_a_second_client_is_refused_and_so_is_a_wrong_secret(patient: Up) -> None:
    dyno = run_dyno(patient, "cat")
    url = dyno["attach_url"] or ""
    with attach(patient, dyno):
        with pytest.raises(ApiError, match="Somebody else") as refused:
            attach(patient, dyno)
        assert refused.value.status == 409
        wrong = url[:-1] + ("x" if url[-1] != "x" else "y")
        with client(patient) as api, pytest.raises(ApiError) as unknown:
            api.attach(wrong, None)
        assert unknown.value.status == 404
        with client(patient) as api:
            assert {each["attach_url"] for each in api.dynos("shop")} == {None}, "who only looks is not told"


# --- the core is replaced --------------------------------------------------------------------------------------------


def test_a_terminal_outlives_the_core(patient: Up) -> None:
    with AttachedRun(patient, PYTHON, terminal=True) as session:
        dyno = session.dyno
        session.type("here = 41; print('one', here)\r")
        session.wait_for_line(r"^one 41")
        for _ in range(3):
            core = patient.core_pid()
            os.kill(core, signal.SIGKILL)
            patient.core_pid(other_than=core)
            session.type("here += 1; print('now', here)\r")
        session.wait_for_line(r"now 44")
        assert session.end("raise SystemExit(6)\r") == 6
    patient.wait_for_line(rf"heroku\[{dyno}\]: State changed from up to complete")
    assert HANGUP not in platform_lines(patient, dyno)


def test_pipes_outlive_the_core(patient: Up) -> None:
    """What the dyno had not taken is sent again, and what it wrote is delivered, once."""
    slow = python("import sys; [print(line.strip(), flush=True) for line in sys.stdin]; print('end')")
    with AttachedRun(patient, slow) as session:
        session.type("".join(f"line {number}\n" for number in range(500)))
        session.wait_for_line(r"^line 400$")
        core = patient.core_pid()
        os.kill(core, signal.SIGKILL)
        session.type("".join(f"line {number}\n" for number in range(500, 1000)))
        session.end_input()
        assert session.wait() == 0
        session.output.wait_for_end()
        assert [line.text for line in session.output.lines("stdout")] == [
            *(f"line {number}" for number in range(1000)),
            "end",
        ]


def test_a_dyno_that_ended_while_no_core_lived_gives_its_status(patient: Up) -> None:
    gate = patient.folder / "gate"
    os.mkfifo(gate)
    with AttachedRun(patient, f"echo ready; cat {gate}; echo last words; exit 9") as session:
        session.wait_for_line(r"^ready")
        core = patient.core_pid()
        os.kill(core, signal.SIGSTOP)
        gate.write_text("through\n")
        eventually(lambda: not [p for p in patient.processes() if p.dyno.startswith("run.")], what="the dyno's end")
        with contextlib.suppress(ProcessLookupError):  # on a busy machine the keeper may have been first
            os.kill(core, signal.SIGKILL)
        assert session.wait() == 9
        session.wait_for_line(r"^last words")


def test_a_dyno_that_awaits_its_client_still_does(patient: Up) -> None:
    dyno = run_dyno(patient, "echo here")
    core = patient.core_pid()
    os.kill(core, signal.SIGKILL)
    patient.core_pid(other_than=core)
    with client(patient) as api:  # waits in the backlog until the next core accepts
        connection, seen = api.attach(dyno["attach_url"] or "", None)
        while data := connection.recv(1000):
            seen += data
    assert b"here\n" in seen


# --- without anybody -------------------------------------------------------------------------------------------------


def test_a_detached_dyno_writes_to_the_log(up: Up) -> None:
    with AttachedRun(up, "echo from it", verb="run:detached") as session:
        assert session.wait() == 0
        name = session.wait_for_line(r"done, (run\.\d+)").group()
        session.wait_for_line(rf"^Run dynod logs --app shop --dyno {name} to view the output\.$")
    up.wait_for_line(rf"app\[{name}\]: from it$")
    up.wait_for_line(rf"heroku\[{name}\]: State changed from up to complete")
    assert "Awaiting client" not in platform_lines(up, name)
    eventually(lambda: name not in dynos(up), what="no dyno left")


def test_its_time_to_live_ends_it_over_a_core_too(patient: Up) -> None:
    with AttachedRun(patient, "--time-to-live", "2", "sleep 1000", verb="run:detached") as session:
        name = session.wait_for_line(r"done, (run\.\d+)").group()
    core = patient.core_pid()
    os.kill(core, signal.SIGKILL)
    patient.wait_for_line(rf"heroku\[{name}\]: Process exited with status 143")


def test_dynod_ends_while_somebody_is_attached(tmp_path: Path) -> None:
    with Up(folder_of(tmp_path), "worker", port=0) as up:
        up.wait_until_up("worker.1")
        with AttachedRun(up, toy("waits"), terminal=True) as session:
            session.wait_for_line(r"^ready")
            assert up.stop() == 0
            session.wait_for_line("got SIGTERM")
            assert session.wait() == 0
            assert session.attributes() == session.before


def test_in_serve(tmp_path: Path) -> None:
    with Serve(tmp_path / "state") as serve:
        serve.wait_until_ready()
        shop = serve.app(tmp_path, "shop", procfile={"worker": toy("waits")})
        del shop
        with AttachedRun(
            serve, "-a", "shop", "echo $DYNO $TERM $HOME; stty size", terminal=True, folder=tmp_path,
            env={"DYNOD_SOCKET": str(serve.socket)},
        ) as session:  # fmt: skip
            assert session.wait() == 0
            session.wait_for_line(rf"^run\.\d+ xterm {tmp_path / 'shop'}")
            session.wait_for_line(r"^24 80")


# --- a dyno of the formation -----------------------------------------------------------------------------------------

SAYS_LINES = python(
    "import os, signal, sys; print('tty', os.isatty(0), flush=True); "
    "[print('got', line.strip(), flush=True) for line in sys.stdin]; signal.pause()"
)


def test_a_dyno_is_put_on_a_terminal_and_left_there(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"worker": SAYS_LINES}, name="shop")
    with Up(folder, port=0) as up:
        up.wait_for_line(r"app\[worker\.1\]: tty False")
        with AttachedRun(up, "worker.1", verb="attach", terminal=True) as session:
            session.wait_for_line(r"^tty True")
            session.type("hello\r")
            session.wait_for_line(r"^got hello")
            assert session.end("\x1d") == 0
            assert session.attributes() == session.before
        up.wait_for_line(r"app\[worker\.1\]: got hello$")
        core = up.core_pid()
        os.kill(core, signal.SIGKILL)
        up.core_pid(other_than=core)
        with AttachedRun(up, "worker.1", verb="attach", terminal=True) as session:
            session.type("again\r")
            session.wait_for_line(r"^got again")
            assert session.end("\x1d") == 0
        up.wait_for_line(r"app\[worker\.1\]: got again$")
        assert platform_lines(up, "worker.1").count("Restarting") == 1


# --- no dynod --------------------------------------------------------------------------------------------------------


def test_in_a_folder_whose_app_does_not_run_it_runs_right_here(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-m", "dynod", "run", "-e", "A=1", 'echo "$GREETING $A $DYNO $PORT"; exit 7'],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**clean_environment(), "XDG_RUNTIME_DIR": str(tmp_path)},
        check=False,
    )
    assert ended.returncode == 7
    assert re.fullmatch(r"from \.env 1 run\.\d+ 5000\n", ended.stdout)
    assert re.fullmatch(
        r"dynod: no dynod runs for .*/shop: running .* in its environment, unsupervised\n", ended.stderr
    )
