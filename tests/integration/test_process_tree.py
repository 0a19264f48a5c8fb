"""Every process of a dyno is stopped, wherever it has fled to; and nothing else is.

Processes are recognised by session, group and parentage, and once orphaned by the marks in their environment. One that
has left its session, lost its parents *and* changed its environment is not told from other orphans: only a control
group holds it. It ends with dynod at the latest, as every child of the keeper does.
"""

import os
import signal
import sys

import pytest

from dynod.keeper.features import NAMES
from dynod.keeper.protocol import Exited, Gone, Killed, Spawned, Stop
from support.app_folder import TOYS
from support.installed import program
from support.keeper import Core, KeeperRun, read_until
from support.processes import Process
from support.up import eventually

# Without a subreaper the orphans of all keepers fall to the same process: marks must be no other run's at this moment.
MARKS = ["DYNO=worker.1", f"PORT={os.getpid()}"]
POSIX = ",".join(NAMES)
WITHOUT = ["", "cgroup", "cgroup,waitid", "cgroup,pdeathsig", "cgroup,subreaper"]

# A double fork, a session of its own, closed descriptors; then it becomes `sleep` with the environment that is given.
DAEMON = """
import os, sys
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    os.write(writing, str(os.getpid()).encode())
    os.closerange(0, 100)
    env = dict(os.environ)
    for name in sys.argv[1:]: env.pop(name, None)
    os.execve("/bin/sleep", ["sleep", "1000"], env)
os.wait()
print("daemon", os.read(reading, 20).decode(), flush=True)
os.execvp("sleep", ["sleep", "1000"])
"""


class Dyno:
    """One instance, and everything that came from it."""

    def __init__(self, keeper: KeeperRun, core: Core, *argv: str, ready: bytes = b"", marks: list[str] = MARKS) -> None:
        self._keeper = keeper
        self._core = core
        core.send(keeper.spawn("a", argv, marks=marks))
        spawned, self.output = core.expect_with_fd(Spawned, "a")
        self.pid = spawned.pid
        self.said = read_until(self.output, ready).decode() if ready else ""

    def stop(self, number: int = signal.SIGTERM, grace_s: float = 30.0) -> None:
        self._core.send(Stop("a", number, grace_s))

    def wait_until_gone(self) -> int:
        exited = self._core.expect(Exited, "a")
        self._core.expect(Gone, "a")
        return exited.exit_code

    def processes(self) -> list[Process]:
        return [each for each in self._keeper.processes() if each.pid not in {self._keeper.pid, self._core.pid}]


def toy(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, str(TOYS / f"{name}.py"), *arguments)


@pytest.fixture(params=[*WITHOUT, "cgroup,proc"], ids=lambda without: f"without-{without or 'nothing'}")
def without(request: pytest.FixtureRequest) -> str:
    if "proc" in str(request.param):
        program("ps")
    return str(request.param)


def ready_core(keeper: KeeperRun) -> Core:
    core = keeper.next_core()
    core.be_ready()
    return core


@pytest.mark.parametrize("without", [*WITHOUT, "cgroup,proc", POSIX], indirect=True)
def test_every_process_of_the_group_gets_the_signal(without: str) -> None:
    with KeeperRun(env={"DYNOD_WITHOUT": without}) as keeper:
        dyno = Dyno(keeper, ready_core(keeper), *toy("forks_grandchildren"), ready=b"grandchild ready")
        eventually(lambda: len(dyno.processes()) == 3, what="three processes")
        while dyno.said.count("ready") < 3:
            dyno.said += read_until(dyno.output, b"ready").decode()
        dyno.stop()
        assert dyno.wait_until_gone() == 0
        said = read_until(dyno.output, b"never").decode()
        assert sorted(said.splitlines()[-3:]) == ["child got SIGTERM", "grandchild got SIGTERM", "parent got SIGTERM"]
        assert dyno.processes() == []


@pytest.mark.parametrize("without", [*WITHOUT, "cgroup,proc", POSIX], indirect=True)
def test_what_ignores_the_signal_is_killed_at_the_deadline(without: str) -> None:
    with KeeperRun(env={"DYNOD_WITHOUT": without}) as keeper:
        core = ready_core(keeper)
        dyno = Dyno(keeper, core, *toy("ignores_sigterm"), ready=b"ready")
        dyno.stop(grace_s=0.2)
        assert read_until(dyno.output, b"no\n"), "the signal comes first"
        assert core.expect(Killed, "a").processes == 1
        assert dyno.wait_until_gone() == -signal.SIGKILL


@pytest.mark.parametrize("without", [*WITHOUT, "cgroup,proc", POSIX], indirect=True)
def test_a_stopped_process_hears_the_signal_and_acts_on_it(without: str) -> None:
    with KeeperRun(env={"DYNOD_WITHOUT": without}) as keeper:
        dyno = Dyno(keeper, ready_core(keeper), *toy("waits"), ready=b"ready")
        os.kill(dyno.pid, signal.SIGSTOP)
        dyno.stop()
        assert b"got SIGTERM" in read_until(dyno.output, b"SIGTERM")
        assert dyno.wait_until_gone() == 0


