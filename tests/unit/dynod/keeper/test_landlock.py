"""What Landlock holds a process to, in real children of the test; as whoever runs it, root too."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dynod.keeper import landlock

pytestmark = pytest.mark.skipif(not landlock.is_there(), reason="this kernel has no Landlock")

# Holds itself to the ruleset, which is descriptor ARGV[1], and becomes a shell.
RESTRICTED = """
import ctypes, os, sys
from dynod.keeper.landlock import restrict
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
restrict(int(sys.argv[1]))
os.execv("/bin/sh", ["sh", "-c", sys.argv[2]])
"""
SYSTEM = ("/usr", "/etc", "/bin", "/lib", "/lib64", "/none/of/that/name")


def run(script: str, *, read: list[str], written: list[str]) -> list[str]:
    """What it prints, where every command is followed by `echo $?`."""
    made = landlock.ruleset(read=read, written=written)
    assert not os.get_inheritable(made)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", RESTRICTED, str(made), script],
            pass_fds=[made],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        os.close(made)
    return ended.stdout.split()


def test_files_are_opened_where_the_rules_say_alone(tmp_path: Path) -> None:
    for name in ("mine", "shown", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(f"{name}\n")
    script = f"""
    cd {tmp_path}/mine || exit
    cat file; echo changed >file; cat file; mkdir deep; mv file deep/; cat deep/file; rm deep/file; echo $?
    cat ../shown/file; echo x 2>/dev/null >>../shown/file; echo $?
    cat ../other/file 2>/dev/null; echo $?; ls .. 2>/dev/null; echo $?
    (echo piped >/dev/stdout) | cat; echo null >/dev/null; echo $?
    """
    found = run(script, read=[*SYSTEM, str(tmp_path / "shown")], written=[str(tmp_path / "mine"), "/dev", "/proc"])
    assert found == ["mine", "changed", "changed", "0", "shown", "2", "1", "2", "piped", "0"]


def test_a_single_file_can_be_shown(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("one\n")
    (tmp_path / "two").write_text("two\n")
    script = f"cat {tmp_path}/one; cat {tmp_path}/two 2>/dev/null; echo $?"
    assert run(script, read=[*SYSTEM, str(tmp_path / "one")], written=["/dev/null"]) == ["one", "1"]


# Held to the ruleset ARGV[1]: signals its parent, then reaches for the socket ARGV[2]; and for one that it made itself.
REACHES = """
import ctypes, os, socket, sys
from dynod.keeper.landlock import restrict
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
restrict(int(sys.argv[1]))
def reached(act):
    try:
        act()
    except PermissionError:
        return "no"
    return "yes"
own = socket.socket(socket.AF_UNIX)
own.bind("")
own.listen()
print(
    reached(lambda: os.kill(os.getppid(), 0)),
    reached(lambda: socket.socket(socket.AF_UNIX).connect(bytes.fromhex(sys.argv[2]))),
    reached(lambda: socket.socket(socket.AF_UNIX).connect(own.getsockname())),
)
"""


@pytest.mark.skipif(not landlock.has_scopes(), reason="this kernel's Landlock has no scopes (Linux 6.12)")
@pytest.mark.parametrize(
    ("made", "reached"),
    [
        (landlock.scope, ["yes", "no", "yes"]),
        (lambda: landlock.ruleset(read=["/"], written=[]), ["yes", "no", "yes"]),
        (lambda: landlock.ruleset(read=["/"], written=[], signals_within=True), ["no", "no", "yes"]),
    ],
    ids=["scope", "files", "signals"],
)
def test_sockets_without_a_file_and_signals_are_kept_within(made: Callable[[], int], reached: list[str]) -> None:
    rules = made()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")
        listener.listen()
        words = [sys.executable, "-c", REACHES, str(rules), listener.getsockname().hex()]
        ended = subprocess.run(words, pass_fds=[rules], capture_output=True, text=True, check=True)
    os.close(rules)
    assert ended.stdout.split() == reached
