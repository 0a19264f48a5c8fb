"""Launches that the platform refuses, as histories: tried again, then R99, and what follows (heroku-semantics 3.5)."""

import asyncio
import errno

import pytest

from support.dyno_world import Behaviour, World, restart, stop

WORKS = Behaviour()
NO_FORK = Behaviour(refused=errno.EAGAIN, refused_during="fork")
HANGS = Behaviour(refused=errno.ETIMEDOUT, refused_during="launch", launch_takes_s=10.0)
START = "Starting process with command `run worker`"
UP = "State changed from starting to up"
NOT_YET = "Process could not be started yet: fork: Resource temporarily unavailable"
NOT = "Process could not be started: fork: Resource temporarily unavailable"
R99 = "Error R99 (Platform error) -> Failed to launch the dyno within 10 seconds"


def test_what_is_short_for_a_moment_is_waited_for_and_no_crash() -> None:
    world = World({"worker": [NO_FORK, NO_FORK, WORKS]}).play({"worker": 1}, until=20)
    assert world.of("worker.1")[:4] == [(0, START), (0, NOT_YET), (1.5, UP)]
    assert world.exits == []


def test_r99_after_ten_seconds_then_the_ladder() -> None:
    world = World({"worker": [NO_FORK] * 6 + [NO_FORK] * 2 + [WORKS]}).play({"worker": 1}, until=20)
    assert world.of("worker.1")[:10] == [
        (0, START),
        (0, NOT_YET),
        (10, NOT),
        (10, R99),
        (10, "State changed from starting to crashed"),
        (10, "State changed from crashed to starting"),
        (10, START),
        (10, NOT_YET),
        (11.5, UP),
    ]
    assert world.exits == [("worker.1", 126)]


def test_a_launch_that_hangs_is_given_up_once() -> None:
    world = World({"worker": [HANGS, HANGS, WORKS]}).play({"worker": 1}, until=40)
    said = world.of("worker.1")
    hung = [
        (10, "Process could not be started: launch: Connection timed out"),
        (10, R99),
        (10, "State changed from starting to crashed"),
    ]
    assert said[1:4] == hung
    assert [message for _, message in said[4:8]] == [
        "State changed from crashed to starting",
        START,
        "Process could not be started: launch: Connection timed out",
        R99,
    ]
    assert said[-1] == (21, UP)


def test_without_a_free_port() -> None:
    def freed(world: World) -> None:
        world.ports_are_free = True

    world = World({"worker": [WORKS]})
    world.ports_are_free = False
    world.play({"worker": 1}, (15.0, freed), until=30)
    assert (
        world.of("worker.1")
        == [
            (0, "Process could not be started yet: port: none from 20000 to 29999 is free"),
            (10, "Process could not be started: port: none from 20000 to 29999 is free"),
            (10, R99),
            (10, "State changed from starting to crashed"),
            (10, "State changed from crashed to starting"),
            (10, "Process could not be started yet: port: none from 20000 to 29999 is free"),
            (17.5, START),
            (17.5, UP),
            (27.5, world.said("worker.1")[-1]),
        ][: len(world.of("worker.1"))]
    )
    assert world.launches == {"worker": 1}


def test_a_stop_meanwhile_ends_the_trying_at_once() -> None:
    world = World({"worker": [NO_FORK]}).play({"worker": 1}, (2.0, stop), until=30)
    assert world.of("worker.1") == [(0, START), (0, NOT_YET), (2.0, "State changed from starting to down")]
    assert world.kept == {}


def test_a_web_dyno_that_cannot_be_replaced_goes_on() -> None:
    world = World({"web": [WORKS, NO_FORK], "worker": [WORKS]}).play({"web": 1, "worker": 0}, (5.0, restart), until=60)
    assert world.of("web.1")[2:] == [
        (5, "Restarting"),
        (5, "State changed from up to starting"),
        (5, "Starting process with command `run web`"),
        (5, NOT_YET),
        (15, NOT),
        (15, R99),
        (15, "web.1 goes on with its old process: the new one did not come up"),
        (15, UP),
    ]
    assert world.called("drain", "stop") == []


def test_ports_of_launches_that_failed_are_given_again() -> None:
    world = World({"worker": [NO_FORK] * 60 + [WORKS]}, width=1)
    world.play({"worker": 3}, until=400)
    ports = [process.port for process in world.processes.values()]
    assert len(set(ports)) == 3
    assert len(world.supervisor.slots) == 3


@pytest.mark.parametrize("death", [0.2, 5.0, 9.99])
def test_the_next_core_tries_for_ten_seconds_of_its_own(death: float) -> None:
    world = World({"worker": [NO_FORK]}).play({"worker": 1}, until=death)
    before = len(world.lines)
    world.behaviours = {"worker": [*[NO_FORK] * (world.launches["worker"] + 2), WORKS]}
    world.play({"worker": 1}, until=death + 9)
    assert [message for _, _, message in world.lines[before:]][:3] == [START, NOT_YET, UP]


def test_a_one_off_dyno_is_complete_with_the_status_of_a_shell() -> None:
    world = World({"worker": [WORKS], "run": [NO_FORK]})
    codes: list[int] = []

    def run(world: World) -> None:
        command = world._command("run", 1)

        async def once() -> None:
            codes.append(await world.supervisor.run_once("run.1", command))

        world.supervisor.in_background(once(), "run")

    world.play({"worker": 0}, (1.0, run), until=30)
    assert world.of("run.1") == [
        (1, "Starting process with command `run run`"),
        (1, NOT_YET),
        (11, NOT),
        (11, R99),
        (11, "State changed from starting to complete"),
    ]
    assert codes == [126]


def test_a_one_off_dyno_that_is_stopped_meanwhile_is_complete() -> None:
    world = World({"worker": [WORKS], "run": [NO_FORK]})

    def run(world: World) -> None:
        slot = world.supervisor.add_one_off("run.1", world._command("run", 1))

        async def once() -> None:
            await slot.run_once(lambda _code: None)

        world.supervisor.in_background(once(), "run")
        asyncio.get_running_loop().call_later(2.0, slot.stop, "stopped")

    world.play({"worker": 0}, (1.0, run), until=30)
    assert world.of("run.1")[-1] == (3, "State changed from starting to complete")
    assert R99 not in world.said("run.1")
