"""Lifecycles of dynos as histories on virtual time: what happens when, and what is said and done about it.

Exact text and order of platform lines are Heroku's (its semantics 2.5 and 2.7); where dynod differs by contract
(the ladder of contracts 8, a web dyno that is replaced without a gap) the contract is asserted.
"""

import errno
import json
from itertools import pairwise

import pytest

from dynod.core.dyno import RestartCause, SlotState
from dynod.core.restart import POLICIES
from dynod.core.serving import WebCondition
from support.dyno_world import NOT_FOUND, Behaviour, World, restart, silences, stop

WORKS = Behaviour()
START_WORKER = "Starting process with command `run worker`"
START_WEB = "Starting process with command `run web`"
UP = "State changed from starting to up"
R10 = "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 60 seconds of launch"
R12 = "Error R12 (Exit timeout) -> At least one process failed to exit within 30 seconds of SIGTERM"


def hasten(world: World) -> None:
    world.supervisor.hasten()


# --- start -----------------------------------------------------------------------------------------------------------


def test_a_worker_is_up_as_soon_as_it_is_launched() -> None:
    world = World({"worker": [WORKS]}).play({"worker": 1}, until=3600)
    assert world.of("worker.1") == [(0, START_WORKER), (0, UP)]
    assert world.called("join") == []
    assert world.conditions == [(0, WebCondition.NO_WEB)]


def test_a_web_dyno_is_up_and_gets_requests_once_it_listens_on_its_port() -> None:
    world = World({"web": [Behaviour(listens_after_s=12.0)]}).play({"web": 1}, until=3600)
    assert world.said("web.1") == [START_WEB, UP]
    ((ready, _),) = [line for line in world.of("web.1") if line[1] == UP]
    assert 12.0 <= ready <= 12.1
    assert world.called("join") == [f"join web.1 127.0.0.1:{world.ports[0]}"]
    assert [condition for _, condition in world.conditions] == [WebCondition.BOOTING, WebCondition.SERVING]


def test_every_dyno_has_a_port_of_its_own() -> None:
    world = World({"web": [WORKS], "worker": [WORKS]}).play({"web": 3, "worker": 2}, until=10)
    assert len(set(world.ports)) == 5
    assert None not in world.ports


def test_a_bounded_number_of_dynos_boots_at_once() -> None:
    world = World({"web": [Behaviour(listens_after_s=2.0)]}, width=2).play({"web": 6}, until=60)
    times = [time for time, call, _ in world.calls if call == "launch"]
    assert times == pytest.approx([0, 0, 2, 2, 4, 4], abs=0.2)


# --- crash -----------------------------------------------------------------------------------------------------------


ENDED_AT_ONCE = (
    "Cause: it ended by itself with status 0: a process of the Procfile has to go on, and not into the background"
)
NO_COMMAND = "Cause: its command was not found: is it on the PATH?"


def test_a_worker_that_exits_crashes_whatever_its_status_and_starts_again_at_once() -> None:
    world = World({"worker": [Behaviour(exits_after_s=5.0, exit_code=0), WORKS]}).play({"worker": 1}, until=60)
    assert world.of("worker.1") == [
        (0, START_WORKER),
        (0, UP),
        (5, "Process exited with status 0"),
        (5, ENDED_AT_ONCE),
        (5, "State changed from up to crashed"),
        (5, "State changed from crashed to starting"),
        (5, START_WORKER),
        (5, UP),
    ]
    assert world.forgotten == ["worker.1"]
    assert world.exits == [("worker.1", 0)]


def test_a_crash_at_boot_says_what_heroku_says() -> None:
    world = World({"web": [Behaviour(listens_after_s=None, exits_after_s=1.0, exit_code=127)]}).play(
        {"web": 1}, until=2.5
    )
    assert world.of("web.1") == [
        (0, START_WEB),
        (1, "Process exited with status 127"),
        (1, NO_COMMAND),
        (1, "State changed from starting to crashed"),
        (1, "State changed from crashed to starting"),
        (1, START_WEB),
        (2, "Process exited with status 127"),
        (2, NO_COMMAND),
        (2, "State changed from starting to crashed"),
        (2, "Starting again in 1 s (crash 2 in a row)"),
    ]
    assert world.conditions[-1] == (2.0, WebCondition.CRASHED)
    assert world.called("join") == []


