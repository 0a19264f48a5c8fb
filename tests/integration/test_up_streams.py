"""What `dynod up` prints: one stream of whole lines on stdout, its own words on stderr, colours for a person."""

import os
import re
import signal
from collections import defaultdict
from pathlib import Path

import pytest

from support.app_folder import app_folder, python, toy
from support.up import Up, eventually

FULL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00 (app|heroku)\[([a-z.0-9]+)\]: (.*)")
SHORT = re.compile(r"\d\d:\d\d:\d\d (app|heroku)\[([a-z.0-9]+)\]: +(.*)")
COLOURED = re.compile(rb"(\x1b\[[0-9;]+m)\d\d:\d\d:\d\d (?:app|heroku)\[([a-z]+)[.0-9]*\]:\x1b\[0m")
WAITS = {"worker": toy("waits")}


def lines_of(up: Up, stream: str, form: re.Pattern[str]) -> list[tuple[str, str, str]]:
    """Source, process and text of every line of a stream; each must be whole and in that form."""
    found = []
    for line in up.output.lines(stream):
        match = form.fullmatch(line.text)
        assert match, line.text
        found.append((match[1], match[2], match[3]))
    return found


# Form


def test_a_pipe_gets_herokus_full_form_and_stderr_dynods_own_words(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={**WAITS, "web": toy("web_server"), "release": "true"})
    with Up(folder) as up:
        up.wait_until_up("web.1", "worker.1")
        pid = up.wait_for_line(r"app\[worker\.1\]: ready pid=(\d+)").group()
        assert up.get("/").status == 200
        assert up.stop() == 0
    said = lines_of(up, "stdout", FULL)
    worker = [(source, text) for source, name, text in said if name == "worker.1"]
    assert worker == [
        ("heroku", f"Starting process with command `{toy('waits')}`"),
        ("heroku", "State changed from starting to up"),
        ("app", f"ready pid={pid}"),
        ("heroku", "State changed from up to down"),
        ("heroku", "Stopping all processes with SIGTERM"),
        ("app", "got SIGTERM"),
        ("heroku", "Process exited with status 0"),
    ]
    assert {name for _, name, _ in said} == {"worker.1", "web.1", "router"}
    assert [line.text for line in up.output.lines("stderr")] == [
        f"dynod: listening on http://127.0.0.1:{up.port}",
        "dynod: release is not run, --release runs it first: true",
        "dynod: SIGTERM: stopping (once more kills what is still running)",
    ]


def test_a_terminal_gets_the_time_of_day_and_columns(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={**WAITS, "web": toy("web_server")})
    with Up(folder, terminal=True) as up:
        up.wait_until_up("web.1", "worker.1")
        assert up.stop() == 0
    stream = [line.text for line in up.output.lines("terminal") if not line.text.startswith("dynod: ")]
    assert all(SHORT.fullmatch(line) for line in stream), stream
    starts = {len(line) - len(line.partition("]:")[2].lstrip()) for line in stream}
    assert len(starts) == 1, stream


