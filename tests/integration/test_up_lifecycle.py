"""How the dynos of `dynod up` end and start again, how `dynod up` itself ends, and that nothing outlives it."""

import asyncio
import contextlib
import http.client
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from support import processes
from support.app_folder import TOYS, app_folder, toy
from support.open_request import OpenRequest
from support.up import Up, eventually

R12 = "Error R12 (Exit timeout) -> At least one process failed to exit within 30 seconds of SIGTERM"


@pytest.fixture(autouse=True)
def hangups() -> Iterator[None]:
    """Where the tests themselves run under nohup, dynod would rightly ignore SIGHUP too."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def said_of(up: Up, dyno: str) -> list[str]:
    """Everything that the log has of one dyno: `heroku: Restarting`, `app: its own words`."""
    form = re.compile(rf"\S+ (app|heroku)\[{re.escape(dyno)}\]: (.*)")
    return [f"{match[1]}: {match[2]}" for line in up.output.lines("stdout") if (match := form.fullmatch(line.text))]


# A dyno ends


def test_a_dyno_that_ends_is_started_again_at_once_and_then_later_and_later(tmp_path: Path) -> None:
    """The lines are Heroku's, in their order; the end is a crash whatever its status."""
    command = toy("exits_at_once", 0)
    with Up(app_folder(tmp_path, procfile={"worker": command})) as up:
        up.wait_for_line(r"heroku\[worker\.1\]: Starting again in \d s \(crash 3 in a row\)")
        said = said_of(up, "worker.1")
    cause = (
        "heroku: Cause: it ended by itself with status 0: a process of the Procfile has to go on, and not into the "
        "background"
    )
    run = [
        f"heroku: Starting process with command `{command}`",
        "heroku: State changed from starting to up",
        "app: exits with 0",
        "heroku: Process exited with status 0",
        cause,
        "heroku: State changed from up to crashed",
    ]
    again = "heroku: State changed from crashed to starting"
    assert said[:13] == [*run, again, *run]
    assert re.fullmatch(r"heroku: Starting again in 1 s \(crash 2 in a row\)", said[13])
    assert said[14:21] == [again, *run]
    assert re.fullmatch(r"heroku: Starting again in 2 s \(crash 3 in a row\)", said[21])


def test_a_web_dyno_that_ends_before_it_listens_was_never_up(tmp_path: Path) -> None:
    command = toy("exits_at_once", "SEGV")
    with Up(app_folder(tmp_path, procfile={"web": command})) as up:
        up.wait_for_line(r"crash 2 in a row")
        said = said_of(up, "web.1")
    run = [
        f"heroku: Starting process with command `{command}`",
        "app: exits with SEGV",
        "heroku: Process exited with status 139",
        "heroku: Cause: it crashed in native code: a library of its does not fit this machine, or has a bug",
        "heroku: State changed from starting to crashed",
    ]
    assert said[:11] == [*run, "heroku: State changed from crashed to starting", *run]


@pytest.mark.timeout(120)  # its daemon has 30 s to leave
def test_what_a_dyno_leaves_behind_is_gone_before_it_starts_again(tmp_path: Path) -> None:
    """Its daemon would else hold the port, the lock or the pipe."""
    with Up(app_folder(tmp_path, procfile={"worker": toy("daemonises", "stubborn", "leaves")})) as up:
        first = up.wait_for_line(r"app\[worker\.1\]: ready daemon=(\d+)")
        second = up.wait_for_line(r"app\[worker\.1\]: ready daemon=(\d+)", since=first.number + 1)
        assert first.group() != second.group()
        assert int(first.group()) not in {process.pid for process in up.processes()}


def test_a_program_that_cannot_be_executed_is_a_crash(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"worker": "./run"}, files={"run": "#!/nowhere/python\n"})
    (folder / "run").chmod(0o755)
    with Up(folder) as up:
        up.wait_for_line(r"crash 2 in a row")
        run = [
            "heroku: Starting process with command `./run`",
            "heroku: Process could not be started: ./run: No such file or directory",
            "heroku: State changed from starting to crashed",
        ]
        assert said_of(up, "worker.1")[:7] == [*run, "heroku: State changed from crashed to starting", *run]
    with Up(folder, "--on-exit", "stop") as up:
        assert up.wait() == 127


