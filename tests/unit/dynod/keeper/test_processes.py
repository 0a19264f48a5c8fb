"""Whose a process is, from tables written by hand, and what a process number that was given again must not do."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.keeper import processes
from dynod.keeper.features import NAMES, detect
from dynod.keeper.processes import Owner, Process

BARE = detect({"DYNOD_WITHOUT": "proc,cgroup"})  # no look at real environments
KEEPER, MAIN, STRANGER = 10, 100, 900


def table(*found: tuple[int, int, int, int]) -> dict[int, Process]:
    """pid, parent, group, session of each."""
    return {pid: Process(pid, parent, group, session) for pid, parent, group, session in found}


def members(owner: Owner, found: Mapping[int, Process]) -> list[int]:
    return processes.members({"i": owner}, found, keeper=KEEPER, features=BARE)["i"]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ([(MAIN, KEEPER, MAIN, MAIN)], [MAIN]),
        ([(MAIN, KEEPER, MAIN, MAIN), (101, MAIN, MAIN, MAIN)], [MAIN, 101]),
        ([(MAIN, KEEPER, MAIN, MAIN), (101, MAIN, 101, MAIN)], [MAIN, 101]),  # a shell's job
        ([(MAIN, KEEPER, MAIN, MAIN), (101, MAIN, 101, 101)], [MAIN, 101]),  # setsid, parent lives
        ([(MAIN, KEEPER, MAIN, MAIN), (101, MAIN, 101, 101), (102, 101, 102, 102)], [MAIN, 101, 102]),
        ([(101, KEEPER, MAIN, MAIN)], [101]),  # the main process has ended, the group lives
        ([(101, KEEPER, 101, MAIN)], [101]),
        ([(101, KEEPER, MAIN, MAIN), (102, 101, 102, 102)], [101, 102]),
        ([(MAIN, KEEPER, MAIN, MAIN), (STRANGER, 1, STRANGER, STRANGER)], [MAIN]),
        ([(STRANGER, KEEPER, STRANGER, STRANGER)], []),
        ([], []),
    ],
)
def test_members_are_found_by_session_group_and_parentage(
    found: list[tuple[int, int, int, int]], wanted: list[int]
) -> None:
    assert members(Owner(MAIN, ()), table(*found)) == wanted


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ([(101, KEEPER, MAIN, MAIN)], [101]),  # reaped, and its group lives: nobody else can have the number
        ([(MAIN, 1, MAIN, MAIN), (901, MAIN, MAIN, MAIN)], []),  # a stranger leads a session of that number now
        ([(MAIN, 1, 50, 50)], []),
        ([(MAIN, KEEPER, MAIN, MAIN)], []),  # another dyno has it
    ],
)
def test_a_number_that_was_given_again_is_a_strangers(
    found: list[tuple[int, int, int, int]], wanted: list[int]
) -> None:
    assert members(Owner(MAIN, (), reaped=True), table(*found)) == wanted


@pytest.mark.parametrize("pid", [0, 1])
def test_nobody_owns_the_systems_own_processes(pid: int) -> None:
    found = table((1, 0, 0, 0), (2, 0, 0, 0), (MAIN, 1, MAIN, MAIN), (101, 1, 1, 1))
    assert members(Owner(pid, ()), found) == []


def test_instances_do_not_get_each_others_processes() -> None:
    found = table((100, KEEPER, 100, 100), (101, 100, 101, 101), (200, KEEPER, 200, 200), (201, 200, 200, 200))
    owners = {"a": Owner(100, ()), "b": Owner(200, ())}
    assert processes.members(owners, found, keeper=KEEPER, features=BARE) == {"a": [100, 101], "b": [200, 201]}


@given(st.lists(st.tuples(*[st.integers(1, 30)] * 4), max_size=30))
def test_any_table_is_walked_to_its_end(found: list[tuple[int, int, int, int]]) -> None:
    """A table is no snapshot: parents may be missing, or form a ring."""
    known = table(*found)
    owned = set(members(Owner(5, ()), known))
    assert owned <= set(known)
    for process in known.values():
        if process.parent in owned or 5 in {process.session, process.group, process.pid}:
            assert process.pid in owned


@pytest.mark.parametrize("without", ["", "proc"])
def test_the_real_table_knows_this_process_and_no_zombie(without: str) -> None:
    features = detect({"DYNOD_WITHOUT": without})
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    found = processes.table(features)
    assert found[os.getpid()][:3] == (os.getpid(), os.getppid(), os.getpgrp())
    assert child.pid not in found
    child.wait()


def test_a_process_may_have_any_name() -> None:
    script = "echo ') R 1 (' >/proc/self/comm; echo ready; read line"
    with subprocess.Popen(["bash", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        assert processes.table(detect({}))[child.pid].parent == os.getpid()
        child.communicate(b"\n")


def test_signalling_what_has_ended_is_no_error() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert processes.send([child.pid], signal.SIGTERM, leader=child.pid) == 1


# A daemon that has left its session and lost its parent, and a child that has only left its session. Both have the
# marks in their environment; their elder has not, but among its arguments.
FAMILY = """
import os, sys
os.environ.update(pair.split("=", 1) for pair in sys.argv[1:])
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.write(writing, str(os.getpid()).encode())
    os.closerange(0, writing)
    os.closerange(writing + 1, 100)
    os.execvp("sleep", ["sleep", "1000"])
os.wait()
os.close(writing)
daemon = b"".join(iter(lambda: os.read(reading, 20), b"")).decode()  # to its end: exec has closed the pipe
print(daemon, os.spawnvp(os.P_NOWAIT, "setsid", ["setsid", "sleep", "1000"]), flush=True)
sys.stdin.read()
"""
NOBODY = 2**30  # no process has this number


@pytest.mark.parametrize("without", [",".join(NAMES), "subreaper,cgroup", "subreaper,pdeathsig,proc"])
def test_without_a_subreaper_a_daemon_is_known_by_its_marks_and_another_keepers_dyno_is_not(without: str) -> None:
    """The keeper is this process. The elder stands for another one, whose dyno has the same marks by chance."""
    features = detect({"DYNOD_WITHOUT": without})
    marks = (f"DYNO=web.{os.getpid()}", "PORT=20007")
    command = [sys.executable, "-c", FAMILY, *marks]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as elder:
        assert elder.stdout is not None
        daemon, child = map(int, elder.stdout.readline().split())
        try:
            owners = {"i": Owner(NOBODY, tuple(map(os.fsencode, marks)))}
            found = processes.members(owners, processes.table(features), keeper=os.getpid(), features=features)
            assert found == {"i": [daemon]}
        finally:
            os.kill(daemon, signal.SIGKILL)
            os.kill(child, signal.SIGKILL)
            elder.communicate(b"")
