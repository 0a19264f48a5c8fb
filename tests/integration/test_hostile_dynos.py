"""Programs that misbehave, each as a dyno of `dynod up`: everything that is said of them, in order, and nothing else.

What needs more than a look at the log is elsewhere: who ignores SIGTERM, forks and hides in test_up_lifecycle and
test_process_tree, who takes more memory than its size in test_dyno_rules, who forks to the limit in
test_platform_faults, who talks binary or half lines in test_up_streams.
"""

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import processes
from support.app_folder import app_folder, python, toy
from support.up import IN_THE_FOLDER, Up, eventually, free_port

MEMORY = Path("/sys/fs/cgroup/memory")  # version 1, where a limit can be had without a delegated tree
SETTINGS = "[dynos]\nrestart = [3600]\nrestart_jitter = 0\nboot_timeout_s = {}\n"
ONCE = {"dynod.toml": SETTINGS.format(2)}
START = "heroku: Starting process"
UP = "heroku: State changed from starting to up"
CRASHED = ["heroku: State changed from up to crashed", "heroku: Starting again in 3600 s (crash 1 in a row)"]
NEVER_UP = ["heroku: State changed from starting to crashed", "heroku: Starting again in 3600 s (crash 1 in a row)"]
STOPPED = ["heroku: State changed from up to down", "heroku: Stopping all processes with SIGTERM"]
R10 = "heroku: Error R10 (Boot timeout) -> Web process failed to bind to $PORT within {} seconds of launch"
pytestmark = pytest.mark.timeout(120)


TAKEN = re.compile(r"heroku: port \d+ was taken by another program meanwhile; trying another port")


def log_of(up: Up, dyno: str) -> list[str]:
    """Every line of the dyno and about it; which command it was is known.

    Another dynod on this machine, of another test, may take a port that a dyno has and does not bind: that is said and
    another one taken, and nothing that these tests are about.
    """
    form = re.compile(rf"\S+ (app|heroku)\[{re.escape(dyno)}\]: (.*)")
    said: list[str] = []
    for line in up.output.lines("stdout"):
        if match := form.fullmatch(line.text):
            text = f"{match[1]}: {match[2]}"
            if TAKEN.fullmatch(text):
                said.clear()
            else:
                said.append(START if text.startswith(START) else text)
    return said


def without_app(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("app: ")]


def test_workers_of_every_bad_kind_side_by_side(tmp_path: Path) -> None:
    """None disturbs another: they all run in one `dynod up`."""
    procfile = {
        "zero": toy("exits_at_once"),
        "killed": toy("exits_at_once", "KILL"),
        "closed": toy("closes_stdout"),
        "holder": toy("holds_pipe_open"),
        "flood": toy("floods", 20_000, 200),
        "half": toy("half_line", "exits"),
        "stopped": toy("waits"),
    }
    with Up(app_folder(tmp_path, procfile=procfile, files=ONCE)) as up:
        for kind in ("zero", "killed", "holder", "half"):
            up.wait_for_line(rf"heroku\[{kind}\.1\]: Starting again in 3600 s")
        up.wait_for_line(r"app\[flood\.1\]: flooded")
        up.wait_for_line(r"app\[closed\.1\]: ready")
        up.wait_for_line(r"app\[stopped\.1\]: ready")
        (stopped, *_) = up.dyno_pids()["stopped.1"]
        os.kill(stopped, signal.SIGSTOP)
        assert not [each for each in up.processes() if each.dyno in {"holder.1", "zero.1", "killed.1"}]
        crashed = [*CRASHED, "heroku: State changed from crashed to down"]
        cause = (
            "heroku: Cause: it ended by itself with status 0: a process of the Procfile has to go on, and not into "
            "the background"
        )
        assert up.stop() == 0  # a stopped process hears SIGTERM too
        assert log_of(up, "zero.1") == [
            START,
            UP,
            "app: exits with 0",
            "heroku: Process exited with status 0",
            cause,
            *crashed,
        ]
        assert log_of(up, "killed.1") == [
            *(START, UP, "app: exits with KILL", "heroku: Process exited with status 137"),
            *crashed,
        ]
        assert log_of(up, "closed.1") == [START, UP, "app: ready", *STOPPED, "heroku: Process exited with status 0"]
        holder = log_of(up, "holder.1")
        assert without_app(holder) == [START, UP, "heroku: Process exited with status 3", *crashed]
        assert "app: parent ends" in holder[: holder.index("heroku: Process exited with status 3")]
        assert log_of(up, "half.1") == [
            *(START, UP, "app: a whole line", "app: half a line", "heroku: Process exited with status 0"),
            cause,
            *crashed,
        ]
        flood = log_of(up, "flood.1")
        assert without_app(flood) == [START, UP, *STOPPED, "heroku: Process exited with status 0"]
        said = [line.rstrip(".") for line in flood if line.startswith("app: ")]
        assert said == [*(f"app: line {n} of 20000" for n in range(1, 20_001)), "app: flooded"]
        assert without_app(log_of(up, "stopped.1"))[:-1] == [START, UP, *STOPPED]


