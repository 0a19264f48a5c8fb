"""`dynod ps:exec` where dynos are plain children: whose environment it has, how it ends, what it is not.

In containers: test_containers.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from support import processes
from support.app_folder import app_folder, python, toy
from support.attached_run import AttachedRun
from support.up import Up, clean_environment

pytestmark = pytest.mark.timeout(120)
PYTHON = f"{sys.executable} -iq"
WAITS = python("import sys; print('inside', flush=True); sys.stdin.read()")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    procfile = {"worker": toy("waits"), "crasher": "exit 3"}
    folder = app_folder(tmp_path_factory.mktemp("exec"), procfile=procfile, env={"GREETING": "from .env"}, name="shop")
    with Up(folder, "worker=2", "crasher=1", port=0, env={"DYNOD_DYNOS_RESTART": "heroku"}) as running:
        running.wait_until_up("worker.1")
        running.wait_until_up("worker.2")
        yield running


def dynod(up: Up, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "dynod", *arguments],
        input=stdin,
        capture_output=True,
        cwd=up.folder,
        env={**clean_environment(), processes.MARK: up.mark, "XDG_RUNTIME_DIR": str(up.runtime)},
        timeout=60,
        check=False,
    )


def test_it_has_the_dynos_folder_environment_and_status(up: Up) -> None:
    shown = json.loads(dynod(up, "ps", "--json").stdout)
    port = next(each["dynod"]["port"] for each in shown if each["name"] == "worker.2")
    ended = dynod(up, "ps:exec", "worker.2", "sh", "-c", "echo $DYNO $PORT $GREETING; pwd -P; cat; exit 5", stdin=b"in")
    assert ended.returncode == 5, ended.stderr
    assert ended.stdout.decode() == f"worker.2 {port} from .env\n{up.folder.resolve()}\nin"
    run = re.search(rb"in worker\.2 of \S+ shop\.\.\. up, (run\.\d+)$", ended.stderr, re.MULTILINE)
    assert run, ended.stderr
    up.wait_for_line(rf"heroku\[{run[1].decode()}\]: Process exited with status 5")
    assert "run" not in {each["type"] for each in json.loads(dynod(up, "ps:scale", "--json").stdout)}


def test_it_is_a_session_on_a_terminal(up: Up) -> None:
    with AttachedRun(up, "worker.1", PYTHON, terminal=True, size=(33, 111), verb="ps:exec") as session:
        session.type("import os, time; print('size', *os.get_terminal_size(), os.environ['DYNO'])\r")
        session.wait_for_line(r"^size 111 33 worker\.1")
        session.type("print('sle' 'eps'); time.sleep(1000)\r")
        session.wait_for_line(r"^sleeps")
        session.type("\x03")
        session.wait_for_line(r"^KeyboardInterrupt")
        assert session.end("raise SystemExit(3)\r") == 3
        assert session.attributes() == session.before


def test_a_shell_is_the_default_and_ends_with_the_dyno(up: Up) -> None:
    """One on a terminal, which heeds no SIGTERM; the dyno beside it is left alone."""
    with (
        AttachedRun(up, "worker.1", terminal=True, verb="ps:exec") as shell,
        AttachedRun(up, "worker.2", WAITS, verb="ps:exec") as other,
    ):
        shell.type("echo in $DYNO\r")
        shell.wait_for_line(r"in worker\.1$")
        other.wait_for_line("^inside$")
        assert dynod(up, "ps:restart", "worker.1").returncode == 0
        assert shell.wait() == 129
        listed = {each["name"]: each for each in json.loads(dynod(up, "ps", "--json").stdout)}
        assert [each["command"] for each in listed.values() if each["type"] == "run"] == [f"{WAITS} (in worker.2)"]
        assert listed["worker.2"]["state"] == "up"
        other.end_input()
        assert other.wait() == 0


def test_the_next_core_goes_on_with_it_and_ends_it_with_its_dyno(up: Up) -> None:
    with AttachedRun(up, "worker.1", "--", "cat", verb="ps:exec") as session:
        session.type("before\n")
        session.wait_for_line("^before$")
        core = up.core_pid()
        os.kill(core, signal.SIGKILL)
        up.core_pid(other_than=core)
        session.type("after\n")
        session.wait_for_line("^after$")
        assert dynod(up, "ps:restart", "worker.1").returncode == 0
        assert session.wait() == 129


def test_what_does_not_run_cannot_be_entered(up: Up) -> None:
    late = dynod(up, "ps:exec", "worker.2", "--no-tty", "true")
    assert (late.returncode, b"come before the dyno" in late.stderr) == (2, True), late.stderr
    missing = dynod(up, "ps:exec", "worker.9", "true")
    assert (missing.returncode, b"Couldn't find that dyno" in missing.stderr) == (1, True), missing.stderr
    up.wait_for_line(r"heroku\[crasher\.1\]: Starting again in")  # after minutes
    crashed = dynod(up, "ps:exec", "crasher.1", "true")
    assert (crashed.returncode, b"crasher.1 does not run: it is crashed." in crashed.stderr) == (1, True), (
        crashed.stderr
    )