def test_the_ladder_is_climbed_and_never_left() -> None:
    world = World({"worker": [Behaviour(exits_after_s=0.0, exit_code=1)]}).play({"worker": 1}, until=3000)
    times = [time for time, call, _ in world.calls if call == "launch"]
    waits = [round(later - earlier) for earlier, later in pairwise(times)]
    assert waits[:12] == [0, 1, 2, 5, 10, 30, 60, 120, 300, 300, 300, 300]
    assert set(waits[12:]) == {300}


@pytest.mark.parametrize(("draw", "share"), [(0.0, 0.8), (0.999, 1.2)])
def test_the_ladder_is_jittered(draw: float, share: float) -> None:
    world = World({"worker": [Behaviour(exits_after_s=0.0, exit_code=1)]}, draw=draw).play({"worker": 1}, until=100)
    times = [time for time, call, _ in world.calls if call == "launch"]
    assert times[:5] == pytest.approx([0, 0, share, 3 * share, 8 * share], rel=0.01)


def test_ten_minutes_up_and_the_next_crash_counts_as_the_first() -> None:
    crashes, steady = Behaviour(exits_after_s=0.0, exit_code=1), Behaviour(exits_after_s=600.0, exit_code=1)
    world = World({"worker": [crashes, crashes, crashes, steady, WORKS]}).play({"worker": 1}, until=700)
    assert world.said("worker.1")[-5:] == [
        "Process exited with status 1",
        "State changed from up to crashed",
        "State changed from crashed to starting",
        START_WORKER,
        UP,
    ]


def test_time_spent_booting_is_no_time_up() -> None:
    slow = Behaviour(listens_after_s=None, exits_after_s=700.0, exit_code=1)
    world = World({"web": [slow]}, strict=False).play({"web": 1}, until=1500)
    assert "Starting again in 1 s (crash 2 in a row)" in world.said("web.1")


def test_herokus_own_ladder() -> None:
    world = World({"worker": [Behaviour(exits_after_s=0.0)]}, restart=POLICIES["heroku"]).play(
        {"worker": 1}, until=5000
    )
    assert [time for time, call, _ in world.calls if call == "launch"] == [0, 0, 1200, 3600]


def test_each_dyno_has_a_ladder_of_its_own() -> None:
    world = World({"worker": [Behaviour(exits_after_s=0.0, exit_code=1)], "clock": [WORKS]}).play(
        {"worker": 1, "clock": 1}, (30.0, lambda world: world.exit("clock.1", 1)), until=30.5
    )
    assert world.said("clock.1")[-3:] == [
        "State changed from crashed to starting",
        "Starting process with command `run clock`",
        UP,
    ]


def test_a_crashed_dyno_among_others_is_just_not_in_rotation() -> None:
    world = World({"web": [WORKS, WORKS, Behaviour(exits_after_s=0.0)]}).play(
        {"web": 2}, (5.0, lambda world: world.exit("web.2", 1)), until=7
    )
    assert world.conditions[-1][1] is WebCondition.SERVING
    assert "leave web.2" in world.called("leave")


def test_a_command_that_is_not_found_is_said_and_climbs_the_ladder() -> None:
    world = World({"worker": [NOT_FOUND]}).play({"worker": 1}, until=2.5)
    assert world.of("worker.1")[:8] == [
        (0, START_WORKER),
        (0, "Process could not be started: program: No such file or directory"),
        (0, "State changed from starting to crashed"),
        (0, "State changed from crashed to starting"),
        (0, START_WORKER),
        (0, "Process could not be started: program: No such file or directory"),
        (0, "State changed from starting to crashed"),
        (0, "Starting again in 1 s (crash 2 in a row)"),
    ]
    assert world.exits[0] == ("worker.1", 127)


def test_a_command_that_may_not_be_executed_has_the_shells_status() -> None:
    world = World({"worker": [Behaviour(refused=errno.EACCES)]}).play({"worker": 1}, until=0.5)
    assert world.exits[0] == ("worker.1", 126)


# --- boot ------------------------------------------------------------------------------------------------------------


def test_r10_is_enforced_where_production_is() -> None:
    world = World({"web": [Behaviour(listens_after_s=None), WORKS]}, strict=True).play({"web": 1}, until=70)
    assert world.said("web.1") == [
        START_WEB,
        R10,
        "Stopping process with SIGKILL",
        "Process exited with status 137",
        "State changed from starting to crashed",
        "State changed from crashed to starting",
        START_WEB,
        UP,
    ]
    assert world.of("web.1")[1][0] == pytest.approx(60, abs=1.1)
    assert world.called("stop") == ["stop web.1 SIGKILL 0"]


