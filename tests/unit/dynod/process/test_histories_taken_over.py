"""Lifecycles of dynos that one core begins and another goes on with, as histories on virtual time."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.dyno import SlotState
from dynod.core.serving import WebCondition
from support.dyno_world import Behaviour, World, restart, silences, stop

WORKS = Behaviour()
START_WORKER = "Starting process with command `run worker`"
START_WEB = "Starting process with command `run web`"
UP = "State changed from starting to up"
R10 = "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 60 seconds of launch"
R12 = "Error R12 (Exit timeout) -> At least one process failed to exit within 30 seconds of SIGTERM"


def test_a_dyno_that_is_up_is_taken_over_without_a_word() -> None:
    world = World({"web": [WORKS], "worker": [WORKS]})
    world.play({"web": 1, "worker": 1}, until=100)
    before = len(world.lines)
    world.play({"web": 1, "worker": 1}, until=3600)
    assert world.lines[before:] == []
    assert len(world.called("launch")) == 2
    assert world.called("stop") == []
    assert world.called("join")[-1] == f"join web.1 127.0.0.1:{world.process('web.1').port}", "a new router knows it"


def test_a_dyno_that_boots_goes_on_booting_and_has_no_more_time_for_it() -> None:
    world = World({"web": [Behaviour(listens_after_s=None)]})
    world.play({"web": 1}, until=50)
    world.play({"web": 1}, until=61)
    assert world.said("web.1")[:3] == [START_WEB, R10, "Stopping process with SIGKILL"]
    assert world.of("web.1")[1][0] == pytest.approx(60, abs=1.1)


def test_a_back_off_is_kept_to() -> None:
    world = World({"worker": [Behaviour(exits_after_s=0.0, exit_code=1)]})
    world.play({"worker": 1}, until=20)  # the sixth crash was at 18 s: 30 s of back-off
    assert [time for time, call, _ in world.calls if call == "launch"][-1] == 18
    world.play({"worker": 1}, until=40)
    world.play({"worker": 1}, until=200)
    assert [time for time, call, _ in world.calls if call == "launch"][6:8] == [48, 108]


def test_an_exit_while_no_core_lived_is_a_crash_like_any_other() -> None:
    world = World({"web": [WORKS]})
    world.play({"web": 1}, until=10)
    world.exit("web.1", 1)
    world.play({"web": 1}, until=20)
    assert world.said("web.1")[2:] == [
        "Process exited with status 1",
        "State changed from up to crashed",
        "State changed from crashed to starting",
        START_WEB,
        UP,
    ]
    assert world.forgotten == ["web.1"]


def test_an_exit_that_was_dealt_with_is_not_dealt_with_twice() -> None:
    """Its output was not handed on yet when the core died, so the keeper still has it."""
    world = World({"worker": [Behaviour(exits_after_s=5.0, exit_code=1), WORKS]})
    world.finish_takes_s = 1000.0
    world.play({"worker": 1}, until=10)
    assert world.said("worker.1").count("Process exited with status 1") == 1
    world.finish_takes_s = 0.0
    world.play({"worker": 1}, until=20)
    assert world.said("worker.1").count("Process exited with status 1") == 1
    assert len(world.called("launch")) == 2
    assert world.forgotten == ["worker.1"]


def test_silence_is_judged_across_cores() -> None:
    quiet, spoke = World({"worker": [Behaviour(writes=False)]}), World({"worker": [WORKS]})
    for world in (quiet, spoke):
        world.play({"worker": 1}, until=5)
        world.play({"worker": 1}, until=50)
        world.play({"worker": 1}, until=90)
    assert silences(quiet, "worker.1") == [10]
    assert silences(spoke, "worker.1") == []


def test_a_stop_under_way_is_carried_through() -> None:
    world = World({"worker": [Behaviour(leaves_after_s=None)]})
    world.play({"worker": 1}, (5.0, stop), until=10)
    world.play({"worker": 1}, (10.0, stop), (35.0, lambda world: world.kill("worker.1")), until=60)
    assert world.of("worker.1")[2:] == [
        (5, "State changed from up to down"),
        (5, "Stopping all processes with SIGTERM"),
        (35, R12),
        (35, "Stopping remaining processes with SIGKILL"),
        (35, "Process exited with status 137"),
    ]
    assert world.forgotten == ["worker.1"]


@pytest.mark.parametrize("dies_at", [5.01, 5.02, 5.5, 6.0, 6.05, 6.06, 6.1, 6.2])
def test_a_restart_under_way_is_carried_through(dies_at: float) -> None:
    world = World({"web": [WORKS]})
    world.play({"web": 1}, (5.0, restart), until=dies_at)
    world.play({"web": 1}, until=60)
    living = [process for process in world.processes.values() if not process.gone]
    assert len(living) == 1
    assert world.said("web.1")[:2] == [START_WEB, UP]
    assert len(world.called("launch")) == 2
    slot = json.loads(next(iter(world.kept.values())))
    assert (slot["state"], slot["instance"], slot["replacement"]) == (SlotState.UP, living[0].id, None)


@given(
    deaths=st.lists(st.floats(0.0, 12.0), max_size=4, unique=True).map(sorted),
    launch_s=st.sampled_from([0.0, 0.3]),
    drain_s=st.sampled_from([0.0, 0.4]),
    finish_s=st.sampled_from([0.0, 0.2, 3.0]),
)
def test_whenever_cores_die_the_dynos_come_to_the_same(
    deaths: list[float], launch_s: float, drain_s: float, finish_s: float
) -> None:
    """A web dyno that boots, is restarted and crashes, and a worker that climbs the ladder: whatever the moments."""
    works = Behaviour(launch_takes_s=launch_s)
    crashes = Behaviour(launch_takes_s=launch_s, exits_after_s=0.5, exit_code=1)
    world = World({"web": [works], "worker": [crashes, crashes, crashes, works]})
    world.drain_takes_s, world.finish_takes_s = drain_s, finish_s
    events = [(3.0, restart), (9.0, lambda world: world.exit("web.1", 1))]
    for start, end in pairwise([-1.0, *deaths, 700.0]):
        world.play({"web": 2, "worker": 1}, *(event for event in events if start < event[0] <= end), until=end)
    living = sorted(process.name for process in world.processes.values() if not process.gone)
    assert living == ["web.1", "web.2", "worker.1"]
    states = {key: json.loads(note)["state"] for key, note in world.kept.items()}
    assert set(states.values()) == {"up"}
    assert len(states) == 3
    assert world.conditions[-1][1] is WebCondition.SERVING
    assert all(process.note == "" for process in world.processes.values() if process.gone), "forgotten"