@pytest.mark.parametrize(("how", "status"), [("0", 0), ("3", 3), ("255", 255), ("KILL", 137), ("TERM", 143)])
def test_on_exit_stop_ends_with_the_dynos_status(tmp_path: Path, how: str, status: int) -> None:
    with Up(app_folder(tmp_path, procfile={"worker": toy("exits_at_once", how)}), "--on-exit", "stop") as up:
        assert up.wait() == status
        up.wait_for_line(
            rf"^dynod: worker\.1 exited with status {status}: stopping \(--on-exit stop\)$", stream="stderr"
        )
        assert said_of(up, "worker.1").count(f"heroku: Process exited with status {status}") == 1


def test_on_exit_stop_does_not_start_it_again_while_requests_are_in_flight(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": toy("web_server"), "job": "cat job-gate; exit 4"})
    os.mkfifo(folder / "job-gate")
    os.mkfifo(folder / "gate")
    with Up(folder, "--on-exit", "stop") as up:
        up.wait_until_up("web.1", "job.1")
        request = OpenRequest(up, "/gate/gate")
        up.wait_for_line(r"request waits at gate")
        (folder / "job-gate").write_text("")
        up.wait_for_line(r"^dynod: waiting up to 30 s for ", stream="stderr")
        up.send_signal(signal.SIGINT)  # the first one only says what a second one would do
        up.wait_for_line(
            r"^dynod: SIGINT: stopping already \(once more kills what is still running\)$", stream="stderr"
        )
        (folder / "gate").write_text("")
        assert request.answer() == (200, b"passed\n")
        assert up.wait() == 4
        assert said_of(up, "job.1")[1:] == [
            "heroku: State changed from starting to up",
            "heroku: Process exited with status 4",
            "heroku: State changed from up to crashed",
            "heroku: State changed from crashed to down",
        ]


def test_on_exit_stop_stops_the_others_whose_status_does_not_matter(tmp_path: Path) -> None:
    procfile = {"web": toy("web_server"), "worker": toy("waits"), "job": "cat gate; exit 4"}
    folder = app_folder(tmp_path, procfile=procfile)
    os.mkfifo(folder / "gate")
    with Up(folder, "--on-exit", "stop") as up:
        up.wait_until_up("web.1", "worker.1", "job.1")
        up.wait_for_line(r"app\[worker\.1\]: ready")
        (folder / "gate").write_text("")
        assert up.wait() == 4
        assert said_of(up, "worker.1")[-2:] == ["app: got SIGTERM", "heroku: Process exited with status 0"]
        assert said_of(up, "web.1")[-2:] == [
            "app: all requests are answered",
            "heroku: Process exited with status 0",
        ]


# dynod is told to end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_requests_in_flight_are_answered_before_any_dyno_is_told(tmp_path: Path, number: signal.Signals) -> None:
    folder = app_folder(tmp_path, procfile={"web": toy("web_server"), "worker": toy("waits")})
    os.mkfifo(folder / "gate")
    with Up(folder) as up:
        up.wait_until_up("web.1")
        up.wait_for_line(r"app\[worker\.1\]: ready")
        request = OpenRequest(up, "/gate/gate")
        up.wait_for_line(r"request waits at gate")
        up.send_signal(number)
        up.wait_for_line(
            rf"^dynod: {number.name}: stopping \(once more kills what is still running\)$", stream="stderr"
        )
        up.wait_for_line(r"^dynod: waiting up to 30 s for ", stream="stderr")
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", up.port)):
            pass
        assert not any("Stopping" in line.text for line in up.output.lines("stdout"))
        (folder / "gate").write_text("")
        assert request.answer() == (200, b"passed\n")
        assert up.wait() == 0
        assert said_of(up, "worker.1")[-4:] == [
            "heroku: State changed from up to down",
            "heroku: Stopping all processes with SIGTERM",
            "app: got SIGTERM",
            "heroku: Process exited with status 0",
        ]


def test_ctrl_c_reaches_dynod_alone_and_a_second_one_kills(tmp_path: Path) -> None:
    """A dyno has a session of its own: Ctrl-C means "please end in order", not SIGINT for everybody."""
    folder = app_folder(tmp_path, procfile={"worker": toy("ignores_sigterm"), "other": toy("waits")})
    with Up(folder, terminal=True) as up:
        up.wait_for_line(r"app\[worker\.1\]: +ready")
        up.wait_for_line(r"app\[other\.1\]: +ready")
        up.type("\x03")
        up.wait_for_line(r"app\[other\.1\]: +got SIGTERM")
        up.wait_for_line(r"app\[worker\.1\]: +SIGTERM: no")
        up.type("\x03")
        assert up.wait() == 130
        up.wait_for_line(r"heroku\[worker\.1\]: +Process exited with status 137")
        assert not any("R12" in line.text for line in up.output.lines())


def test_a_second_signal_cuts_requests_in_flight_too(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": toy("web_server")})
    os.mkfifo(folder / "gate")
    with Up(folder) as up:
        up.wait_until_up("web.1")
        request = OpenRequest(up, "/gate/gate")
        up.wait_for_line(r"request waits at gate")
        up.send_signal(signal.SIGHUP)
        up.wait_for_line(r"^dynod: SIGHUP", stream="stderr")
        assert up.stop(signal.SIGTERM) == 143
        with contextlib.suppress(OSError, http.client.HTTPException):  # whichever is seen first: the cut, or
            assert request.answer()[0] == 503  # the end of its dyno


def test_a_web_socket_is_the_dynos_to_close(tmp_path: Path) -> None:
    """It neither delays the end nor is cut: the client hears why (1001, going away), and the log has its line."""
    with Up(app_folder(tmp_path, procfile={"web": toy("websocket_echo")})) as up:
        up.wait_until_up("web.1")

        async def talk() -> None:
            url = up.router_url.replace("http://", "ws://")
            async with asyncio.timeout(30), connect(f"{url}/chat") as connection:
                assert await connection.recv() == "web.1"
                up.send_signal(signal.SIGTERM)
                with pytest.raises(ConnectionClosed):
                    await connection.recv()
                assert connection.close_code == 1001

        asyncio.run(talk())
        assert up.wait() == 0
        assert not any("waiting for requests" in line.text for line in up.output.lines())
        lines = [line.text for line in up.output.lines("stdout")]
        (ended,) = [number for number, line in enumerate(lines) if 'path="/chat"' in line and " status=101 " in line]
        (told,) = [number for number, line in enumerate(lines) if "Stopping all processes" in line]
        assert told < ended


@pytest.mark.timeout(120)
def test_who_ignores_sigterm_is_killed_after_30_s_and_reported(tmp_path: Path) -> None:
    procfile = {"worker": toy("ignores_sigterm"), "daemon": toy("daemonises", "stubborn"), "good": toy("waits")}
    with Up(app_folder(tmp_path, procfile=procfile)) as up:
        for dyno in ("worker.1", "daemon.1", "good.1"):
            up.wait_for_line(rf"app\[{re.escape(dyno)}\]: ready")
        assert up.stop() == 0
        killed = [f"heroku: {R12}", "heroku: Stopping remaining processes with SIGKILL"]
        assert said_of(up, "worker.1")[-5:] == [
            "heroku: Stopping all processes with SIGTERM",
            "app: SIGTERM: no",
            *killed,
            "heroku: Process exited with status 137",
        ]
        assert said_of(up, "daemon.1")[-4:] == [
            "heroku: Stopping all processes with SIGTERM",
            *killed,
            "heroku: Process exited with status 143",
        ]
        assert f"heroku: {R12}" not in said_of(up, "good.1")


def test_every_process_of_a_dyno_is_told_wherever_it_went(tmp_path: Path) -> None:
    procfile = {"worker": toy("forks_grandchildren"), "daemon": toy("daemonises"), "pipe": toy("holds_pipe_open")}
    with Up(app_folder(tmp_path, procfile=procfile)) as up:
        for name in ("parent", "child", "grandchild"):
            up.wait_for_line(rf"app\[worker\.1\]: {name} ready")
        up.wait_for_line(r"app\[daemon\.1\]: ready")
        up.wait_for_line(r"app\[pipe\.1\]: child ready")
        assert up.stop() == 0
        said = said_of(up, "worker.1")
        assert {f"app: {name} got SIGTERM" for name in ("parent", "child", "grandchild")} <= set(said)


def test_the_end_of_a_release_process_is_not_awaited(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"worker": toy("waits"), "release": toy("waits")})
    with Up(folder, "--release") as up:
        name = up.wait_for_line(r"app\[(release\.\d+)\]: ready").group()
        assert up.stop() == 0
        assert "app: got SIGTERM" in said_of(up, name)
        assert said_of(up, "worker.1") == []


def test_a_dyno_that_waits_for_its_next_start_does_not_delay_the_end(tmp_path: Path) -> None:
    with Up(app_folder(tmp_path, procfile={"worker": toy("exits_at_once", 1)})) as up:
        up.wait_for_line(r"crash 4 in a row")
        assert up.stop() == 0
        assert said_of(up, "worker.1")[-1] == "heroku: State changed from crashed to down"


def test_a_signal_while_it_starts(tmp_path: Path) -> None:
    """However far it has come."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with Up(app_folder(tmp_path, procfile={"worker": toy("waits")}, name=number.name)) as up:
            up.core_pid()
            assert up.stop(number) == 0


def test_under_nohup_a_hangup_ends_nothing(tmp_path: Path) -> None:
    up = Up(app_folder(tmp_path, procfile={"web": toy("web_server")}))
    up._command[:0] = ["nohup"]
    with up:
        up.wait_until_up("web.1")
        up.send_signal(signal.SIGHUP)
        assert up.get("/").status == 200
        assert up.stop() == 0
        assert not any("SIGHUP" in line.text for line in up.output.lines())


def test_a_terminal_that_is_closed_ends_it_in_order(tmp_path: Path) -> None:
    procfile = {"worker": "trap 'echo asked > asked; exit' TERM; echo ready; while :; do sleep 1; done"}
    folder = app_folder(tmp_path, procfile=procfile)
    up = Up(folder, "--no-color")
    up._command[:0] = [sys.executable, str(TOYS / "terminal.py")]
    with up:
        up.wait_for_line(r"app\[worker\.1\]: +ready")
        assert up.stop(signal.SIGKILL) == -signal.SIGKILL  # the terminal emulator; its terminal hangs up
        assert processes.wait_until_gone(up.mark, timeout_s=30) == []
        assert (folder / "asked").read_text() == "asked\n"


# dynod is killed


def test_no_process_outlives_a_killed_keeper(tmp_path: Path) -> None:
    procfile = {
        "web": toy("web_server"),
        "worker": toy("forks_grandchildren"),
        "daemon": toy("daemonises", "stubborn"),
        "stubborn": toy("ignores_sigterm"),
    }
    with Up(app_folder(tmp_path, procfile=procfile)) as up:
        up.wait_until_up("web.1")
        up.wait_for_line(r"app\[worker\.1\]: grandchild ready")
        up.wait_for_line(r"app\[daemon\.1\]: ready")
        up.wait_for_line(r"app\[stubborn\.1\]: ready")
        assert up.stop(signal.SIGKILL) == -signal.SIGKILL
        up.wait_for_line(r"^dynod: the keeper was killed: ending every dyno$", stream="stderr")


@pytest.mark.needs_ability("pdeathsig", reason="with keeper and core nobody is left who could end them")
def test_main_processes_do_not_outlive_keeper_and_core_killed_at_once(tmp_path: Path) -> None:
    """The kernel sees to it (PR_SET_PDEATHSIG). Nobody is left to clear up the files: the next `up` does."""
    folder = app_folder(tmp_path, procfile={"web": toy("web_server"), "stubborn": toy("ignores_sigterm")})
    with Up(folder) as up:
        up.wait_until_up("web.1")
        up.wait_for_line(r"app\[stubborn\.1\]: ready")
        core = up.core_pid()
        up.send_signal(signal.SIGSTOP)  # so that no next core is started in between
        os.kill(core, signal.SIGKILL)
        assert up.stop(signal.SIGKILL) == -signal.SIGKILL
        assert processes.wait_until_gone(up.mark, timeout_s=30) == []
        assert (folder / ".dynod").exists()
        with Up(folder, "stubborn=0", "web") as second:
            second.wait_until_up("web.1")
        for left in up.runtime.rglob("*.sock"):
            left.unlink()


def test_a_stopped_dynod_goes_on_where_it_was(tmp_path: Path) -> None:
    """Ctrl-Z and fg: the time asleep is no sign of a core that hangs."""
    with Up(app_folder(tmp_path, procfile={"web": toy("web_server")})) as up:
        up.wait_until_up("web.1")
        core, pids = up.core_pid(), up.dyno_pids()
        for pid in (up.pid, core):
            os.kill(pid, signal.SIGSTOP)
        eventually(lambda: Path(f"/proc/{core}/stat").read_text().split()[2] == "T", what="the core has stopped")
        for pid in (up.pid, core):
            os.kill(pid, signal.SIGCONT)
        assert up.get("/").status == 200
        assert (up.core_pid(), up.dyno_pids()) == (core, pids)
