"""Instances that somebody is attached to, as the keeper holds them: on a terminal, or with a stdin to write to."""

import contextlib
import fcntl
import os
import signal
import struct
import sys
import termios

import pytest

from dynod.keeper.protocol import EndInput, Exited, Gone, Ready, Signal, Spawned
from support.keeper import Core, KeeperRun, read_until

TERMINAL = """
import fcntl, os, struct, sys, termios
size = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, b"\\0" * 8))[:2]
open("/dev/tty").close()
print(all(map(os.isatty, (0, 1, 2))), os.tcgetpgrp(0) == os.getpid() == os.getsid(0), *size, flush=True)
for line in sys.stdin:
    print("heard", line.strip(), flush=True)
"""
UPPER = "import sys\nfor line in sys.stdin: print(line.upper().strip(), flush=True)\nprint('end')"
SAYS_SIGNALS = """
import os, signal
signal.signal(signal.SIGHUP, lambda *_: os.write(1, b"hangup" + bytes([10])))
print("ready", flush=True)
while True: signal.pause()
"""


def start(keeper: KeeperRun, core: Core, program: str, **how: object) -> list[int]:
    """Its descriptors, as this core has them."""
    request = keeper.spawn("a", [sys.executable, "-c", program])
    core.send(request._replace(**how))  # type: ignore[arg-type]  # the fields of Spawn
    return core.take_fds(Spawned, "a")


def read_terminal(fd: int, wanted: bytes) -> bytes:
    seen = read_until(fd, wanted)
    assert wanted in seen
    return seen


def test_a_terminal_is_the_dynos_own_and_of_the_size_asked_for() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        (master,) = start(keeper, core, TERMINAL, terminal=[33, 111])
        assert b"True True 33 111\r\n" in read_terminal(master, b"\n")
        os.write(master, b"hello\r")
        read_terminal(master, b"heard hello\r\n")
        os.write(master, b"\x03")
        assert core.expect(Exited, "a").exit_code == -signal.SIGINT
        core.expect(Gone, "a")


def test_a_terminal_survives_the_core_with_all_that_was_not_read() -> None:
    with KeeperRun() as keeper:
        first = keeper.next_core()
        first.be_ready()
        (master,) = start(keeper, first, TERMINAL, terminal=[24, 80])
        read_terminal(master, b"24 80\r\n")
        os.write(master, b"still there?\r")
        first.kill()
        second = keeper.next_core()
        snapshot = second.hello()
        second.send(Ready())
        master = snapshot.outputs["a"]
        read_terminal(master, b"heard still there?\r\n")
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 100, 0, 0))
        os.write(master, b"\x04")
        second.expect(Exited, "a", 0)
        with contextlib.suppress(OSError):  # Linux says EIO where a terminal's other end is closed
            assert read_until(master, b"never") == b""


def test_stdin_is_a_pipe_and_ends_when_core_and_keeper_have_closed_it() -> None:
    with KeeperRun() as keeper:
        first = keeper.next_core()
        first.be_ready()
        output, writes = start(keeper, first, UPPER, stdin=True)
        os.write(writes, b"one\n")
        assert read_until(output, b"ONE\n") == b"ONE\n"
        first.kill()
        second = keeper.next_core()
        snapshot = second.hello()
        second.send(Ready())
        output, writes = snapshot.outputs["a"], snapshot.inputs["a"]
        os.write(writes, b"two\n")
        assert read_until(output, b"TWO\n") == b"TWO\n"
        second.send(EndInput("a"))
        second.send(EndInput("a"))  # asked again: nothing more happens
        second.close_fd(writes)
        assert read_until(output, b"end\n") == b"end\n"
        second.expect(Exited, "a", 0)
        second.expect(Gone, "a")


def test_a_signal_reaches_every_process_and_stops_nothing() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        output, _ = start(keeper, core, f"import os\nos.fork()\n{SAYS_SIGNALS}", stdin=True)
        read_until(output, b"ready\nready\n")
        core.send(Signal("a", signal.SIGHUP))
        assert read_until(output, b"hangup\nhangup\n") == b"hangup\nhangup\n"
        core.send(Signal("unknown", signal.SIGHUP))
        core.send(Signal("a", signal.SIGKILL))
        assert core.expect(Exited, "a").exit_code == -signal.SIGKILL


@pytest.mark.parametrize("size", [[1], [1, 2, 3], [-1, 80], [24, 65_536]])
def test_a_core_that_asks_for_an_impossible_terminal_is_replaced(size: list[int]) -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        core.send(keeper.spawn("a", ["true"])._replace(terminal=size))
        keeper.next_core().be_ready()


def test_a_core_that_asks_for_an_impossible_signal_is_replaced() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        core.send(Signal("a", 4096))
        keeper.next_core().be_ready()
