"""`dynod up` whose core is killed, hangs, or is asked to stop while it is away: no dyno notices."""

import os
import signal
import sys
from pathlib import Path

import pytest

from dynod.keeper.features import NAMES, WITHOUT
from support import abilities
from support.app_folder import app_folder, toy
from support.installed import program
from support.up import Up, eventually

MOST_IN_HAND = 100  # lines of a dyno that writes one every few milliseconds, in the moment in which its core is killed
TAKEN_OVER = r"dynod: the core ended \(SIGKILL\); dynos are untouched"


@pytest.fixture(params=["", ",".join(NAMES)], ids=["linux", "posix"])
def without(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param:
        program("ps")
    return {WITHOUT: str(request.param)}


def kill_core(up: Up) -> int:
    """`kill -9`, and wait for the next one; its pid."""
    core = up.core_pid()
    since = up.output.mark()
    os.kill(core, signal.SIGKILL)
    up.wait_for_line(TAKEN_OVER, since=since)
    return up.core_pid(other_than=core)


def counts(up: Up) -> list[int]:
    """The numbers that the counting worker's lines had, in order of arrival."""
    return [int(line.text.rpartition(" ")[2]) for line in up.output.lines("stdout") if ": count " in line.text]


COUNT = """\
import itertools, time
for n in itertools.count():
    print("count", n, flush=True)
    time.sleep(0.005)
"""


def test_the_core_is_killed_again_and_again_and_no_dyno_notices(tmp_path: Path, without: dict[str, str]) -> None:
    folder = app_folder(
        tmp_path, files={"count.py": COUNT}, procfile={"worker": toy("waits"), "counter": f"{sys.executable} count.py"}
    )
    with Up(folder, env=without) as up:
        up.wait_until_up("worker.1", "counter.1")
        before = {name: pids[0] for name, pids in up.dyno_pids().items()}
        for _ in range(3):  # the back-off of cores makes more of them slow
            since = up.output.mark()
            kill_core(up)
            up.wait_for_line("count ", since=since)
        after = {name: pids[0] for name, pids in up.dyno_pids().items()}
        assert after == before
        assert up.stop() == 0
        seen = counts(up)
        if "tee" in abilities.joined(without[WITHOUT]):
            # A core that cannot look into a pipe takes with it what it had read and not yet written (ARCHITECTURE).
            assert seen == sorted(seen)
            assert max(seen) + 1 - len(set(seen)) <= 3 * MOST_IN_HAND
        else:
            assert sorted(set(seen)) == list(range(max(seen) + 1)), "no line is lost (some may be said twice)"
        assert "got SIGTERM" in str(up.output)


def test_a_stop_asked_while_no_core_lives_stops_the_dynos_in_order(tmp_path: Path, without: dict[str, str]) -> None:
    folder = app_folder(tmp_path, procfile={"worker": toy("waits")})
    with Up(folder, env=without) as up:
        up.wait_for_line("ready pid=")
        os.kill(up.core_pid(), signal.SIGKILL)
        up.send_signal(signal.SIGTERM)
        assert up.wait() == 0
        said = [line.text.partition(": ")[2] for line in up.output.lines("stdout") if "worker.1" in line.text]
        said = [text for text in said if not text.startswith("ready")]  # a core that is killed may repeat a line
        assert said[-4:] == [
            "State changed from up to down",
            "Stopping all processes with SIGTERM",
            "got SIGTERM",
            "Process exited with status 0",
        ]


def test_a_core_killed_in_the_middle_of_a_stop_changes_nothing(tmp_path: Path, without: dict[str, str]) -> None:
    folder = app_folder(tmp_path, procfile={"worker": toy("ignores_sigterm")})
    with Up(folder, env=without) as up:
        up.wait_for_line("ready pid=")
        up.send_signal(signal.SIGTERM)
        up.wait_for_line("SIGTERM: no")
        kill_core(up)
        up.send_signal(signal.SIGINT)  # a person will not wait for the thirty seconds
        assert up.wait() == 128 + signal.SIGINT
        said = [line.text.partition(": ")[2] for line in up.output.lines("stdout") if "heroku[worker.1]" in line.text]
        assert said.count("Stopping all processes with SIGTERM") == 1
        assert said[-1] == "Process exited with status 137"


def test_a_hung_core_is_replaced(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"worker": toy("waits")})
    with Up(folder) as up:
        up.wait_until_up("worker.1")
        dyno = up.dyno_pids()["worker.1"]
        core = up.core_pid()
        os.kill(core, signal.SIGSTOP)
        up.wait_for_line("dynod: the core gives no sign of life")
        up.core_pid(other_than=core)
        up.wait_for_line(TAKEN_OVER)
        assert up.dyno_pids()["worker.1"] == dyno


def test_a_dyno_that_ends_while_no_core_reads_is_restarted(tmp_path: Path, without: dict[str, str]) -> None:
    folder = app_folder(tmp_path, procfile={"worker": toy("waits")})
    with Up(folder, env=without) as up:
        up.wait_for_line("ready pid=")
        (first,) = up.dyno_pids()["worker.1"]
        core = up.core_pid()
        os.kill(core, signal.SIGSTOP)
        os.kill(first, signal.SIGINT)
        eventually(lambda: not Path(f"/proc/{first}").exists(), what="the keeper to take the status")
        os.kill(core, signal.SIGKILL)
        up.wait_for_line(r"heroku\[worker.1\]: State changed from up to crashed")
        up.wait_for_line(r"heroku\[worker.1\]: State changed from crashed to starting")
        up.wait_for_line(rf"app\[worker.1\]: ready pid=(?!{first}\b)")
        text = str(up.output)
        assert text.index("got SIGINT") < text.index("Process exited with status 0")


@pytest.mark.parametrize("daemon", [["stubborn"], []])
def test_a_killed_keeper_takes_every_process_with_it(tmp_path: Path, daemon: list[str]) -> None:
    folder = app_folder(
        tmp_path,
        procfile={
            "family": toy("forks_grandchildren"),
            "daemon": toy("daemonises", *daemon),
            "deaf": toy("ignores_sigterm"),
        },
    )
    with Up(folder) as up:
        up.wait_for_line("grandchild ready")
        up.wait_for_line("ready daemon=")
        up.wait_for_line(r"deaf.1\]: ready")
        up.send_signal(signal.SIGKILL)
        assert up.wait() == -signal.SIGKILL