@pytest.mark.parametrize("without", [*WITHOUT, "cgroup,proc", POSIX], indirect=True)
def test_a_stopped_process_is_killed_too(without: str) -> None:
    with KeeperRun(env={"DYNOD_WITHOUT": without}) as keeper:
        dyno = Dyno(keeper, ready_core(keeper), *toy("ignores_sigterm"), ready=b"ready")
        os.kill(dyno.pid, signal.SIGSTOP)
        dyno.stop(grace_s=0.0)
        assert dyno.wait_until_gone() == -signal.SIGKILL


@pytest.mark.parametrize("without", [*WITHOUT, "cgroup,proc", POSIX], indirect=True)
def test_what_is_left_when_the_main_process_ends_by_itself_is_killed(without: str) -> None:
    with KeeperRun(env={"DYNOD_WITHOUT": without}) as keeper:
        core = ready_core(keeper)
        dyno = Dyno(keeper, core, "sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000 & exit 4")
        assert dyno.wait_until_gone() == 4
        assert dyno.processes() == []
        assert not any(isinstance(event, Killed) for event in core.events()), "no grace ran out"


def test_a_child_in_a_session_of_its_own_is_stopped_too(without: str) -> None:
    """Its parent lives: found by parentage, on any system."""
    with KeeperRun(env={"DYNOD_WITHOUT": without}) as keeper:
        script = "setsid -f sleep 1000; setsid sleep 1000 & echo ready; wait"
        dyno = Dyno(keeper, ready_core(keeper), "bash", "-c", script, ready=b"ready")
        eventually(lambda: count(dyno, "sleep") == 2, what="two sleeps")
        dyno.stop()
        dyno.wait_until_gone()
        if "proc" not in without:  # `setsid -f` has lost its parent: that needs marks, hence /proc
            assert dyno.processes() == []


@pytest.mark.parametrize("without", WITHOUT)
@pytest.mark.parametrize("changes", [[], ["HOME", "PATH"]], ids=["same-environment", "changed-environment"])
def test_a_daemon_is_stopped_too(without: str, changes: list[str]) -> None:
    with KeeperRun(env={"DYNOD_WITHOUT": without}) as keeper:
        dyno = Dyno(keeper, ready_core(keeper), sys.executable, "-c", DAEMON, *changes, ready=b"daemon")
        eventually(lambda: count(dyno, "sleep") == 2, what="the daemon and its maker asleep")
        dyno.stop()
        assert dyno.wait_until_gone() == -signal.SIGTERM
        assert dyno.processes() == []


@pytest.mark.parametrize("without", ["", "cgroup"])
def test_a_stubborn_daemon_is_killed_at_the_deadline(without: str) -> None:
    with KeeperRun(env={"DYNOD_WITHOUT": without}) as keeper:
        core = ready_core(keeper)
        dyno = Dyno(keeper, core, *toy("daemonises", "stubborn"), ready=b"ready")
        dyno.stop(grace_s=0.2)
        assert core.expect(Killed, "a").processes == 1, "the main process has left by then"
        assert dyno.wait_until_gone() == -signal.SIGTERM
        assert dyno.processes() == []


@pytest.mark.parametrize("without", ["", "cgroup"])
def test_a_daemon_whose_maker_leaves_is_killed_at_once(without: str) -> None:
    """A container ends with its first process."""
    with KeeperRun(env={"DYNOD_WITHOUT": without}) as keeper:
        dyno = Dyno(keeper, ready_core(keeper), *toy("daemonises", "leaves"), ready=b"ready")
        assert dyno.wait_until_gone() == 0
        assert dyno.processes() == []


@pytest.mark.needs_ability("subreaper", reason="a daemon without marks that fell to the system is nobody's")
def test_a_daemon_without_marks_is_not_found_but_ends_with_dynod() -> None:
    """The limit of what can be done without control groups, written down."""
    with KeeperRun(env={"DYNOD_WITHOUT": "cgroup"}) as keeper:
        core = ready_core(keeper)
        dyno = Dyno(keeper, core, sys.executable, "-c", DAEMON, "DYNO", "PORT", ready=b"daemon")
        eventually(lambda: count(dyno, "sleep") == 2, what="the daemon and its maker asleep")
        dyno.stop()
        assert dyno.wait_until_gone() == -signal.SIGTERM
        assert count(dyno, "sleep") == 1
        core.goodbye(0)
        assert keeper.wait() == 0
        assert dyno.processes() == []


@pytest.mark.parametrize("without", ["", "cgroup"])
def test_a_dyno_that_never_stops_forking_is_ended(without: str) -> None:
    with KeeperRun(env={"DYNOD_WITHOUT": without}) as keeper:
        core = ready_core(keeper)
        code = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