@pytest.mark.parametrize(("kind", "timeout_s"), [("never binds", 2), ("wrong port", 8), ("ends first", 2)])
def test_web_dynos_that_do_not_come_up(tmp_path: Path, kind: str, timeout_s: int) -> None:
    """A wrong port is named before the time is up, and on a busy machine it takes some until there is one to name."""
    wrong = free_port()
    command = {
        "never binds": toy("waits"),
        "wrong port": toy("web_server", "--host", "::1", "--port", wrong),
        "ends first": python("import sys; print('no database', flush=True); sys.exit(4)"),
    }[kind]
    files = {"dynod.toml": SETTINGS.format(timeout_s)}
    with Up(app_folder(tmp_path, procfile={"web": command}, files=files), "--strict", env=IN_THE_FOLDER) as up:
        up.wait_for_line(r"heroku\[web\.1\]: Starting again in 3600 s")
        r10 = R10.format(timeout_s)
        killed = ["heroku: Stopping process with SIGKILL", "heroku: Process exited with status 137"]
        expected: dict[str, list[str | re.Pattern[str]]] = {
            "never binds": [START, r10, *killed],
            "wrong port": [START, re.compile(rf"heroku: web\.1 listens on \[::1\]:{wrong}, PORT is \d+"), r10, *killed],
            "ends first": [START, "heroku: Process exited with status 4"],
        }
        said = without_app(log_of(up, "web.1"))
        for line, wanted in zip(said, [*expected[kind], *NEVER_UP], strict=True):
            assert wanted.fullmatch(line) if isinstance(wanted, re.Pattern) else line == wanted
        assert up.get("/").status == 503
        up.wait_for_line(r"heroku\[router\]: at=error code=H10 ")


def test_web_dynos_that_come_up_oddly(tmp_path: Path) -> None:
    """Late, and on ::1 alone: up, and served, all the same."""
    r10 = R10.format(2)
    folder = app_folder(tmp_path, procfile={"web": toy("web_server", "--host", "::1", "--gate", "gate")}, files=ONCE)
    os.mkfifo(folder / "gate")
    with Up(folder) as up:
        up.wait_for_line(r"app\[web\.1\]: waits before it binds")
        up.wait_for_line(re.escape(r10.removeprefix("heroku: ")))  # without --strict only said
        (folder / "gate").write_text("go\n")
        up.wait_until_up("web.1")
        assert up.get("/").status == 200
        assert up.stop() == 0
        said = log_of(up, "web.1")
        assert without_app(said) == [START, r10, UP, *STOPPED, "heroku: Process exited with status 0"]
        assert re.fullmatch(r"app: listening on ::1 port \d+", said[said.index(UP) - 1])


@pytest.fixture
def small() -> Iterator[Path]:
    """A control group of 48 MB."""
    group = MEMORY / f"dynod-test-{uuid.uuid4().hex}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("this user may make no control group that limits memory")
    if not (group / "memory.limit_in_bytes").exists():
        group.rmdir()
        pytest.skip("no memory controller of version 1")
    (group / "memory.limit_in_bytes").write_text(str(48 << 20))
    yield group
    eventually(lambda: not (group / "cgroup.procs").read_text(), what="the end of the group")
    group.rmdir()


@pytest.mark.needs_ability("proc", reason="only the kernel knows whom it has ended for want of memory")
def test_a_dyno_that_the_kernel_ends_for_its_memory_is_named(tmp_path: Path, small: Path) -> None:
    command = f"sh -c 'echo $$ >{small}/cgroup.procs && exec {toy('eats_memory', 200)}'"
    with Up(app_folder(tmp_path, procfile={"worker": command}, files=ONCE)) as up:
        up.wait_for_line(r"heroku\[worker\.1\]: Starting again in 3600 s")
        said = log_of(up, "worker.1")
        assert said[:2] == [START, UP]
        assert re.fullmatch(
            r"heroku: (Probably k|K)illed by the kernel: the (machine|dyno) was out of memory.*", said[2]
        )
        assert said[3:] == ["heroku: Process exited with status 137", *CRASHED]
        assert not processes.zombies_of(up.pid)
        why = subprocess.run(
            [sys.executable, "-m", "dynod", "ps", "--why", "worker.1"],
            cwd=up.folder,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        told = [line.split("  ", 1)[1] for line in why.splitlines() if "  " in line]
        assert told[0] == "dynod up"
        assert told[1] == said[2].removeprefix("heroku: ")
        assert told[2] == "process exited with status 137"
        assert re.fullmatch(r"crash 1 in a row, back-off until \d\d:\d\d:\d\d UTC", told[3])
