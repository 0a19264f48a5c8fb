"""A session over a socket pair, with the test as the dyno's end."""

import socket

import pytest

from dynod.cli.attached import Attached
from dynod.core.attach_frame import Data, Exit, encode


def test_what_came_with_the_connection_is_shown_by_the_session_and_not_before(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """`dynod run` says in between that the dyno is up, in a line of its own."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        attached = Attached(lambda _: (ours, encode(Data(b"quick\n"))), "run.1", terminal=False)
        attached.open()
        assert capfdbinary.readouterr().out == b""
        theirs.sendall(encode(Exit(3, "")))
        assert attached.run() == 3
        assert capfdbinary.readouterr().out == b"quick\n"
