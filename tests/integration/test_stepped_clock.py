"""The wall clock is set, hours forward and hours back, under a running dynod: times are stamps, and decide nothing.

The monotonic clock, by which dynod waits, cannot be set; a machine that sleeps stops it, as it stops the dynos.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.app_folder import app_folder, toy
from support.stepped_clock import SteppedClock
from support.up import Up

HOUR = 3600
pytestmark = pytest.mark.timeout(120)


def log_of(up: Up, dyno: str) -> list[str]:
    form = re.compile(rf"\S+ heroku\[{re.escape(dyno)}\]: (.*)")
    said = [match[1] for line in up.output.lines("stdout") if (match := form.fullmatch(line.text))]
    return ["Starting process" if line.startswith("Starting process") else line for line in said]


def done(up: Up, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "dynod", *arguments],
        cwd=up.folder,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ran.stdout + ran.stderr


@pytest.fixture
def clock(tmp_path: Path) -> SteppedClock:
    return SteppedClock(tmp_path / "clock")


def kill_core(up: Up) -> None:
    core = up.core_pid()
    os.kill(core, signal.SIGKILL)
    up.core_pid(other_than=core)


@pytest.mark.parametrize("step", [30 * 24 * HOUR, -30 * 24 * HOUR], ids=["forward", "back"])
def test_a_clock_that_is_set_starts_stops_and_kills_nobody(tmp_path: Path, clock: SteppedClock, step: int) -> None:
    """Back-off and time to live are two hours, the watchdog's patience seconds: none is over when the clock says so."""
    folder = app_folder(
        tmp_path,
        procfile={"web": toy("web_server"), "late": toy("waits"), "crashes": toy("exits_at_once", 3)},
        files={"dynod.toml": "[dynos]\nrestart = [7200]\nrestart_jitter = 0\n"},
    )
    with Up(folder, "web", "crashes", "late", env=clock.env) as up:
        up.wait_until_up("web.1", "late.1")
        up.wait_for_line(r"heroku\[crashes\.1\]: Starting again in 7200 s \(crash 1 in a row\)")
        once = re.search(r"run\.\d+", done(up, "run:detached", "--time-to-live", "7200", "sleep", "1000"))
        assert once
        up.wait_until_up(once[0])
        core, pids = up.core_pid(), up.dyno_pids()
        clock.set(step)
        assert up.get("/before").status == 200
        stamps = [up.wait_for_line(r'^(\S+)T\S+ heroku\[router\]: .*path="/before"').group()]
        kill_core(up)  # whatever was noted before the step is read after it
        done(up, "ps:scale", "late=2")
        up.wait_until_up("late.2")
        assert up.get("/after").status == 200
        stamps.append(up.wait_for_line(r'^(\S+)T\S+ heroku\[router\]: .*path="/after"').group())
        assert up.output.lines("stdout")[0].text[:10] not in stamps, "the clock was set"
        assert {dyno: pid for dyno, pid in up.dyno_pids().items() if dyno != "late.2"} == pids
        assert core != up.core_pid()
        assert [line.text for line in up.output.lines("stderr")][1:] == [
            "dynod: the core ended (SIGKILL); dynos are untouched, the next core starts now"
        ]
        assert log_of(up, "crashes.1") == [
            *("Starting process", "State changed from starting to up", "Process exited with status 3"),
            *("State changed from up to crashed", "Starting again in 7200 s (crash 1 in a row)"),
        ]
        assert log_of(up, "web.1")[-1] == log_of(up, once[0])[-1] == "State changed from starting to up"


def test_a_clock_that_is_set_back_keeps_nothing_waiting(tmp_path: Path, clock: SteppedClock) -> None:
    """Delay and grace are over when they are over."""
    folder = app_folder(
        tmp_path,
        procfile={"crashes": toy("exits_at_once", 3), "stays": toy("ignores_sigterm")},
        files={"dynod.toml": "[dynos]\nrestart = [2, 3600]\nrestart_jitter = 0\ngrace_s = 2\n"},
    )
    with Up(folder, env=clock.env) as up:
        up.wait_for_line(r"heroku\[crashes\.1\]: Starting again in 2 s")
        clock.set(-30 * 24 * HOUR)
        up.wait_for_line(r"heroku\[crashes\.1\]: Starting again in 3600 s \(crash 2 in a row\)")
        up.wait_for_line(r"app\[stays\.1\]: ready")
        done(up, "ps:scale", "stays=0")
        clock.set(-60 * 24 * HOUR)
        up.wait_for_line(r"heroku\[stays\.1\]: Process exited")
        assert log_of(up, "stays.1")[2:] == [
            "State changed from up to down",
            "Stopping all processes with SIGTERM",
            "Error R12 (Exit timeout) -> At least one process failed to exit within 2 seconds of SIGTERM",
            "Stopping remaining processes with SIGKILL",
            "Process exited with status 137",
        ]
