"""Entries of systemd's native protocol, read at the other end of a real socket."""

import os
import socket
from pathlib import Path

from dynod.core.losses import Loss
from dynod.journal import Journal, entry, open_journal


def test_what_happens_to_a_dyno_has_its_app_and_its_name(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "journal"))
        journald.settimeout(10)
        journal = Journal(str(tmp_path / "journal"))
        journal.dyno("shop", "web.1", "State changed from up to crashed")
        assert journald.recv(1000).decode().splitlines() == [
            "MESSAGE=shop web.1: State changed from up to crashed",
            "SYSLOG_IDENTIFIER=dynod",
            "DYNOD_APP=shop",
            "DYNOD_DYNO=web.1",
            "PRIORITY=4",
        ]
        journal.dyno("shop", "web.1", "State changed from starting to up")
        assert b"PRIORITY=6" in journald.recv(1000)
        journal.close()


def test_what_the_journal_does_not_take_is_counted_and_said_by_the_next(tmp_path: Path) -> None:
    lost: list[Loss] = []
    journal = Journal(str(tmp_path / "journal"), lose=lambda what, _count: lost.append(what))
    journal.dyno("shop", "web.1", "one")
    journal.dyno("shop", "web.1", "two")
    assert journal.dropped == 2
    assert lost == [Loss.JOURNAL_ENTRIES] * 2
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "journal"))
        journald.settimeout(10)
        journal.dyno("shop", "web.1", "three")
        assert b"\nDYNOD_DROPPED=2\n" in journald.recv(1000)
    assert journal.dropped == 0
    journal.close()


def test_a_line_break_cannot_begin_another_field() -> None:
    assert entry("a\nDYNOD_APP=b", {"X": "1"}) == (
        b"MESSAGE\n" + (13).to_bytes(8, "little") + b"a\nDYNOD_APP=b\nSYSLOG_IDENTIFIER=dynod\nX=1\n"
    )


def test_there_is_a_journal_only_where_stderr_leads_to_it() -> None:
    there = os.fstat(2)
    assert open_journal({}) is None
    assert open_journal({"JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino + 1}"}) is None
    opened = open_journal({"JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}"})
    assert opened is not None
    opened.close()
