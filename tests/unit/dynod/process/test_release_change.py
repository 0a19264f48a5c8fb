"""A change of release as histories on virtual time: all dynos go over, or all stay, web without a gap."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.dyno import SlotState
from dynod.core.serving import WebCondition
from dynod.process.release_change import ChangeRules, Order
from support.dyno_world import Behaviour, World

WORKS = Behaviour()
CRASHES = Behaviour(exits_after_s=3.0, exit_code=1)  # after it has come up
NEVER_LISTENS = Behaviour(listens_after_s=None)
RULES = ChangeRules(settle_s=10.0)


def change(version: int = 2, rules: ChangeRules = RULES) -> Callable[[World], object]:
    return lambda world: world.release(version, rules)


def calls(world: World, name: str, *wanted: str) -> list[tuple[float, str]]:
    return [(round(time, 1), call) for time, call, what in world.calls if call in wanted and what.startswith(name)]


def joined(world: World) -> set[str]:
    """Who was ever in the router's pool, by name and address."""
    return {what for _, call, what in world.calls if call == "join"}


def overlaps(world: World, name: str) -> bool:
    """Whether two processes of the dyno were ever there at once, by the calls' order."""
    alive = 0
    for _, call, what in world.calls:
        if what.startswith(name) and call == "launch":
            alive += 1
            if alive > 1:
                return True
        if what.startswith(name) and call == "leave":
            alive -= 1
    return False


def test_a_web_dyno_boots_beside_the_old_one_and_gets_requests_once_it_has_stayed_up() -> None:
    world = World({"web": [WORKS]}).play({"web": 1}, (100, change()), until=200)
    ((time, failed),) = world.outcomes
    assert time == pytest.approx(111, abs=0.2)
    assert failed is None
    assert world.releases() == {"web.1": [2]}
    launched, joined, drained = (calls(world, "web.1", call)[-1][0] for call in ("launch", "join", "drain"))
    assert launched == 100
    assert joined == pytest.approx(111, abs=0.2)
    assert drained == joined
    assert [condition for _, condition in world.conditions] == [WebCondition.BOOTING, WebCondition.SERVING]


def test_other_types_are_replaced_and_never_overlap() -> None:
    world = World({"worker": [Behaviour(leaves_after_s=5.0)]}).play({"worker": 1}, (100, change()), until=200)
    assert world.outcomes == [(115.0, None)]
    assert calls(world, "worker.1", "launch", "stop") == [(0.0, "launch"), (100.0, "stop"), (105.0, "launch")]


def test_web_switches_when_the_others_have_proven_themselves() -> None:
    world = World({"web": [WORKS], "worker": [Behaviour(leaves_after_s=20.0)]})
    world.play({"web": 1, "worker": 1}, (100, change()), until=200)
    assert world.releases() == {"web.1": [2], "worker.1": [2]}
    assert calls(world, "web.1", "join")[-1][0] == 130
    assert world.outcomes == [(130.0, None)]


@pytest.mark.parametrize("new", [CRASHES, NEVER_LISTENS, Behaviour(listens_on=3000), Behaviour(exits_after_s=0.0)])
def test_a_web_dyno_that_does_not_prove_itself_leaves_the_old_release_serving(new: Behaviour) -> None:
    world = World({"web": [WORKS, new], "worker": [WORKS]})
    world.play({"web": 1, "worker": 1}, (100, change()), until=300)
    assert [failed for _, failed in world.outcomes] == ["web.1"]
    assert world.releases() == {"web.1": [0], "worker.1": [0]}
    assert len(joined(world)) == 1, "the old one was in the pool all along, the new one never"
    assert [slot.state for slot in world.supervisor.slots] == [SlotState.UP, SlotState.UP]


def test_a_worker_that_fails_brings_every_dyno_back() -> None:
    world = World({"web": [WORKS], "worker": [WORKS, CRASHES, WORKS]})
    world.play({"web": 2, "worker": 1}, (100, change()), until=300)
    assert world.outcomes == [(103.1, "worker.1")]
    assert world.releases() == {"web.1": [0], "web.2": [0], "worker.1": [0]}
    assert len(joined(world)) == 2
    assert "web.1 goes on with its old process: the change was undone" in world.said("web.1")


def test_web_dynos_go_over_surge_by_surge() -> None:
    for surge, launches in ((1, [100, 111, 122, 133]), (2, [100, 100, 111, 111]), (9, [100] * 4)):
        world = World({"web": [WORKS]}).play(
            {"web": 4}, (100, change(rules=ChangeRules(settle_s=10.0, surge=surge))), until=400
        )
        times = [time for time, _ in calls(world, "web", "launch")[4:]]
        assert times == pytest.approx(launches, abs=0.7), surge
        assert world.releases() == {f"web.{number}": [2] for number in range(1, 5)}