def test_r10_is_only_reported_where_a_breakpoint_is_no_timeout() -> None:
    world = World({"web": [Behaviour(listens_after_s=500.0)]}, strict=False).play({"web": 1}, until=1000)
    assert world.said("web.1") == [START_WEB, R10, UP]
    assert world.called("stop") == []


def test_another_port_is_named_once() -> None:
    world = World({"web": [Behaviour(listens_after_s=1.0, listens_on=3000)]}).play({"web": 1}, until=59)
    assert world.said("web.1") == [START_WEB, f"web.1 listens on 127.0.0.1:3000, PORT is {world.ports[0]}"]
    assert world.of("web.1")[1][0] == pytest.approx(3, abs=1.1)


def test_a_port_that_was_taken_meanwhile_is_exchanged_at_once() -> None:
    world = World({"web": [Behaviour(listens_after_s=None, port_taken=True), WORKS]}).play({"web": 1}, until=10)
    first, second = world.ports
    assert first != second
    assert world.said("web.1") == [
        START_WEB,
        f"port {first} was taken by another program meanwhile; trying another port",
        START_WEB,
        UP,
    ]
    assert world.called("stop") == ["stop web.1 SIGKILL 0"]
    assert world.exits == [], "no crash of the dyno's"


# --- silence ---------------------------------------------------------------------------------------------------------


def test_a_dyno_that_writes_nothing_is_named_once_after_ten_seconds_up() -> None:
    world = World({"worker": [Behaviour(writes=False)]}).play({"worker": 1}, until=3600)
    assert silences(world, "worker.1") == [10]


def test_a_web_dynos_silence_counts_from_when_it_is_up() -> None:
    world = World({"web": [Behaviour(writes=False, listens_after_s=20.0)]}).play({"web": 1}, until=3600)
    assert silences(world, "web.1") == pytest.approx([30], abs=0.1)


def test_a_dyno_that_has_written_may_be_silent() -> None:
    world = World({"worker": [WORKS]}).play({"worker": 1}, until=3600)
    assert silences(world, "worker.1") == []


def test_a_dyno_that_ends_early_is_not_called_silent() -> None:
    world = World({"worker": [Behaviour(writes=False, exits_after_s=9.0), WORKS]}).play({"worker": 1}, until=100)
    assert silences(world, "worker.1") == []


# --- stop ------------------------------------------------------------------------------------------------------------


def test_a_stop_says_what_heroku_says() -> None:
    world = World({"web": [WORKS]}).play({"web": 1}, (5.0, stop), until=60)
    assert world.of("web.1")[2:] == [
        (5.0, "State changed from up to down"),
        (5.0, "Stopping all processes with SIGTERM"),
        (5.1, "Process exited with status 143"),
    ]
    assert world.called("drain", "stop") == ["drain web.1", "stop web.1 SIGTERM 30"]
    assert world.forgotten == ["web.1"]
    assert world.kept == {}, "nothing is left for a next core"


def test_requests_in_flight_are_answered_before_the_signal() -> None:
    world = World({"web": [WORKS]})
    world.drain_takes_s = 7.0
    world.play({"web": 1}, (5.0, stop), until=60)
    assert world.of("web.1")[2:] == [
        (5.0, "State changed from up to down"),
        (12.0, "Stopping all processes with SIGTERM"),
        (12.1, "Process exited with status 143"),
    ]


def test_a_stop_that_is_ignored_ends_with_r12() -> None:
    world = World({"worker": [Behaviour(leaves_after_s=None)]}).play({"worker": 1}, (5.0, stop), until=60)
    assert world.of("worker.1")[2:] == [
        (5, "State changed from up to down"),
        (5, "Stopping all processes with SIGTERM"),
        (35, R12),
        (35, "Stopping remaining processes with SIGKILL"),
        (35, "Process exited with status 137"),
    ]


def test_a_person_who_will_not_wait_is_obeyed() -> None:
    world = World({"worker": [Behaviour(leaves_after_s=None)]}).play(
        {"worker": 1}, (5.0, stop), (7.0, hasten), until=60
    )
    assert world.of("worker.1")[2:] == [
        (5, "State changed from up to down"),
        (5, "Stopping all processes with SIGTERM"),
        (7, "Stopping remaining processes with SIGKILL"),
        (7, "Process exited with status 137"),
    ]


