"""The keeper and its cores: what ends dynod, what the next core is given, and what happens while none lives.

The cores are played by the tests (support.keeper); dynos and keeper are real.
"""

import fcntl
import os
import select
import signal
import socket
import sys
from pathlib import Path

import pytest

from dynod.keeper.cores import Patience
from dynod.keeper.protocol import (
    VERSION,
    Beat,
    Exited,
    Forget,
    Gone,
    Goodbye,
    Hello,
    Hold,
    Killed,
    Put,
    Ready,
    Release,
    SetState,
    Signalled,
    SnapshotEnd,
    Spawned,
    Stop,
    Welcome,
)
from support.keeper import PATIENT, Core, KeeperRun, read_all, read_until
from support.processes import zombies_of
from support.up import eventually

SLEEP = ["sleep", "1000"]
HURRIED = PATIENT._replace(restart_delays_s=(0.0, 0.01, 0.02))


def launch(keeper: KeeperRun, core: Core, instance_id: str, *argv: str, state: str = "") -> tuple[Spawned, int]:
    core.send(keeper.spawn(instance_id, argv, state=state))
    return core.expect_with_fd(Spawned, instance_id)


# --- the first core --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 1, 2, 70])
@pytest.mark.parametrize("greets", [False, True])
def test_a_core_that_ends_before_its_first_ready_ends_dynod_with_its_status(status: int, greets: bool) -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        if greets:
            core.hello()
        core.exit(status)
        assert keeper.wait() == status


def test_a_first_core_that_is_killed_ends_dynod_as_a_shell_would_say_it() -> None:
    with KeeperRun() as keeper:
        keeper.next_core().kill()
        assert keeper.wait() == 128 + signal.SIGKILL


def test_what_a_first_core_had_started_ends_with_it() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.hello()
        launch(keeper, core, "a", *SLEEP)
        core.exit(1)
        assert keeper.wait() == 1


def test_a_core_that_cannot_be_started_at_all_is_said() -> None:
    with KeeperRun(core=["/no/such/program"]) as keeper:
        assert keeper.wait() == 70
        keeper.output.wait_for_line("dynod: the core cannot be started .*No such file")


def test_a_first_core_that_is_never_ready_is_aborted() -> None:
    with KeeperRun(patience=Patience(ready_within_s=0.1)) as keeper:
        keeper.next_core().hello()
        keeper.output.wait_for_line("dynod: the core gives no sign of life")
        assert keeper.wait() == 128 + signal.SIGABRT


# --- the next core ---------------------------------------------------------------------------------------------------


