"""What the other integration tests trust: that a missing line fails with all that was said, and that nothing hides."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from support import processes
from support.app_folder import TOYS, app_folder
from support.transcript import Transcript
from support.up import clean_environment


def printed(*chunks: bytes) -> Transcript:
    reading, writing = os.pipe()
    transcript = Transcript()
    transcript.read("stdout", reading)
    for chunk in chunks:
        os.write(writing, chunk)
    os.close(writing)
    return transcript


def test_a_line_is_found_across_chunks_and_its_groups_are_given() -> None:
    line = printed(b"one\nlistening on 80", b"80\nthree").wait_for_line(r"on (\d+)$")
    assert (line.number, line.group()) == (1, "8080")


def test_the_last_half_line_counts_and_bytes_are_kept() -> None:
    transcript = printed(b"a\xff\r\n", b"half")
    transcript.wait_for_end()
    assert [line.text for line in transcript.lines()] == ["a\\xff", "half"]
    assert transcript.raw("stdout") == b"a\xff\r\nhalf"


def test_waiting_for_what_never_comes_shows_what_came() -> None:
    with pytest.raises(AssertionError, match=r"(?s)ended without .*'two'.*\| one"):
        printed(b"one\n").wait_for_line("two")


def test_only_lines_since_the_mark_are_looked_at() -> None:
    transcript = printed(b"again\n", b"again\n")
    first = transcript.wait_for_line("again")
    assert transcript.wait_for_line("again", since=first.number + 1).number == 1


def test_a_daemon_that_left_its_session_is_found_and_waited_for(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    environment = {**clean_environment(), processes.MARK: mark, "DYNO": "worker.1"}
    toy = [sys.executable, str(TOYS / "daemonises.py"), "leaves"]
    subprocess.run(toy, env=environment, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    daemon = int((tmp_path / "daemon.pid").read_text())
    (found,) = processes.marked(mark)
    assert (found.pid, found.dyno) == (daemon, "worker.1")
    assert processes.wait_until_gone(mark, timeout_s=0) == [found]
    os.kill(daemon, signal.SIGTERM)
    assert processes.wait_until_gone(mark, timeout_s=20) == []


def test_a_folder_holds_what_was_asked_for(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": "run $PORT"}, env={"A": "b c"}, files={"bin/x": b"\xff"})
    assert (folder / "Procfile").read_text() == "web: run $PORT\n"
    assert (folder / ".env").read_text() == "A='b c'\n"
    assert (folder / "bin/x").read_bytes() == b"\xff"
    assert sorted(path.name for path in folder.iterdir()) == [".env", "Procfile", "bin"]