def test_hurry_reaches_a_dyno_that_is_just_being_launched() -> None:
    world = World({"worker": [Behaviour(leaves_after_s=None, launch_takes_s=3.0)]}).play(
        {"worker": 1}, (1.0, stop), (2.0, hasten), until=60
    )
    assert world.said("worker.1")[-1] == "Process exited with status 137"
    assert world.of("worker.1")[-1][0] == 3


def test_a_stop_during_launch() -> None:
    world = World({"worker": [Behaviour(launch_takes_s=3.0)]}).play({"worker": 1}, (1.0, stop), until=60)
    assert world.of("worker.1")[-3:] == [
        (3.0, "State changed from up to down"),
        (3.0, "Stopping all processes with SIGTERM"),
        (3.1, "Process exited with status 143"),
    ]


def test_a_stop_during_boot() -> None:
    world = World({"web": [Behaviour(listens_after_s=None)]}).play({"web": 1}, (5.0, stop), until=60)
    assert world.of("web.1")[1:] == [
        (5.0, "State changed from starting to down"),
        (5.0, "Stopping all processes with SIGTERM"),
        (5.1, "Process exited with status 143"),
    ]
    assert world.called("join") == []


def test_a_stop_during_back_off() -> None:
    world = World({"worker": [Behaviour(exits_after_s=0.0, exit_code=1)]}).play({"worker": 1}, (30.0, stop), until=999)
    assert world.of("worker.1")[-1] == (30, "State changed from crashed to down")
    assert len(world.called("launch")) == 6
    assert world.kept == {}


def test_a_stop_asked_twice_is_one_stop() -> None:
    world = World({"worker": [Behaviour(leaves_after_s=3.0)]}).play({"worker": 1}, (5.0, stop), (6.0, stop), until=60)
    assert world.said("worker.1").count("Stopping all processes with SIGTERM") == 1


def test_a_stop_waits_until_the_last_line_is_handed_on() -> None:
    world = World({"worker": [WORKS]})
    world.finish_takes_s = 4.0
    world.play({"worker": 1}, (5.0, stop), until=60)
    assert world.of("worker.1")[-1] == (9.1, "Process exited with status 143")


@pytest.mark.parametrize(
    ("reader", "said_at"),
    [
        pytest.param(None, 6, id="somebody else may still write to its pipe"),
        pytest.param("slow", 25, id="the reader of the log takes other dynos' lines first"),
        pytest.param("stuck", 10, id="the reader of the log has taken nothing for 5 s"),
    ],
)
def test_a_crash_is_said_after_the_last_lines_unless_they_do_not_come(reader: str | None, said_at: float) -> None:
    world = World({"worker": [Behaviour(exits_after_s=5.0, exit_code=1), WORKS]})
    world.finish_takes_s, world.log_reader = 20.0, reader
    world.play({"worker": 1}, until=said_at + 1)
    assert world.of("worker.1")[2] == (said_at, "Process exited with status 1")
    assert bool(world.forgotten) is (reader == "slow"), "not before its output is handed on"


# --- restart ---------------------------------------------------------------------------------------------------------


def test_a_worker_is_stopped_before_the_next_one_starts() -> None:
    world = World({"worker": [Behaviour(leaves_after_s=3.0)]}).play({"worker": 1}, (5.0, restart), until=60)
    assert world.of("worker.1")[2:] == [
        (5, "Restarting"),
        (5, "State changed from up to starting"),
        (5, "Stopping all processes with SIGTERM"),
        (8, "Process exited with status 143"),
        (8, START_WORKER),
        (8, UP),
    ]


def test_a_web_dyno_is_replaced_without_a_gap() -> None:
    world = World({"web": [WORKS]}).play({"web": 1}, (5.0, restart), until=60)
    assert world.said("web.1")[2:] == [
        "Restarting",
        "State changed from up to starting",
        START_WEB,
        UP,
        "Stopping all processes with SIGTERM",
        "Process exited with status 143",
    ]
    assert [condition for _, condition in world.conditions] == [WebCondition.BOOTING, WebCondition.SERVING]
    drained = next(index for index, (_, call, _) in enumerate(world.calls) if call == "drain")
    assert [call for _, call, _ in world.calls[:drained]].count("join") >= 2, "the new one joins before the old drains"


def test_a_web_dyno_whose_replacement_fails_goes_on_with_its_old_process() -> None:
    world = World({"web": [WORKS, Behaviour(listens_after_s=None, exits_after_s=2.0, exit_code=3)]}).play(
        {"web": 1}, (5.0, restart), until=60
    )
    assert world.said("web.1")[2:] == [
        "Restarting",
        "State changed from up to starting",
        START_WEB,
        "Process exited with status 3",
        "web.1 goes on with its old process: the new one did not come up",
        UP,
    ]
    assert world.called("drain") == []