def test_the_next_core_is_given_everything(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with KeeperRun() as keeper:
        first = keeper.next_core()
        snapshot = first.be_ready()
        assert snapshot.welcome[:3] == (VERSION, 1, [])
        assert not any((snapshot.instances, snapshot.held, snapshot.stored, snapshot.events))
        script = f"echo before; read line <{gate}; echo after $line; exec sleep 1000"
        spawned, output = launch(keeper, first, "a", "sh", "-c", script, state="launching")
        assert read_until(output, b"before\n") == b"before\n"
        ended, _ = launch(keeper, first, "b", "sh", "-c", "exit 3")
        first.expect(Exited, "b", 3)
        first.expect(Gone, "b")
        first.send(SetState("a", "up"))
        first.send(Put("plan", "x"))
        first.send(Put("plan", "y\udcff"))
        first.send(Put("gone", "z"))
        first.send(Put("gone", None))
        first.kill()

        gate.write_text("while no core read\n")
        second = keeper.next_core()
        snapshot = second.hello()
        assert snapshot.welcome[:3] == (VERSION, 2, [])
        assert snapshot.stored == {"plan": "y\udcff"}
        assert list(snapshot.instances) == ["a", "b"]
        running, done = snapshot.instances["a"], snapshot.instances["b"]
        assert (running.pid, running.started_at, running.state) == (spawned.pid, spawned.started_at, "up")
        assert (running.exit_code, running.gone, running.stopping, running.killed) == (None, False, False, False)
        assert (done.pid, done.exit_code, done.gone) == (ended.pid, 3, True)
        assert done.exited_at is not None
        assert read_until(snapshot.outputs["a"], b"read\n") == b"after while no core read\n"
        second.send(Ready())
        second.send(Forget("a"))  # still runs: not forgotten
        second.send(Forget("b"))
        second.kill()

        third = keeper.next_core()
        assert list(third.be_ready().instances) == ["a"]


def test_a_status_is_not_lost_when_a_dyno_ends_while_no_core_lives() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        spawned, output = launch(keeper, core, "a", "sh", "-c", "echo last words; exec sleep 1000")
        wait_readable(output)
        core.kill()
        os.kill(spawned.pid, signal.SIGTERM)
        core = keeper.next_core()  # has not said hello yet: nobody is told anything
        eventually(lambda: not os.path.exists(f"/proc/{spawned.pid}"), what="the keeper to take the status")  # noqa: PTH110 (one path)
        snapshot = core.be_ready()
        instance = snapshot.instances["a"]
        assert instance.exit_code == -signal.SIGTERM
        if not instance.gone:  # without a subreaper that takes a second look
            core.expect(Gone, "a")
        assert read_all(snapshot.outputs["a"]) == b"last words\n"


def test_a_request_that_is_repeated_starts_nothing_twice() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        spawned, _ = launch(keeper, core, "a", *SLEEP)
        core.kill()
        core = keeper.next_core()
        core.be_ready()
        again, _ = launch(keeper, core, "a", *SLEEP)
        assert again == spawned
        assert [process.pid for process in keeper.processes() if process.command[0] == "sleep"] == [spawned.pid]


def test_a_core_may_say_hello_again() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        first = core.be_ready()
        assert core.hello().welcome == first.welcome


def test_requests_sent_just_before_a_core_dies_are_carried_out() -> None:
    """Its answers find nobody, and yet nothing behind the first unanswered request may be lost.

    Nor the first itself, where its exec takes long enough for the second hello to overtake it.
    """
    with KeeperRun(patience=PATIENT._replace(steady_s=0.0)) as keeper:
        for generation in range(1, 11):
            core = keeper.next_core()
            snapshot = core.be_ready()
            assert snapshot.welcome.generation == generation
            if generation > 1:
                assert snapshot.stored == {"last": str(generation - 1)}
                assert f"i{generation - 1}" in snapshot.instances
            core.send(keeper.spawn(f"i{generation}", SLEEP))
            core.send(Hello(VERSION, core.pid))
            core.send(Put("last", str(generation)))
            core.kill()
        keeper.next_core().be_ready()


@pytest.mark.parametrize("_round", range(10))
def test_a_goodbye_is_heard_from_a_core_that_is_gone_already(_round: int) -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        core.send(keeper.spawn("a", SLEEP))
        core.send(Put("x", "y"))
        core.send(Goodbye(5))
        core.exit(0)
        assert keeper.wait() == 5


@pytest.mark.parametrize("status", [0, 3, 70, 130])
def test_goodbye_ends_dynod_with_its_status_and_every_dyno_that_is_left(status: int) -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        launch(keeper, core, "a", "sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000")
        core.goodbye(status)
        assert keeper.wait() == status


def test_after_goodbye_the_cores_own_status_is_nobodys_business() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        core.send(Goodbye(0))
        core.kill()
        assert keeper.wait() == 0


def test_a_core_that_hangs_after_goodbye_is_killed() -> None:
    with KeeperRun(patience=Patience(watchdog_s=0.1, abort_grace_s=0.1)) as keeper:
        core = keeper.next_core()
        core.be_ready()
        core.ignore_abort()
        core.send(Goodbye(4))
        assert keeper.wait() == 4


@pytest.mark.parametrize("status", [0, 1, 70])
def test_a_core_that_ends_without_goodbye_leaves_the_dynos_alone(status: int) -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        spawned, _ = launch(keeper, core, "a", *SLEEP)
        core.exit(status)
        keeper.output.wait_for_line(
            rf"dynod: the core ended \(exit status {status}\); dynos are untouched, the next core starts now"
        )
        core = keeper.next_core()
        assert core.be_ready().instances["a"].pid == spawned.pid


def test_a_core_that_talks_nonsense_is_replaced_and_the_dynos_are_left_alone() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        spawned, _ = launch(keeper, core, "a", *SLEEP)
        core._channel._socket.send(b"GET / HTTP/1.1\r\n\r\n")
        keeper.output.wait_for_line("dynod: a frame of .*; replacing the core")
        core = keeper.next_core()
        assert core.be_ready().instances["a"].pid == spawned.pid
        core.send(SnapshotEnd())  # a keeper's word
        keeper.output.wait_for_line("dynod: a core does not send SnapshotEnd; replacing the core")
        assert keeper.next_core().be_ready().instances["a"].pid == spawned.pid


# --- a core that hangs -----------------------------------------------------------------------------------------------


def test_a_core_that_does_not_beat_is_aborted_and_replaced() -> None:
    with KeeperRun(patience=Patience(watchdog_s=0.2)) as keeper:
        core = keeper.next_core()
        core.be_ready()
        keeper.output.wait_for_line("dynod: the core gives no sign of life: replacing it")
        keeper.output.wait_for_line(r"dynod: the core ended \(SIGABRT\)")
        core = keeper.next_core()
        assert core.hello().welcome.generation == 2
        core.goodbye(0)
        assert keeper.wait() == 0


@pytest.mark.parametrize("how", ["stopped", "deaf"])
def test_a_core_that_abort_does_not_end_is_killed(how: str) -> None:
    with KeeperRun(patience=Patience(watchdog_s=0.2, abort_grace_s=0.1)) as keeper:
        core = keeper.next_core()
        if how == "deaf":
            core.ignore_abort()
        core.be_ready()
        if how == "stopped":
            os.kill(core.pid, signal.SIGSTOP)
        keeper.output.wait_for_line(r"dynod: the core ended \(SIGKILL\)")
        core = keeper.next_core()
        assert core.hello().welcome.generation == 2
        core.goodbye(0)
        assert keeper.wait() == 0


def test_a_core_that_beats_is_left_alone() -> None:
    """It beats for five times what the keeper would bear; were it replaced, the next core would be there."""
    with KeeperRun(patience=Patience(watchdog_s=1.0)) as keeper:
        core = keeper.next_core()
        core.be_ready()
        spawned, output = launch(
            keeper, core, "clock", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 0.3; echo .; done"
        )
        for _ in range(9):
            core.send(Beat())
            read_until(output, b".\n")
        core.expect(Exited, "clock", 0)
        assert spawned.pid
        core.goodbye(0)
        assert keeper.wait() == 0
        assert "no sign of life" not in str(keeper.output)


# --- restart of cores ------------------------------------------------------------------------------------------------


def test_cores_that_keep_dying_start_again_after_longer_and_longer_times() -> None:
    with KeeperRun(patience=HURRIED) as keeper:
        keeper.next_core().be_ready()
        keeper._cores[-1].exit(1)
        for _ in range(4):
            keeper.next_core().exit(1)
        keeper.next_core().be_ready()
        said = [line.text.rpartition("starts ")[2] for line in keeper.output.lines() if "the core ended" in line.text]
        assert said == ["now", "in 0.01 s", "in 0.02 s", "in 0.02 s", "in 0.02 s"]


def test_a_core_that_lived_long_enough_is_followed_at_once() -> None:
    with KeeperRun(patience=HURRIED._replace(steady_s=0.0)) as keeper:
        for _ in range(4):
            keeper.next_core().be_ready()
            keeper._cores[-1].exit(1)
        keeper.next_core().be_ready()
        said = [line.text.rpartition("starts ")[2] for line in keeper.output.lines() if "the core ended" in line.text]
        assert said == ["now"] * 4


def test_the_core_program_may_vanish_for_a_while(tmp_path: Path) -> None:
    """A virtual environment that is made anew while the app runs must not end the app."""
    scripted = Path(__file__).parent.parent / "support" / "scripted_core.py"
    program = tmp_path / "core"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{scripted}" "$@"\n')
    program.chmod(0o755)
    with KeeperRun(core=[str(program)], patience=HURRIED) as keeper:
        core = keeper.next_core()
        core.be_ready()
        spawned, _ = launch(keeper, core, "a", *SLEEP)
        program.rename(tmp_path / "away")
        core.kill()
        keeper.output.wait_for_line("the core cannot be started .*; dynos are untouched, the next core starts in")
        (tmp_path / "away").rename(program)
        core = keeper.next_core()
        assert core.be_ready().instances["a"].pid == spawned.pid


# --- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_reaches_the_core(number: signal.Signals) -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        keeper.signal(number)
        assert core.expect(Signalled).signal == number


def test_signals_sent_while_no_core_lives_are_handed_to_the_next() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        keeper.signal(signal.SIGTERM)
        core.expect(Signalled, signal.SIGTERM)
        core.kill()
        core = keeper.next_core()
        keeper.signal(signal.SIGINT)
        eventually(lambda: not pending(keeper.pid, signal.SIGINT), what="the keeper to take SIGINT")
        snapshot = core.be_ready()
        told = [*snapshot.welcome.signals, *(event.signal for event in snapshot.events if isinstance(event, Signalled))]
        assert told == [signal.SIGTERM, signal.SIGINT]
        assert Signalled(signal.SIGINT) not in core.events(), "told twice"


def test_asked_to_stop_and_without_a_core_that_stays_the_keeper_stops_the_dynos_itself() -> None:
    with KeeperRun(patience=PATIENT._replace(restart_delays_s=(0.0, 0.0))) as keeper:
        core = keeper.next_core()
        core.be_ready()
        _, output = launch(
            keeper, core, "a", "sh", "-c", 'trap "echo bye >said; exit" TERM; echo ready; while :; do sleep 0.1; done'
        )
        read_until(output, b"ready")
        keeper.signal(signal.SIGTERM)
        core.expect(Signalled)
        core.exit(1)
        keeper.next_core().exit(1)
        assert keeper.wait() == 70
        keeper.output.wait_for_line("dynod: no core stays up to stop the dynos; stopping them from the keeper")
        assert (keeper.folder / "said").read_text() == "bye\n", "it had its SIGTERM and its grace"


def test_a_second_signal_hurries_a_keeper_that_stops_on_its_own() -> None:
    with KeeperRun(patience=PATIENT._replace(restart_delays_s=(0.0, 0.0))) as keeper:
        core = keeper.next_core()
        core.be_ready()
        _, output = launch(
            keeper, core, "a", "sh", "-c", 'trap "echo no" TERM; echo ready; while :; do sleep 0.1; done'
        )
        read_until(output, b"ready")
        keeper.signal(signal.SIGTERM)
        core.expect(Signalled)
        core.exit(1)
        keeper.next_core().exit(1)
        keeper.output.wait_for_line("stopping them from the keeper")
        keeper.signal(signal.SIGINT)
        assert keeper.wait() == 128 + signal.SIGINT


def test_nohup_is_respected() -> None:
    with KeeperRun(prefix=["nohup"]) as keeper:
        core = keeper.next_core()
        core.be_ready()
        keeper.signal(signal.SIGHUP)
        keeper.signal(signal.SIGTERM)
        assert core.expect(Signalled).signal == signal.SIGTERM


# --- what the keeper keeps -------------------------------------------------------------------------------------------


def test_held_sockets_accept_while_no_core_lives_and_serve_the_next() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            core.send(Hold("router"), [listener.fileno()])
            core.send(Hold("nothing"))
            core.send(Beat())
        core.kill()
        core = keeper.next_core()
        with socket.create_connection(address, timeout=10) as client:  # nobody serves: the backlog holds it
            snapshot = core.be_ready()
            assert snapshot.held["nothing"] == []
            with socket.socket(fileno=os.dup(snapshot.held["router"][0])) as listener:
                served, _ = listener.accept()
                with served:
                    served.sendall(b"hello")
            assert client.recv(5) == b"hello"


def test_what_is_released_is_closed() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            core.send(Hold("router"), [listener.fileno()])
        with socket.create_server(("127.0.0.1", 0)) as other:
            core.send(Hold("router"), [other.fileno()])  # instead of the first
            address_of_other = other.getsockname()
        eventually(lambda: refused(address), what="the first to be closed")
        socket.create_connection(address_of_other, timeout=10).close()
        core.send(Release("router"))
        eventually(lambda: refused(address_of_other), what="the other to be closed")


def test_a_lock_that_is_held_outlives_the_core(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            core.send(Hold("claim"), [file.fileno()])
            core.send(Beat())
        core.kill()
        keeper.next_core().be_ready()
        with lock.open("w") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# --- the keeper's own upkeep -----------------------------------------------------------------------------------------


@pytest.mark.timeout(180)  # each round is half a dozen looks at the process table, which may be runs of ps
def test_two_hundred_rounds_leak_no_descriptor_no_zombie_and_no_process() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        before = None
        for number in range(200):
            _, output = launch(keeper, core, f"i{number}", "sh", "-c", "sleep 1000 & (sleep 1000 &) ; sleep 1000")
            os.close(output)
            core._fds.remove(output)
            core.send(Stop(f"i{number}", signal.SIGKILL if number % 2 else signal.SIGTERM, 10.0))
            core.expect(Exited, f"i{number}")
            core.expect(Gone, f"i{number}")
            core.send(Forget(f"i{number}"))
            if number == 0:
                before = settled_descriptors(keeper, core)
        assert settled_descriptors(keeper, core) == before
        assert zombies_of(keeper.pid) == []
        assert {process.pid for process in keeper.processes()} == {keeper.pid, core.pid}


def test_a_stop_that_has_ended_long_ago_keeps_the_keeper_asleep() -> None:
    """An instance that nobody has forgotten yet must not have its deadline looked at for ever."""
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        launch(keeper, core, "a", *SLEEP)
        core.send(Stop("a", signal.SIGTERM, 0.05))
        core.expect(Gone, "a")
        launch(keeper, core, "clock", "sleep", "0.2")
        core.expect(Exited, "clock")
        eventually(lambda: state_of(keeper.pid) == "S", what="the keeper to sleep", timeout_s=10)
        assert not any(isinstance(event, Killed) for event in core.events())


def test_a_keeper_whose_stderr_nobody_reads_goes_on(tmp_path: Path) -> None:
    fifo = tmp_path / "stderr"
    os.mkfifo(fifo)
    full = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    while True:
        try:
            os.write(full, b"x" * 4096)
        except BlockingIOError:
            break
    prefix = ["sh", "-c", f'exec "$@" 2>>{fifo}', "sh"]
    with KeeperRun(prefix=prefix) as keeper:
        for generation in range(1, 4):
            core = keeper.next_core()
            assert core.be_ready().welcome.generation == generation
            core.kill()
        keeper.next_core().be_ready()
    os.close(full)


def wait_readable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(30_000), "nothing came"


def refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=10).close()
    except ConnectionError:
        return True
    return False


def pending(pid: int, number: int) -> bool:
    """Whether a signal waits to be delivered to the process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(("SigPnd:", "ShdPnd:")) and int(line.split()[1], 16) & 1 << (number - 1):
            return True
    return False


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def settled_descriptors(keeper: KeeperRun, core: Core) -> list[str]:
    """What the keeper has open once it has done everything it was asked: it answers in order."""
    core.send(Hello(VERSION, core.pid))
    core.expect(Welcome)
    return sorted(str(entry.readlink()) for entry in Path(f"/proc/{keeper.pid}/fd").iterdir())
