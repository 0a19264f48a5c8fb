"""One core in charge after the other, as the keeper sees it: who is told what, whose word counts, who is ended.

The cores are played by the tests (support.keeper); dynos and keeper are real.
"""

import os
import signal
import sys
from pathlib import Path

from dynod.keeper.protocol import (
    Exited,
    Forget,
    Gone,
    HandedOver,
    HandOver,
    Instance,
    Pass,
    Passed,
    Peer,
    PeerGone,
    Put,
    Ready,
    Replace,
    ReplaceFailed,
    Signalled,
    SnapshotEnd,
    Spawned,
    Stop,
    Welcome,
)
from support.keeper import PATIENT, Core, KeeperRun
from support.up import eventually

SLEEP = ["sleep", "1000"]
NEW = [sys.executable, "-S", str(Path(__file__).parent.parent / "support" / "scripted_core.py")]


def stand_by(keeper: KeeperRun, owner: Core) -> Core:
    """A second core that has rehearsed."""
    owner.send(Replace(NEW))
    follows = keeper.next_core()
    snapshot = follows.hello()
    assert (snapshot.welcome.rehearses, snapshot.instances, snapshot.held) == (True, {}, {})
    follows.send(Ready())
    owner.expect(HandOver)
    return follows


def take_over(keeper: KeeperRun, owner: Core, *, within_s: float = 300.0) -> Core:
    """It is in control."""
    follows = stand_by(keeper, owner)
    owner.send(HandedOver(within_s))
    follows.expect(Welcome)
    follows.expect(SnapshotEnd)
    follows.send(Ready())
    return follows


def test_a_core_that_rehearses_is_given_what_is_stored_and_everything_once_the_other_lets_go() -> None:
    with KeeperRun() as keeper:
        owner = keeper.next_core()
        owner.be_ready()
        owner.send(Put("plan", "x"))
        owner.send(keeper.spawn("a", SLEEP))
        pid = owner.expect(Spawned, "a").pid
        owner.send(Replace(NEW))
        follows = keeper.next_core()
        assert follows.hello().stored == {"plan": "x"}
        follows.send(Stop("a", signal.SIGKILL, 0.0))  # whoever rehearses changes nothing
        follows.send(Put("plan", "y"))
        follows.send(Ready())
        owner.expect(HandOver)
        owner.send(Put("more", "z"))  # it is in charge still
        owner.send(HandedOver(300.0))
        owner.send(Put("late", "z"))  # and now no more
        welcome = follows.expect(Welcome)
        assert (welcome.generation, welcome.rehearses) == (2, False)
        instance = follows.expect(Instance, "a")
        assert (instance.pid, instance.exit_code) == (pid, None)
        assert follows.expect(Peer).pid == owner.pid
        follows.expect(SnapshotEnd)
        follows.send(Ready())
        follows.kill()
        third = keeper.next_core()
        snapshot = third.be_ready()
        assert snapshot.stored == {"plan": "x", "more": "z"}
        assert snapshot.welcome.generation == 3


def test_events_and_signals_are_the_core_in_charges_alone() -> None:
    with KeeperRun() as keeper:
        owner = keeper.next_core()
        owner.be_ready()
        owner.send(keeper.spawn("a", SLEEP))
        pid = owner.expect(Spawned, "a").pid
        follows = take_over(keeper, owner)
        os.kill(pid, signal.SIGKILL)
        follows.expect(Exited, "a", -signal.SIGKILL)
        follows.expect(Gone, "a")
        keeper.signal(signal.SIGHUP)
        follows.expect(Signalled, signal.SIGHUP)
        follows.send(Forget("a"))
        assert owner.events() == []
        follows.goodbye(0)
        assert keeper.wait() == 0, "a retired core keeps nobody"


def test_words_go_from_one_to_the_other_and_an_end_is_told() -> None:
    with KeeperRun() as keeper:
        owner = keeper.next_core()
        owner.be_ready()
        follows = take_over(keeper, owner)
        follows.send(Pass(owner.pid, "drain web.1"))
        assert owner.expect(Passed) == Passed(follows.pid, "drain web.1")
        owner.send(Pass(0, "drained"))
        assert follows.expect(Passed) == Passed(owner.pid, "drained")
        follows.send(Pass(1, "nobody"))
        owner.send(Pass(0, "last words"))
        owner.exit(0)
        assert follows.expect(Passed) == Passed(owner.pid, "last words")
        assert follows.expect(PeerGone).pid == owner.pid
        third = take_over(keeper, follows)
        assert third.events() == [Peer(follows.pid)], "and nobody hears of it again"