def test_a_later_web_dyno_that_fails_brings_the_earlier_ones_back() -> None:
    world = World({"web": [WORKS] * 5 + [CRASHES, WORKS]}).play({"web": 3}, (100, change()), until=300)
    assert [failed for _, failed in world.outcomes] == ["web.3"]
    assert world.releases() == {"web.1": [0], "web.2": [0], "web.3": [0]}


def test_without_memory_for_two_the_old_one_goes_first() -> None:
    world = World({"web": [WORKS]}).play(
        {"web": 2}, (100, change(rules=ChangeRules(settle_s=10.0, surge=0))), until=300
    )
    assert world.releases() == {"web.1": [2], "web.2": [2]}
    first = [call for _, call in calls(world, "web.1", "launch", "stop")]
    assert first == ["launch", "stop", "launch"]


def test_what_was_down_before_is_no_measure() -> None:
    """A worker that crashed all along crashes on: the release that mends the web dyno need not mend it too."""
    world = World({"web": [WORKS], "worker": [CRASHES]})
    world.play({"web": 1, "worker": 1}, (100, change()), until=300)
    assert [failed for _, failed in world.outcomes] == [None]
    assert world.releases()["web.1"] == [2]


def test_a_dyno_that_is_scaled_away_meanwhile_fails_nothing_and_one_that_comes_goes_over_too() -> None:
    world = World({"web": [WORKS]}).play(
        {"web": 2},
        (100, change()),
        (105, lambda world: world.supervisor.scale({"web": 1}, "scaled")),
        (106, lambda world: world.supervisor.scale({"web": 3}, "scaled")),
        until=300,
    )
    assert [failed for _, failed in world.outcomes] == [None]
    assert world.releases() == {"web.1": [2], "web.2": [2], "web.3": [2]}


def test_when_the_old_process_dies_meanwhile_the_new_one_takes_over_at_once() -> None:
    def kill_old(world: World) -> None:
        old = next(process for process in world.processes.values() if process.release == 0)
        world._end(old, -9)

    world = World({"web": [WORKS]}).play({"web": 1}, (100, change()), (105, kill_old), until=200)
    assert calls(world, "web.1", "join")[-1][0] == 105
    assert world.releases() == {"web.1": [2]}


def test_herokus_classic_order_stops_and_starts_everything_at_once() -> None:
    world = World({"web": [WORKS], "worker": [WORKS]})
    world.new = {"web": CRASHES}
    rules = ChangeRules(settle_s=10.0, order=Order.CLASSIC)
    world.play({"web": 3, "worker": 1}, (100, change(rules=rules)), until=110)
    assert world.outcomes == [(100.0, None)]
    assert [time for time, _ in calls(world, "w", "stop")] == [100] * 4
    assert {release for found in world.releases().values() for release in found} == {2}, "also of one that crashes"


def test_herokus_preboot_switches_after_a_fixed_time_whatever_comes_up() -> None:
    for new in (WORKS, NEVER_LISTENS):
        world = World({"web": [WORKS]})
        world.new = {"web": new}
        rules = ChangeRules(settle_s=10.0, order=Order.PREBOOT)
        world.play({"web": 2}, (100, change(rules=rules)), until=500)
        assert [failed for _, failed in world.outcomes] == [None]
        stops = [time for time, what in calls(world, "web", "drain") if time > 100]
        first = 281 if new is WORKS else 160
        assert stops[:2] == pytest.approx([first, first], abs=0.5)
        assert all(set(found) <= {2} for found in world.releases().values())


def test_a_change_is_said_in_herokus_words() -> None:
    world = World({"worker": [WORKS]}).play({"worker": 1}, (100, change()), until=200)
    assert world.said("worker.1")[2:] == [
        "Restarting",
        "State changed from up to starting",
        "Stopping all processes with SIGTERM",
        "Process exited with status 143",
        "Starting process with command `run worker`",
        "State changed from starting to up",
    ]


@given(
    st.lists(st.floats(min_value=100.0, max_value=160.0), min_size=1, max_size=3, unique=True).map(sorted),
    st.sampled_from([WORKS, CRASHES, NEVER_LISTENS]),
    st.sampled_from([WORKS, CRASHES]),
    st.integers(min_value=1, max_value=2),
)
def test_however_often_the_core_dies_meanwhile_every_dyno_is_of_one_release(
    deaths: list[float], web: Behaviour, worker: Behaviour, surge: int
) -> None:
    world = World({"web": [WORKS], "worker": [WORKS]})
    world.new = {"web": web, "worker": worker}
    world.play({"web": 2, "worker": 1}, (99.9, change(rules=ChangeRules(settle_s=10.0, surge=surge))), until=deaths[0])
    for death in [*deaths[1:], 600.0]:
        world.play({"web": 2, "worker": 1}, until=death)
    found = {release for releases in world.releases().values() for release in releases}
    assert found == {world.live}
    assert len(world.releases()) == 3
    assert not overlaps(world, "worker.1")
    assert world.pending is None
