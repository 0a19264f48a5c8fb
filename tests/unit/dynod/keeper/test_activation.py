"""What systemd hands over at the start, as a process that it starts so sees it."""

import json
import os
import subprocess
import sys

import pytest

from support.source_tree import REPOSITORY

STARTED = """
import json, os, sys
from dynod.keeper.activation import take_over
if sys.argv[1] == "own":
    os.environ["LISTEN_PID"] = str(os.getpid())
given = take_over(os.environ)
inherited = [fd for fds in given.values() for fd in fds if os.get_inheritable(fd)]
print(json.dumps([given, inherited, [name for name in os.environ if name.startswith("LISTEN_")]]))
"""


def started(pid: str, **variables: str) -> object:
    fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]

    def as_systemd_does() -> None:
        for number, fd in enumerate(fds, start=10):
            os.dup2(fd, number)
        for number in range(3):
            os.dup2(10 + number, 3 + number, inheritable=True)

    try:
        out = subprocess.run(
            [sys.executable, "-c", STARTED, pid],
            env={**os.environ, **variables},
            cwd=REPOSITORY,
            close_fds=False,
            preexec_fn=as_systemd_does,
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        for fd in fds:
            os.close(fd)
    return json.loads(out.stdout)


@pytest.mark.parametrize(
    ("names", "given"),
    [
        ("http:http:control", {"http": [3, 4], "control": [5]}),
        ("http", {"http": [3], "unknown": [4, 5]}),
        ("", {"unknown": [3, 4, 5]}),
    ],
)
def test_descriptors_come_by_name_and_reach_no_child(names: str, given: dict[str, list[int]]) -> None:
    assert started("own", LISTEN_FDS="3", LISTEN_FDNAMES=names) == [given, [], []]


@pytest.mark.parametrize(("pid", "count"), [("own", "many"), ("other", "3")])
def test_what_is_meant_for_another_is_left_alone(pid: str, count: str) -> None:
    assert started(pid, LISTEN_PID="1", LISTEN_FDS=count, LISTEN_FDNAMES="http:http:http") == [{}, [], []]
