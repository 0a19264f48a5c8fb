"""Why a release did not go live: what was said of the dyno that failed, and what it wrote last."""

from dynod.core.log_line import LogBatch, Source
from dynod.core.release_failure import LAST_LINES, LONGEST_LINE, explain


def batch(text: str, *, source: Source = "heroku", ps: str = "web.1", time: float = 100.0) -> LogBatch:
    return LogBatch(time=time, source=source, ps=ps, text=f"{text}\n".encode())


def test_a_crash_is_told_by_its_status_and_its_last_lines() -> None:
    log = [
        batch("Process exited with status 7", time=50.0),
        batch("Starting process with command `run`"),
        batch("line 1\n\nTraceback: boom", source="app"),
        batch("of another", source="app", ps="web.2"),
        batch("Process exited with status 1"),
        batch("web.1 goes on with its old process: the new one did not come up"),
        batch("Process exited with status 143"),
    ]
    assert explain("web.1", log, since=99.0).splitlines() == [
        "web.1: process exited with status 1",
        "line 1",
        "Traceback: boom",
    ]


def test_what_the_old_process_said_when_it_was_replaced_is_no_reason() -> None:
    log = [
        batch("Restarting", ps="worker.1"),
        batch("Stopping all processes with SIGTERM", ps="worker.1"),
        batch("got SIGTERM", source="app", ps="worker.1"),
        batch("Process exited with status 0", ps="worker.1"),
        batch("Starting process with command `work`", ps="worker.1"),
        batch("no queue", source="app", ps="worker.1"),
        batch("Process exited with status 7", ps="worker.1"),
        batch("Starting process with command `work`", ps="worker.1"),
        batch("back again", source="app", ps="worker.1"),
    ]
    assert explain("worker.1", log[:-2], since=0.0) == "worker.1: process exited with status 7\nno queue"


def test_a_wrong_port_a_boot_timeout_and_memory_are_told_together() -> None:
    log = [
        batch("web.1 listens on 127.0.0.1:3000, PORT is 20001"),
        batch("Process running mem=600M(117.0%)"),
        batch("Error R14 (Memory quota exceeded)"),
        batch("Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 60 seconds of launch"),
        batch("Stopping process with SIGKILL"),
        batch("Process exited with status 137"),
        batch("Starting again in 5 s (crash 2 in a row)"),
    ]
    assert explain("web.1", log, since=0.0) == (
        "web.1: listens on 127.0.0.1:3000, PORT is 20001; Process running mem=600M(117.0%); "
        "Error R14 (Memory quota exceeded); "
        "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 60 seconds of launch; "
        "process exited with status 137"
    )


def test_what_is_known_already_is_said_instead() -> None:
    log = [batch("no such table", source="app", ps="release.5"), batch("Process exited with status 1", ps="release.5")]
    said = explain("release.5", log, since=0.0, what="the release command exited with 1")
    assert said == "release.5: the release command exited with 1\nno such table"


def test_a_dyno_of_which_nothing_was_said_is_named_all_the_same() -> None:
    assert explain("web.1", [], since=0.0) == "web.1: it did not stay up"


def test_only_so_much_is_shown_and_undecodable_bytes_are_no_trouble() -> None:
    many = "\n".join(f"line {number}" for number in range(100))
    log = [batch(many, source="app"), LogBatch(time=100.0, source="app", ps="web.1", text=b"\xff" * 1000 + b"\n")]
    lines = explain("web.1", log, since=0.0).splitlines()
    assert len(lines) == 1 + LAST_LINES
    assert len(lines[-1]) == LONGEST_LINE + 1