while True:
    if os.fork() == 0:
        os.setsid()
        for _ in range(20):
            if os.fork(): os._exit(0)
        os._exit(0)
"""
        dyno = Dyno(keeper, core, sys.executable, "-c", code, ready=b"ready")
        dyno.stop(grace_s=0.1)
        core.expect(Killed, "a")
        assert dyno.wait_until_gone() == -signal.SIGKILL
        assert dyno.processes() == []


@pytest.mark.parametrize("without", ["", "cgroup"])
def test_another_dyno_is_left_alone(without: str) -> None:
    with KeeperRun(env={"DYNOD_WITHOUT": without}) as keeper:
        core = ready_core(keeper)
        core.send(keeper.spawn("other", [sys.executable, "-c", DAEMON], marks=["DYNO=worker.2", f"PORT={os.getpid()}"]))
        _, output = core.expect_with_fd(Spawned, "other")
        read_until(output, b"daemon")
        dyno = Dyno(keeper, core, sys.executable, "-c", DAEMON, ready=b"daemon")
        eventually(lambda: count(dyno, "sleep") == 4, what="four sleeps")
        dyno.stop(grace_s=0.0)
        dyno.wait_until_gone()
        left = {each.dyno for each in dyno.processes()}
        assert (left, count(dyno, "sleep")) == ({"worker.2"}, 2)


# --- the deadline ----------------------------------------------------------------------------------------------------


def test_a_second_stop_tightens_the_deadline() -> None:
    with KeeperRun() as keeper:
        core = ready_core(keeper)
        dyno = Dyno(keeper, core, *toy("ignores_sigterm"), ready=b"ready")
        dyno.stop(grace_s=1000.0)
        read_until(dyno.output, b"no\n")
        dyno.stop(grace_s=0.0)
        core.expect(Killed, "a")
        assert dyno.wait_until_gone() == -signal.SIGKILL


def test_a_second_stop_never_loosens_the_deadline_and_signals_nobody_again() -> None:
    with KeeperRun() as keeper:
        core = ready_core(keeper)
        dyno = Dyno(keeper, core, *toy("ignores_sigterm"), ready=b"ready")
        dyno.stop(grace_s=0.5)
        dyno.stop(grace_s=1000.0)
        core.expect(Killed, "a")
        assert dyno.wait_until_gone() == -signal.SIGKILL
        assert read_until(dyno.output, b"never").count(b"SIGTERM: no") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_another_stop_signal_may_be_chosen(number: int) -> None:
    with KeeperRun() as keeper:
        dyno = Dyno(keeper, ready_core(keeper), *toy("waits"), ready=b"ready")
        dyno.stop(number)
        assert signal.Signals(number).name.encode() in read_until(dyno.output, b"got ")
        assert dyno.wait_until_gone() == 0


def test_a_stop_under_way_goes_on_without_a_core() -> None:
    with KeeperRun() as keeper:
        core = ready_core(keeper)
        dyno = Dyno(keeper, core, *toy("ignores_sigterm"), ready=b"ready")
        dyno.stop(grace_s=0.3)
        read_until(dyno.output, b"no\n")
        core.kill()
        core = keeper.next_core()
        eventually(lambda: not alive(dyno.pid), what="the deadline to be kept")
        instance = core.be_ready().instances["a"]
        assert (instance.exit_code, instance.killed, instance.stopping) == (-signal.SIGKILL, True, True)
        if not instance.gone:  # without a subreaper that takes a second look
            core.expect(Gone, "a")


def test_a_stop_of_what_is_gone_or_unknown_is_nothing() -> None:
    with KeeperRun() as keeper:
        core = ready_core(keeper)
        dyno = Dyno(keeper, core, "true")
        dyno.wait_until_gone()
        dyno.stop()
        dyno.stop(grace_s=0.0)
        core.send(Stop("nobody", 15, 1.0))
        core.send(keeper.spawn("b", ["true"]))
        core.expect(Exited, "b", 0)
        assert not any(isinstance(event, Killed) for event in core.events())


def test_many_are_stopped_at_once() -> None:
    with KeeperRun() as keeper:
        core = ready_core(keeper)
        names = [f"i{number}" for number in range(50)]
        for name in names:
            core.send(keeper.spawn(name, ["sleep", "1000"], marks=[f"DYNO={name}", f"PORT={os.getpid()}"]))
        for name in names:
            core.expect(Spawned, name)
        for name in names:
            core.send(Stop(name, signal.SIGTERM, 30.0))
        for name in names:
            assert core.expect(Exited, name).exit_code == -signal.SIGTERM
            core.expect(Gone, name)


def count(dyno: Dyno, name: str) -> int:
    return sum(each.command[0] == name for each in dyno.processes())


def alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")  # noqa: PTH110 (one path)