def test_a_type_has_a_colour_of_its_own(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": toy("web_server"), "worker": toy("waits"), "clock": toy("waits")})
    with Up(folder, "web=2", "worker", "clock", terminal=True) as up:
        up.wait_until_up("web.1", "web.2", "worker.1", "clock.1")
        assert up.get("/").status == 200
        up.wait_for_line(r"heroku\[router\]")
        assert up.stop() == 0
    colours = defaultdict(set)
    for colour, process_type in COLOURED.findall(up.output.raw("terminal")):
        colours[process_type].add(colour)
    assert set(colours) == {b"web", b"worker", b"clock", b"router"}
    assert all(len(found) == 1 for found in colours.values()), colours
    assert len(set.union(*colours.values())) == 4


@pytest.mark.parametrize(
    ("arguments", "env", "coloured"),
    [
        ([], {}, True),
        (["--no-color"], {}, False),
        ([], {"NO_COLOR": "1"}, False),
        ([], {"NO_COLOR": ""}, True),
        ([], {"TERM": "dumb"}, False),
        ([], {"TERM": "dumb", "FORCE_COLOR": "1"}, True),
        (["--no-color"], {"FORCE_COLOR": "1"}, False),
    ],
)
def test_colours_on_a_terminal(tmp_path: Path, arguments: list[str], env: dict[str, str], coloured: bool) -> None:
    with Up(app_folder(tmp_path, procfile=WAITS), *arguments, terminal=True, env=env) as up:
        up.wait_for_line(r"app\[worker\.1\]: +ready")
        assert up.stop() == 0
    assert (b"\x1b[" in up.output.raw("terminal")) is coloured


def test_the_full_form_on_a_terminal(tmp_path: Path) -> None:
    with Up(app_folder(tmp_path, procfile=WAITS), "--timestamps", "--no-color", terminal=True) as up:
        up.wait_for_line(r"app\[worker\.1\]: +ready")
        assert up.stop() == 0
    stream = [line.text for line in up.output.lines("terminal") if not line.text.startswith("dynod: ")]
    assert all(FULL.fullmatch(line) for line in stream), stream


def test_the_full_form_keeps_its_colours_where_they_are_wanted(tmp_path: Path) -> None:
    """On a terminal, and with FORCE_COLOR for `dynod up | less -R`."""
    full = rb"(?m)^\x1b\[\d+m\d{4}-\d\d-\d\dT[\d:.]+\+00:00 app\[worker\.1\]:\x1b\[0m ready"
    folder = app_folder(tmp_path, procfile=WAITS)
    with Up(folder, "--timestamps", terminal=True) as up:
        up.wait_for_line(r"app\[worker\.1\]: ready")
        assert up.stop() == 0
    assert re.search(full, up.output.raw("terminal"))
    for arguments, coloured in (([], True), (["--no-color"], False)):
        with Up(folder, *arguments, env={"FORCE_COLOR": "1"}) as up:
            up.wait_for_line(r"app\[worker\.1\]:(\x1b\[0m)? ready")
            assert up.stop() == 0
        assert bool(re.search(full, up.output.raw("stdout"))) is coloured
        assert (b"\x1b" in up.output.raw("stdout")) is coloured


def test_a_file_gets_the_full_form_while_the_rest_is_a_terminal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file, Up(app_folder(tmp_path, procfile=WAITS), terminal=True, stdout=file.fileno()) as up:
        eventually(lambda: "ready" in log.read_text(), what="the dyno's line in the file")
        up.type("\x03")
        assert up.wait() == 0
    lines = log.read_text().splitlines()
    assert all(FULL.fullmatch(line) for line in lines), lines
    assert lines[-1].endswith("heroku[worker.1]: Process exited with status 0")
    assert [line.text for line in up.output.lines("terminal")] == [
        "^C\rdynod: SIGINT: stopping (once more kills what is still running)"
    ]


# Content


def test_lines_are_whole_in_order_and_none_is_lost(tmp_path: Path) -> None:
    count = 20_000
    folder = app_folder(tmp_path, procfile={"one": toy("floods", count), "two": toy("floods", count, 300)})
    with Up(folder) as up:
        for name in ("one.1", "two.1"):
            up.wait_for_line(rf"app\[{name}\]: flooded$")
        assert up.stop() == 0
    said = defaultdict(list)
    for source, name, text in lines_of(up, "stdout", FULL):
        if source == "app":
            said[name].append(text)
    assert said["one.1"] == [*(f"line {number} of {count}" for number in range(1, count + 1)), "flooded"]
    assert said["two.1"] == [
        *(f"line {number} of {count}".ljust(300, ".") for number in range(1, count + 1)),
        "flooded",
    ]


def test_stdout_and_stderr_of_a_dyno_are_one_stream(tmp_path: Path) -> None:
    code = "import sys\nfor n in range(50): print(n, file=sys.stderr if n % 2 else sys.stdout)"
    folder = app_folder(tmp_path, procfile={"worker": f"{python('exec(open(chr(120)).read())')}"}, files={"x": code})
    with Up(folder, "--on-exit", "stop") as up:
        assert up.wait() == 0
    assert [text for source, _, text in lines_of(up, "stdout", FULL) if source == "app"] == [str(n) for n in range(50)]


def test_bytes_pass_as_they_are_and_a_terminal_is_spared(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"worker": toy("binary")})
    with Up(folder) as up:
        up.wait_for_line(r"app\[worker\.1\]: täglich 日本 🐙$")
        assert up.stop() == 0
    raw = up.output.raw("stdout")
    assert b"]: " + bytes(value for value in range(256) if value not in b"\n") + b"\n" in raw
    assert b"]: \xff\xfe broken \xc3\n" in raw
    with Up(folder, terminal=True) as up:
        up.wait_for_line(r"app\[worker\.1\]: +täglich 日本 🐙$")
        assert up.stop() == 0
    raw = up.output.raw("terminal")
    raw.decode()
    assert rb"\xff\xfe broken \xc3" in raw
    assert b"\x1b[31mred to the end\x1b[0m\r\n" in raw