def test_a_restart_ends_the_back_off_and_the_count() -> None:
    crashes = Behaviour(exits_after_s=0.0, exit_code=1)
    world = World({"worker": [crashes] * 6 + [Behaviour(exits_after_s=1.0), WORKS]}).play(
        {"worker": 1}, (30.0, restart), until=100
    )
    assert world.of("worker.1")[-9:] == [
        (30, "State changed from crashed to starting"),
        (30, START_WORKER),
        (30, UP),
        (31, "Process exited with status 0"),
        (31, ENDED_AT_ONCE),
        (31, "State changed from up to crashed"),
        (31, "State changed from crashed to starting"),
        (31, START_WORKER),
        (31, UP),
    ]


# --- scale -----------------------------------------------------------------------------------------------------------


def test_scaling_stops_the_highest_numbers_and_touches_no_other() -> None:
    world = World({"worker": [WORKS]}).play(
        {"worker": 3},
        (5.0, lambda world: world.supervisor.scale({"worker": 1}, "scaled")),
        (9.0, lambda world: world.supervisor.scale({"worker": 2}, "scaled")),
        until=60,
    )
    assert world.said("worker.1") == [START_WORKER, UP]
    assert world.called("stop") == ["stop worker.2 SIGTERM 30", "stop worker.3 SIGTERM 30"]
    assert world.of("worker.2")[-2:] == [(9, START_WORKER), (9, UP)]
    assert sorted(json.loads(note)["state"] for note in world.kept.values()) == ["up", "up"]


def test_a_dyno_wanted_again_while_it_stops_starts_again_afterwards() -> None:
    world = World({"worker": [Behaviour(leaves_after_s=10.0)]}).play(
        {"worker": 1},
        (5.0, lambda world: world.supervisor.scale({"worker": 0}, "scaled")),
        (7.0, lambda world: world.supervisor.scale({"worker": 1}, "scaled")),
        until=60,
    )
    assert world.of("worker.1")[-3:] == [(15, "Process exited with status 143"), (15, START_WORKER), (15, UP)]


# --- why -------------------------------------------------------------------------------------------------------------


def told(world: World, name: str) -> list[str]:
    """What `ps --why` has of a dyno."""
    (slot,) = [slot for slot in world.supervisor.slots if slot.name == name]
    return [entry.what for entry in slot.log.history]


def test_the_causes_of_a_state_are_a_chain() -> None:
    """Who asked, what went wrong, by which of Heroku's codes, and until when it waits now."""
    never = Behaviour(listens_after_s=None)
    world = World({"web": [never, Behaviour(exits_after_s=0.5, exit_code=7), never]}).play({"web": 1}, until=65)
    assert told(world, "web.1") == [
        "test",
        R10,
        "process exited with status 137",
        "crash 1 in a row, next start at once",
        "process exited with status 7",
        "crash 2 in a row, back-off until 22:14:22 UTC",  # EPOCH is 22:13:20: R10 after a minute, then 0.5 s and 1 s
    ]


def test_a_grace_that_ran_out_and_a_quota_are_among_the_causes() -> None:
    stubborn = Behaviour(leaves_after_s=None)
    world = World({"worker": [stubborn]}).play(
        {"worker": 1},
        (1.0, lambda world: world.supervisor.over_memory(world.process("worker.1").id)),
        (5.0, restart),
        until=40,
    )
    causes = told(world, "worker.1")
    assert causes.index("Error R15 (Memory quota vastly exceeded)") < causes.index("process exited with status 137")
    assert R12 in causes


def test_a_dyno_that_wrote_too_much_is_killed_and_started_again() -> None:
    why = "Error (Disk limit exceeded): wrote 3 MB, limit 2 MB"
    world = World({"worker": [Behaviour()]}).play(
        {"worker": 1},
        (1.0, lambda world: world.supervisor.over_disk(world.process("worker.1").id, why)),
        until=20,
    )
    causes = told(world, "worker.1")
    assert (
        causes.index(why)
        < causes.index("process exited with status 137")
        < causes.index("crash 1 in a row, next start at once")
    )
    (slot,) = world.supervisor.slots
    assert (slot.state, slot.restarts) == (SlotState.UP, {RestartCause.DISK: 1})
