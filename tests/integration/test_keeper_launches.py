"""Launches that take their time: the keeper waits for none of them, gives up on some, and loses none."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from dynod.keeper import cgroups
from dynod.keeper.protocol import Exited, Forget, Gone, Spawned, SpawnFailed, Stop
from support.app_folder import TOYS
from support.keeper import PATIENT, Core, KeeperRun, read_until
from support.processes import zombies_of
from support.up import eventually

HASTY = PATIENT._replace(launch_s=0.3)


class Slow:
    """A program on what behaves as a file system that hangs: its exec waits until `free`, or the end of the block."""

    def __init__(self, folder: Path, text: str) -> None:
        program = folder / "slow"
        program.write_text(text)
        program.chmod(0o755)
        self.argv = [str(program)]
        self._holder = subprocess.Popen([sys.executable, TOYS / "holds_file.py", program], stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free()
        self._holder.communicate()

    def free(self) -> None:
        self._holder.terminate()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Slow]:
    with Slow(tmp_path, "#!/bin/sh\necho came; exec sleep 1000\n") as slow:
        yield slow


def groups_of(keeper: KeeperRun) -> list[Path]:
    found = cgroups.find(keeper.pid)
    return [path for path in Path(found.root).iterdir() if path.is_dir()] if found is not None else []


def child_of(keeper: KeeperRun, core: Core) -> int:
    """What is between fork and exec."""
    return eventually(
        lambda: next((each.pid for each in keeper.processes() if each.pid not in {keeper.pid, core.pid}), 0),
        what="the child",
    )


def test_others_start_and_end_while_one_hangs_and_it_comes_when_it_can(slow: Slow) -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        core.send(keeper.spawn("slow", slow.argv))
        core.send(keeper.spawn("quick", ["true"]))
        core.expect(Gone, "quick")
        assert not any(isinstance(event, Spawned) and event.id == "slow" for event in core.events())
        core.send(keeper.spawn("slow", slow.argv))  # repeated, as a core may: nothing is started twice
        slow.free()
        _, output = core.expect_with_fd(Spawned, "slow")
        assert os.read(output, 100) == b"came\n"
        core.send(Stop("slow", signal.SIGKILL, 0.0))
        core.expect(Exited, "slow", -signal.SIGKILL)
        core.expect(Gone, "slow")
        assert not any(isinstance(event, Spawned) and event.id == "slow" for event in core.events())


def test_one_that_takes_too_long_is_killed_and_nothing_of_it_is_left(slow: Slow) -> None:
    with KeeperRun(patience=HASTY) as keeper:
        core = keeper.next_core()
        core.be_ready()
        before = len(list(Path(f"/proc/{keeper.pid}/fd").iterdir()))
        core.send(keeper.spawn("slow", slow.argv))
        failed = core.expect(SpawnFailed, "slow")
        assert (failed.errno, failed.during) == (errno.ETIMEDOUT, "launch")
        eventually(
            lambda: {each.pid for each in keeper.processes()} == {keeper.pid, core.pid} and not zombies_of(keeper.pid),
            what="the end of the child",
        )
        eventually(lambda: not groups_of(keeper), what="the end of its control group")
        assert len(list(Path(f"/proc/{keeper.pid}/fd").iterdir())) == before
        slow.free()
        core.send(keeper.spawn("slow", slow.argv))  # as a core that tries again does
        core.expect(Spawned, "slow")
        core.send(Stop("slow", signal.SIGKILL, 0.0))
        core.expect(Gone, "slow")


def test_one_that_is_killed_before_its_exec_has_its_status(slow: Slow) -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        core.send(keeper.spawn("slow", slow.argv))
        child = child_of(keeper, core)
        core.send(keeper.spawn("next", ["true"]))
        core.expect(Gone, "next")  # by now the keeper is at other things
        os.kill(child, signal.SIGKILL)
        core.expect(Spawned, "slow")
        core.expect(Exited, "slow", -signal.SIGKILL)
        core.expect(Gone, "slow")


def test_a_refusal_that_comes_late_is_one(tmp_path: Path) -> None:
    with Slow(tmp_path, "#!/nowhere/at/all\n") as slow, KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        core.send(keeper.spawn("slow", slow.argv))
        core.send(keeper.spawn("next", ["true"]))
        core.expect(Gone, "next")
        slow.free()
        assert core.expect(SpawnFailed, "slow") == SpawnFailed("slow", errno.ENOENT, "exec")
        assert groups_of(keeper) == [] or [path.name for path in groups_of(keeper)] == ["next"]


def test_the_next_core_is_given_what_is_still_on_its_way(slow: Slow) -> None:
    """Asked for just before a core died, on a machine that is slow: it is neither lost nor started twice."""
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        core.send(keeper.spawn("slow", slow.argv, state="launching"))
        core.kill()
        core = keeper.next_core()
        snapshot = core.be_ready()
        instance = snapshot.instances["slow"]
        assert (instance.pid, instance.state, instance.exit_code) == (child_of(keeper, core), "launching", None)
        slow.free()
        assert read_until(snapshot.outputs["slow"], b"came\n") == b"came\n"
        core.send(Stop("slow", signal.SIGKILL, 0.0))
        core.expect(Exited, "slow", -signal.SIGKILL)
        core.expect(Gone, "slow")


def test_a_core_that_says_hello_twice_keeps_what_is_on_its_way(slow: Slow) -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        core.send(keeper.spawn("slow", slow.argv))
        child = core.hello().instances["slow"].pid
        slow.free()
        assert core.expect(Spawned, "slow").pid == child
        core.send(Stop("slow", signal.SIGKILL, 0.0))
        core.expect(Gone, "slow")


def test_what_the_next_core_was_given_ends_like_any_other_where_it_cannot_be_executed(tmp_path: Path) -> None:
    with Slow(tmp_path, "#!/nowhere/at/all\n") as slow, KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        core.send(keeper.spawn("slow", slow.argv))
        core.kill()
        core = keeper.next_core()
        assert core.be_ready().instances["slow"].exit_code is None
        slow.free()
        core.expect(Exited, "slow", 127)
        core.expect(Gone, "slow")
        core.send(Forget("slow"))
        core.send(keeper.spawn("next", ["true"]))
        core.expect(Gone, "next")
        assert [path.name for path in groups_of(keeper)] in ([], ["next"])


def test_what_the_next_core_was_given_is_killed_where_it_takes_too_long(slow: Slow) -> None:
    with KeeperRun(patience=HASTY) as keeper:
        core = keeper.next_core()
        core.be_ready()
        core.send(keeper.spawn("slow", slow.argv))
        core.kill()
        core = keeper.next_core()
        snapshot = core.be_ready()
        told = snapshot.instances["slow"]
        if told.exit_code is None:  # it may have been over by then
            core.expect(Exited, "slow", -signal.SIGKILL)
        if not told.gone:
            core.expect(Gone, "slow")
        assert not any(isinstance(event, SpawnFailed) for event in core.events())


@pytest.mark.parametrize("without", ["", "cgroup,subreaper,pdeathsig,proc,waitid"])
def test_the_end_of_the_keeper_is_the_end_of_what_hangs(slow: Slow, without: str) -> None:
    with KeeperRun(env={"DYNOD_WITHOUT": without}) as keeper:
        core = keeper.next_core()
        core.be_ready()
        core.send(keeper.spawn("slow", slow.argv))
        core.send(keeper.spawn("next", ["true"]))
        core.expect(Gone, "next")
        core.goodbye(0)
        assert keeper.wait() == 0