@pytest.mark.parametrize("ends", ["by itself", "when told"])
def test_the_last_half_line_is_shown(tmp_path: Path, ends: str) -> None:
    by_itself = ends == "by itself"
    folder = app_folder(tmp_path, procfile={"worker": toy("half_line", *(["exits"] if by_itself else []))})
    with Up(folder, "--on-exit", "stop") as up:
        up.wait_for_line(r"app\[worker\.1\]: a whole line$")
        assert (up.wait() if by_itself else up.stop()) == 0
    said = [(source, text) for source, _, text in lines_of(up, "stdout", FULL)]
    half = said.index(("app", "half a line"))
    assert half < said.index(("heroku", f"Process exited with status {0 if by_itself else 143}"))


def test_a_dyno_that_writes_nothing_is_named_once(tmp_path: Path) -> None:
    """Not again by the next core either."""
    remark = "heroku[worker.1]: worker.1 has been up for 10 s and written nothing: "
    folder = app_folder(tmp_path, procfile={"worker": "sleep 1000", "talks": toy("waits")})
    with Up(folder) as up:
        up.wait_for_line(re.escape(remark))
        core = up.core_pid()
        os.kill(core, signal.SIGKILL)
        up.core_pid(other_than=core)
        since = up.output.mark()
        (pid,) = up.dyno_pids()["talks.1"]
        os.kill(pid, signal.SIGUSR1)
        up.wait_for_line(r"app\[talks\.1\]: ready", since=since)
        assert up.stop() == 0
    named = [line.text for line in up.output.lines("stdout") if "written nothing" in line.text]
    assert len(named) == 1


# A reader who does not read


@pytest.mark.timeout(120)
def test_a_reader_who_does_not_read_stops_no_request_and_at_last_no_dyno(tmp_path: Path) -> None:
    """As in `prog | less` the dynos wait for the reader, the router never; after 10 s lines are dropped and counted."""
    folder = app_folder(
        tmp_path, procfile={"web": toy("web_server"), "worker": "seq 1 1000000; touch flooded; sleep 1000"}
    )
    reading, writing = os.pipe()
    with Up(folder, stdout=writing) as up:
        os.close(writing)
        eventually(lambda: up.get("/").status == 200, what="an answer")
        assert {up.get(f"/{number}").status for number in range(100)} == {200}
        assert not (folder / "flooded").exists()
        eventually((folder / "flooded").exists, what="the worker goes on", timeout_s=60)
        assert up.get("/").status == 200
        up.output.read("stdout", reading)
        up.wait_for_line(
            r"heroku\[logplex\]: Error L11 \(Tail buffer overflow\) -> "
            r"This tail session dropped \d+ messages since \S+\+00:00\.$"
        )
        assert up.stop() == 0
    lines_of(up, "stdout", FULL)


def test_a_second_signal_does_not_wait_for_a_reader_who_does_not_read(tmp_path: Path) -> None:
    # Without end, or it would leave by itself before the second signal of a test on a busy machine.
    folder = app_folder(tmp_path, procfile={"worker": toy("floods", 10**12)})
    reading, writing = os.pipe()
    with Up(folder, stdout=writing) as up:
        os.close(writing)
        eventually(lambda: up.dyno_pids().get("worker.1"), what="a worker")
        up.send_signal(signal.SIGINT)
        up.wait_for_line(r"^dynod: SIGINT: stopping", stream="stderr")
        assert up.stop(signal.SIGINT) == 130
    os.close(reading)


def test_runtime_metrics_are_written_where_the_folder_says_so(tmp_path: Path) -> None:
    """Heroku's two lines a dyno, every 20 seconds; without the setting none (test_sampler)."""
    folder = app_folder(
        tmp_path, procfile={"worker": toy("waits")}, files={"dynod.toml": "[app]\nlog_runtime_metrics = true\n"}
    )
    with Up(folder) as up:
        dyno = r"source=worker\.1 dyno=heroku\.\d+\.[0-9a-f-]{36}"
        up.wait_for_line(rf"heroku\[worker\.1\]: {dyno} sample#load_avg_1m=\d+\.\d\d$")
        up.wait_for_line(
            rf"heroku\[worker\.1\]: {dyno} sample#memory_total=[\d.]+MB sample#memory_rss=[\d.]+MB "
            r"sample#memory_cache=[\d.]+MB sample#memory_swap=[\d.]+MB sample#memory_pgpgin=\d+pages "
            r"sample#memory_pgpgout=\d+pages$"
        )
