"""Cycling, and stops that meet restarts, as histories on virtual time."""

from dynod.core.serving import WebCondition
from support.dyno_world import Behaviour, World

WORKS = Behaviour()
FAILS = Behaviour(listens_after_s=None, exits_after_s=1.0, exit_code=1)
DAY_S = 86_400.0
CYCLING = "Cycling"


def launches(world: World) -> list[float]:
    return [time for time, call, _ in world.calls if call == "launch"]


def times_of(world: World, ps: str, line: str) -> list[float]:
    return [time for time, said in world.of(ps) if said == line]


def test_without_a_time_nothing_is_cycled() -> None:
    world = World({"web": [WORKS], "worker": [WORKS]}).play({"web": 1, "worker": 1}, until=30 * DAY_S)
    assert len(launches(world)) == 2


def test_a_worker_is_stopped_before_a_fresh_one_starts() -> None:
    world = World({"worker": [WORKS]}, cycle_s=DAY_S, draw=0.0).play({"worker": 1}, until=2.5 * DAY_S)
    assert times_of(world, "worker.1", CYCLING) == [DAY_S, 2 * DAY_S + 0.1]
    assert launches(world) == [0, DAY_S + 0.1, 2 * DAY_S + 0.2]
    assert not any("crash" in line for line in world.said("worker.1"))


def test_a_web_dyno_is_replaced_without_a_gap() -> None:
    world = World({"web": [WORKS]}, cycle_s=DAY_S, draw=0.0).play({"web": 1}, until=1.5 * DAY_S)
    assert times_of(world, "web.1", CYCLING) == [DAY_S]
    traffic = [call for _, call, _ in world.calls if call in {"join", "drain", "leave"}]
    first_drain = traffic.index("drain")
    assert world.called("join")[0].split()[-1] != world.called("join")[1].split()[-1]  # its successor's address ...
    assert set(traffic[:first_drain]) == {"join"}  # ... is there before the old one goes
    assert "leave" in traffic[first_drain:]
    assert all(condition is not WebCondition.CRASHED for _, condition in world.conditions)


def test_dynos_do_not_go_all_at_once() -> None:
    early = World({"worker": [WORKS]}, cycle_s=DAY_S, draw=0.0).play({"worker": 1}, until=2 * DAY_S)
    late = World({"worker": [WORKS]}, cycle_s=DAY_S, draw=0.999).play({"worker": 1}, until=2 * DAY_S)
    assert times_of(early, "worker.1", CYCLING) == [DAY_S]
    (at,) = times_of(late, "worker.1", CYCLING)
    assert 1.149 * DAY_S < at < 1.15 * DAY_S  # up to 216 minutes of Heroku's 24 h


def test_a_core_that_takes_over_cycles_in_time() -> None:
    world = World({"worker": [WORKS]}, cycle_s=DAY_S, draw=0.0).play({"worker": 1}, until=DAY_S / 2)
    world.play({"worker": 1}, until=1.5 * DAY_S)
    assert times_of(world, "worker.1", CYCLING) == [DAY_S]


def test_where_the_fresh_one_fails_the_old_one_stays_and_it_is_tried_again() -> None:
    world = World({"web": [WORKS, FAILS, WORKS]}, cycle_s=DAY_S, draw=0.0).play({"web": 1}, until=2.5 * DAY_S)
    first, second = times_of(world, "web.1", CYCLING)
    assert first == DAY_S
    assert 2 * DAY_S < second < 2 * DAY_S + 10
    assert len(launches(world)) == 3
    assert sum("goes on with its old process" in line for line in world.said("web.1")) == 1


def test_a_restart_of_dynos_that_are_stopped_meanwhile_ends() -> None:
    """The second and third wait their turn while the first one's successor boots, and then are no more."""
    slow = Behaviour(listens_after_s=30.0)
    world = World({"web": [WORKS, WORKS, WORKS, slow]})
    came_up: list[bool] = []

    async def restart() -> None:
        came_up.append(await world.supervisor.restart(["web.1", "web.2", "web.3"], "test"))

    world.play(
        {"web": 3},
        (10.0, lambda world: world.supervisor.in_background(restart(), "restart")),
        (20.0, lambda world: world.supervisor.scale({"web": 0}, "test")),
        until=60,
    )
    assert came_up == [False]
    assert not list(world.supervisor.slots)
    assert not [key for key in world.kept if key.startswith("slot:")]


def test_who_waits_for_a_turn_to_boot_is_not_started_to_be_stopped() -> None:
    world = World({"web": [Behaviour(listens_after_s=10.0)]}, width=2).play(
        {"web": 50}, (5.0, lambda world: world.supervisor.scale({"web": 0}, "test")), until=60
    )
    assert len(launches(world)) == 2
    assert not list(world.supervisor.slots)


def test_wanted_again_while_it_stops_it_is_started_once() -> None:
    """A restart that was asked for before the stop is not carried out on the next one."""
    slow = Behaviour(leaves_after_s=10.0)
    world = World({"worker": [slow]}).play(
        {"worker": 1},
        (10.0, lambda world: world.supervisor.scale({"worker": 0}, "test")),
        (11.0, lambda world: world.supervisor.restart_in_background(["worker.1"], "test")),
        (12.0, lambda world: world.supervisor.scale({"worker": 1}, "test")),
        until=120,
    )
    assert launches(world) == [0, 20.0]
