"""Verbs of the command line, each a process of its own that need not load Python and the command line first.

    ended = verbs.run(["ps", "-a", "shop"], env={...}, cwd=folder, timeout_s=90)

Tests of what a daemon does ask it by dozens of verbs, and nearly all that a verb takes is to start an interpreter and
to import. So a child of the test process (`verbs_loaded.py`) has done that once, and forks for each verb, which has its
own arguments, environment, folder and output, and ends as it would. Only its name among the processes and what /proc
shows of its environment are the child's. Tests of the verbs themselves start `python -m dynod`.
"""

import atexit
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Final

LOADED: Final = Path(__file__).with_name("verbs_loaded.py")


def run(
    arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run of `dynod ARGUMENTS` with nothing on stdin and its output captured."""
    ours, theirs = socket.socketpair()
    with ours, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        with theirs:
            # One byte each: by that the child tells one request's descriptors from the next one's.
            socket.send_fds(_loaded(), [b"?"], [theirs.fileno(), stdout.fileno(), stderr.fileno()])
        ours.settimeout(timeout_s)
        with ours.makefile("rw", encoding="utf-8") as asked:
            asked.write(json.dumps({"arguments": list(arguments), "env": dict(env), "cwd": str(cwd)}) + "\n")
            asked.flush()
            try:
                status = asked.readline()
            except TimeoutError:
                shown = _text(stdout) + _text(stderr)
                raise AssertionError(f"dynod {arguments} has not ended after {timeout_s:g} s:\n{shown}") from None
        assert status, f"what runs verbs has ended: dynod {arguments}\n{_text(stderr)}"
        return subprocess.CompletedProcess(["dynod", *arguments], int(status), _text(stdout), _text(stderr))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@cache
def _loaded() -> socket.socket:
    """The child of this process, which ends when the socket is closed."""
    ours, theirs = socket.socketpair()
    with theirs:
        child = subprocess.Popen(
            # -P: as for `python -m dynod`, the folder of the script is no place for modules
            [sys.executable, "-P", str(LOADED), str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
        )

    def end() -> None:
        ours.close()
        child.wait()

    atexit.register(end)
    return ours
