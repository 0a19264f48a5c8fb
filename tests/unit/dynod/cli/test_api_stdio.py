"""stdin and stdout joined to a socket: every byte, both ways, and either end."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LARGE = bytes(range(256)) * 8192
WAIT_S = 30


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        server.settimeout(WAIT_S)
        yield server


@pytest.fixture
def joined(listening: socket.socket) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "dynod", "api-stdio", "--socket", listening.getsockname()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        yield child
        child.kill()


def test_every_byte_and_the_end_of_stdin_arrive(listening: socket.socket, joined: subprocess.Popen[bytes]) -> None:
    connection, _ = listening.accept()
    assert joined.stdin is not None
    with connection:
        connection.settimeout(WAIT_S)
        connection.sendall(b"first")
        joined.stdin.write(LARGE[:100])
        joined.stdin.close()
        joined.stdin = None
        received = b""
        while data := connection.recv(65_536):
            received += data
        assert received == LARGE[:100]
        connection.sendall(b"an answer after the end of what was asked")
    out, err = joined.communicate(timeout=WAIT_S)
    assert (out, err, joined.returncode) == (b"firstan answer after the end of what was asked", b"", 0)


def test_it_ends_with_the_connection_though_stdin_is_open(
    listening: socket.socket, joined: subprocess.Popen[bytes]
) -> None:
    connection, _ = listening.accept()
    connection.settimeout(WAIT_S)
    assert joined.stdout is not None
    read = b""
    with connection:
        sent = 0
        while sent < len(LARGE):
            sent += connection.send(LARGE[sent : sent + 65_536])
            while len(read) < sent:
                read += os.read(joined.stdout.fileno(), 65_536)
    assert (read, joined.stdout.read(), joined.wait(WAIT_S)) == (LARGE, b"", 0)


def test_a_reader_that_has_left_ends_it(listening: socket.socket, joined: subprocess.Popen[bytes]) -> None:
    connection, _ = listening.accept()
    assert joined.stdout is not None
    joined.stdout.close()
    with connection:
        connection.sendall(b"for nobody")
        assert joined.wait(WAIT_S) == 0


def test_where_no_dynod_is_it_says_so_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dynod", "api-stdio", "--socket", str(tmp_path / "s")]
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"dynod: there is no socket {tmp_path}/s")
    assert ended.stderr.count("\n") == 1
