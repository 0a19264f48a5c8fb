"""A filter of system calls, put on in a real child as the keeper's child does; as whoever runs it."""

import ctypes
import os
import platform
import sys

import pytest

from dynod.core.seccomp import filter_program
from dynod.keeper.call_filter import put_on
from dynod.keeper.features import gain_nothing

PROGRAM = filter_program(platform.machine()) if sys.platform == "linux" else None
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no filter is known for this machine")
NEW_USER_NAMESPACE = 0x10000000


def refusals(program: bytes) -> str:
    """What a child is told that is held to it: by put_on, then by unshare(2)."""
    file = os.memfd_create("program")
    os.write(file, program)
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        said = ["", ""]
        try:
            gain_nothing()
            put_on(file)
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(NEW_USER_NAMESPACE) != 0:
                said[1] = os.strerror(ctypes.get_errno())
        except OSError as error:
            said[0] = str(error.strerror)
        finally:
            os.write(writing, "/".join(said).encode())
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, encoding="utf-8") as pipe:  # noqa: PTH123 (a descriptor)
        answer = pipe.read()
    os.close(file)
    return answer


def test_what_the_program_refuses_is_refused_from_then_on() -> None:
    assert PROGRAM is not None
    assert refusals(PROGRAM) == "/Operation not permitted"


def test_what_is_no_program_is_an_error() -> None:
    assert refusals(b"") == "Invalid argument/"