def test_a_core_that_ends_in_its_rehearsal_is_told_and_the_next_may_try() -> None:
    with KeeperRun() as keeper:
        owner = keeper.next_core()
        owner.be_ready()
        owner.send(Replace(["/no/such/program"]))
        assert "No such file" in owner.expect(ReplaceFailed).why
        owner.send(Replace([]))
        owner.expect(ReplaceFailed)
        owner.send(Replace(NEW))
        owner.send(Replace(NEW))
        assert owner.expect(ReplaceFailed).why == "another upgrade is under way"
        keeper.next_core().exit(3)
        assert owner.expect(ReplaceFailed).why == "the new core ended (exit status 3)"
        take_over(keeper, owner)


def test_a_core_that_does_not_get_through_its_rehearsal_is_ended() -> None:
    with KeeperRun(patience=PATIENT._replace(ready_within_s=4.0)) as keeper:
        owner = keeper.next_core()
        owner.be_ready()
        owner.send(Replace(NEW))
        keeper.next_core().hello()
        keeper.output.wait_for_line("the core gives no sign of life: ending it")
        assert owner.expect(ReplaceFailed).why == "the new core ended (SIGABRT): it was not ready in time"
        owner.goodbye(0)
        assert keeper.wait() == 0


def test_an_owner_that_dies_while_another_rehearses_is_followed_by_its_own_kind() -> None:
    with KeeperRun() as keeper:
        owner = keeper.next_core()
        owner.be_ready()
        owner.send(Replace(NEW))
        rehearses = keeper.next_core()
        rehearses.hello()
        owner.kill()
        following = keeper.next_core()
        assert not following.be_ready().welcome.rehearses
        eventually(lambda: not os.path.exists(f"/proc/{rehearses.pid}"), what="the end of the other")  # noqa: PTH110 (one path)


def test_an_owner_that_dies_when_it_was_to_let_go_has_let_go() -> None:
    with KeeperRun() as keeper:
        owner = keeper.next_core()
        owner.be_ready()
        owner.send(Put("plan", "x"))
        follows = stand_by(keeper, owner)
        owner.kill()
        assert not follows.expect(Welcome).rehearses
        follows.expect(SnapshotEnd)
        follows.send(Ready())
        follows.goodbye(0)
        assert keeper.wait() == 0


def test_an_owner_that_does_not_let_go_is_ended() -> None:
    with KeeperRun(patience=PATIENT._replace(hand_over_s=0.2)) as keeper:
        owner = keeper.next_core()
        owner.be_ready()
        follows = stand_by(keeper, owner)
        keeper.output.wait_for_line("the core gives no sign of life: replacing it")
        follows.expect(Welcome)
        follows.send(Ready())


def test_one_that_waits_and_ends_is_missed_only_by_a_core_of_the_old_kind() -> None:
    with KeeperRun() as keeper:
        owner = keeper.next_core()
        owner.be_ready()
        owner.send(Put("plan", "x"))
        follows = stand_by(keeper, owner)
        follows.kill()
        owner.expect(ReplaceFailed)
        owner.send(HandedOver(300.0))
        assert keeper.next_core().be_ready().stored == {"plan": "x"}


def test_a_core_that_takes_over_and_is_never_in_control_is_followed_by_the_previous_program() -> None:
    with KeeperRun(patience=PATIENT._replace(take_over_s=0.3)) as keeper:
        owner = keeper.next_core()
        owner.be_ready()
        owner.send(Replace([*NEW, "--another"]))
        follows = keeper.next_core()
        follows.hello()
        follows.send(Ready())
        owner.expect(HandOver)
        owner.send(HandedOver(300.0))
        following = keeper.next_core()
        keeper.output.wait_for_line(r"\(SIGABRT\), as the new version's do: going back to the previous version")
        following.be_ready()
        assert "--another" not in Path(f"/proc/{following.pid}/cmdline").read_text()


def test_a_retired_core_has_the_time_that_it_has_asked_for_and_no_more() -> None:
    with KeeperRun(patience=PATIENT._replace(leeway_s=0.2)) as keeper:
        owner = keeper.next_core()
        owner.be_ready()
        follows = take_over(keeper, owner, within_s=0.0)
        keeper.output.wait_for_line("the core gives no sign of life: ending it")
        assert follows.expect(PeerGone).pid == owner.pid


def test_no_other_core_is_put_in_charge_of_a_dynod_that_stops() -> None:
    with KeeperRun() as keeper:
        owner = keeper.next_core()
        owner.be_ready()
        owner.send(Replace(NEW))
        follows = keeper.next_core()
        follows.hello()
        keeper.signal(signal.SIGTERM)
        owner.expect(Signalled, signal.SIGTERM)
        follows.send(Ready())
        owner.goodbye(0)
        assert keeper.wait() == 0
        assert not any(isinstance(event, HandOver) for event in owner._inbox)
