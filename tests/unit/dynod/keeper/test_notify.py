"""systemd's notify protocol, against a real datagram socket."""

import contextlib
import os
import socket
from collections.abc import Iterator, MutableMapping
from pathlib import Path

import pytest

from dynod.keeper.notify import Notifier


@contextlib.contextmanager
def notifier_of(environ: MutableMapping[str, str]) -> Iterator[Notifier]:
    """The keeper never closes its notifier; a test does."""
    notifier = Notifier(environ)
    yield notifier
    if notifier._socket is not None:
        notifier._socket.close()


def test_without_systemd_nothing_is_sent_and_nothing_watched() -> None:
    notifier = Notifier({})
    notifier.send("READY=1")
    assert notifier.watchdog_s is None


@pytest.mark.parametrize("abstract", [False, True])
def test_what_is_sent_arrives_and_children_know_nothing_of_it(tmp_path: Path, *, abstract: bool) -> None:
    name = f"dynod-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    environ = {"NOTIFY_SOCKET": f"@{name}" if abstract else name, "WATCHDOG_USEC": "3000000", "OTHER": "x"}
    with notifier_of(environ) as notifier:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(f"\0{name}" if abstract else name)
            notifier.send("READY=1")
            assert systemd.recv(100) == b"READY=1"
        assert environ == {"OTHER": "x"}
        assert notifier.watchdog_s == 1.5, "twice as often as asked for"
        notifier.send("STATUS=gone")  # nobody listens any more: no error


@pytest.mark.parametrize(
    ("interval", "pid", "watched"),
    [
        ("2000000", "", 1.0),
        ("2000000", "own", 1.0),
        ("2000000", "1", None),  # meant for another process
        ("0", "", None),
        ("", "", None),
        ("soon", "", None),
        ("-5", "", None),
    ],
)
def test_the_watchdog_is_fed_if_it_is_ours(interval: str, pid: str, watched: float | None) -> None:
    pid = str(os.getpid()) if pid == "own" else pid
    with notifier_of({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": interval, "WATCHDOG_PID": pid}) as notifier:
        assert notifier.watchdog_s == watched
