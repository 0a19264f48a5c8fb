"""`kill -9` of the core under `dynod up`: same dynos, statuses and lines, and nobody is refused (contracts 1)."""

import contextlib
import http.client
import os
import re
import signal
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from dynod.platform_api.http_connection import UnixConnection
from support.abilities import in_hand
from support.app_folder import app_folder, toy
from support.counts import rounds
from support.open_request import OpenRequest
from support.up import Up, eventually

ROUNDS = rounds(5, full=100)  # cores that die one after the other are started ever later: 10 s each at last
MOST_IN_HAND = 100  # lines of a worker that writes one every few milliseconds
pytestmark = pytest.mark.timeout(rounds(120, full=1800))


ENDED = re.compile(r"dynod: the core ended \(SIGKILL\); dynos are untouched, the next core starts (now|in [\d.]+ s)")


def kill_core(up: Up) -> None:
    """And wait until another one is in charge: it has something to say of its own accord only sometimes."""
    core = up.core_pid()
    os.kill(core, signal.SIGKILL)
    up.core_pid(other_than=core)


def log_of(up: Up, dyno: str) -> list[str]:
    form = re.compile(rf"\S+ (app|heroku)\[{re.escape(dyno)}\]: (.*)")
    return [f"{match[1]}: {match[2]}" for line in up.output.lines("stdout") if (match := form.fullmatch(line.text))]


class Client:
    """Asks again and again, each time over a connection of its own, and counts what came of it."""

    def __init__(self, up: Up) -> None:
        self._up = up
        self.outcomes: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._done = False
        self._thread = threading.Thread(target=self._ask, name="client")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done = True
        self._thread.join()

    def wait_for_answers(self, count: int) -> None:
        """That many more with status 200."""
        with self._changed:
            wanted = self.outcomes["200"] + count
            assert self._changed.wait_for(lambda: self.outcomes["200"] >= wanted, timeout=30), self.outcomes

    def _ask(self) -> None:
        while not self._done:
            try:
                outcome = str(self._up.get("/").status)
            except ConnectionRefusedError:
                outcome = "refused"
            except (OSError, http.client.HTTPException):
                outcome = "died with the core"
            with self._changed:
                self.outcomes[outcome] += 1
                self._changed.notify_all()


def test_cores_are_killed_under_load_and_nothing_is_missed(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": toy("web_server"), "worker": toy("counts")})
    with Up(folder, "web=2", "worker") as up:
        up.wait_until_up("web.1", "web.2")
        pids = up.dyno_pids()
        with Client(up) as client:
            for _ in range(ROUNDS):
                client.wait_for_answers(20)
                kill_core(up)
            client.wait_for_answers(20)
        assert client.outcomes["refused"] == 0
        assert client.outcomes["died with the core"] <= ROUNDS
        assert set(client.outcomes) <= {"200", "died with the core"}
        assert up.dyno_pids() == pids
        deaths = [line.text for line in up.output.lines("stderr")[1:]]
        assert len(deaths) == ROUNDS
        assert all(ENDED.fullmatch(death) for death in deaths), deaths
        assert up.stop() == 0
        up.wait_for_line(r"app\[worker\.1\]: last")
    assert_counted(log_of(up, "worker.1"), may_be_missing=in_hand(ROUNDS * MOST_IN_HAND))
    for dyno in ("web.1", "web.2", "worker.1"):
        assert sum(line.startswith("heroku: Starting process") for line in log_of(up, dyno)) == 1
        assert log_of(up, dyno).count("heroku: State changed from starting to up") == 1
        assert log_of(up, dyno)[-1] == "heroku: Process exited with status 0"


def test_a_core_that_hangs_under_load_is_replaced_and_nothing_is_missed(tmp_path: Path) -> None:
    """Stopped, as one in an endless loop would be; whoever asks meanwhile waits in the backlog, or is cut off."""
    folder = app_folder(tmp_path, procfile={"web": toy("web_server"), "worker": toy("counts")})
    with Up(folder, "web=2", "worker") as up:
        up.wait_until_up("web.1", "web.2")
        pids, core = up.dyno_pids(), up.core_pid()
        with Client(up) as client:
            client.wait_for_answers(20)
            os.kill(core, signal.SIGSTOP)
            up.core_pid(other_than=core)
            client.wait_for_answers(20)
        assert client.outcomes["refused"] == 0
        assert client.outcomes["died with the core"] <= 1
        assert up.dyno_pids() == pids
        said = [line.text for line in up.output.lines("stderr")[1:]]
        assert said[0] == f"dynod: the core gives no sign of life: replacing it (pid {core})"
        assert ENDED.fullmatch(said[-1])
        assert up.stop() == 0
        up.wait_for_line(r"app\[worker\.1\]: last")
    assert_counted(log_of(up, "worker.1"), may_be_missing=in_hand(MOST_IN_HAND))
    for dyno in ("web.1", "web.2", "worker.1"):
        states = [line for line in log_of(up, dyno) if "State changed" in line]
        assert states == ["heroku: State changed from starting to up", "heroku: State changed from up to down"]
        assert log_of(up, dyno)[-1] == "heroku: Process exited with status 0"


def assert_counted(said: list[str], *, may_be_missing: int) -> None:
    """Every number from 1 to the last is there, in order, some perhaps twice."""
    highest = missing = 0
    for line in said:
        if match := re.fullmatch(r"app: line (\d+)", line):
            number = int(match[1])
            missing += max(0, number - highest - 1)
            assert missing <= may_be_missing, f"lines {highest + 1} to {number - 1} are missing"
            highest = max(highest, number)
    assert said.index(f"app: last {highest}") > 0
    assert highest > 100


def test_cores_that_are_killed_while_nothing_is_written_leave_no_empty_line(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": toy("web_server")})
    with Up(folder) as up:
        up.wait_until_up("web.1")
        for number in range(4):
            assert up.get(f"/{number}").status == 200
            up.wait_for_line(rf'heroku\[router\]: .* path="/{number}"')
            idle(up)
            kill_core(up)
        assert up.stop() == 0
    texts = [line.text for line in up.output.lines("stdout")]
    assert "" not in texts
    assert all(text.count("heroku[") + text.count("app[") == 1 for text in texts), "none is glued to another"


def idle(up: Up) -> None:
    """The loop has waited between two questions, so the thread that writes has had its turn."""
    (control,) = up.runtime.rglob("*.sock")
    for _ in range(3):
        with contextlib.closing(UnixConnection(str(control), 30.0)) as connection:
            connection.request("GET", "/apps")
            assert connection.getresponse().read()


@pytest.mark.needs_ability(
    "tee", "epoll", reason="half a line that was seen is out of its pipe, and dies with the core"
)
def test_a_line_that_was_half_written_is_shown_whole(tmp_path: Path) -> None:
    worker = "printf 'half of'; cat gate; echo; sleep 1000"
    folder = app_folder(tmp_path, procfile={"worker": worker, "other": toy("waits")})
    os.mkfifo(folder / "gate")
    with Up(folder) as up:
        up.wait_for_line(r"app\[other\.1\]: ready")
        kill_core(up)
        (folder / "gate").write_text(" a line")
        up.wait_for_line(r"app\[worker\.1\]: half of a line$")
        assert up.stop() == 0
    assert [line for line in log_of(up, "worker.1") if line.startswith("app")] == ["app: half of a line"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, 137), (signal.SIGUSR1, 0)])
def test_a_dyno_that_ended_while_no_core_lived_is_reported_and_started_again(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    folder = app_folder(tmp_path, procfile={"worker": toy("waits"), "web": toy("web_server")})
    with Up(folder) as up:
        up.wait_until_up("web.1")
        first = up.wait_for_line(r"app\[worker\.1\]: ready pid=(\d+)")
        up.send_signal(signal.SIGSTOP)  # the keeper: it starts no core until all is over
        os.kill(up.core_pid(), signal.SIGKILL)
        os.kill(int(first.group()), number)
        up.send_signal(signal.SIGCONT)
        second = up.wait_for_line(r"app\[worker\.1\]: ready pid=(\d+)", since=first.number + 1)
        assert second.group() != first.group()
        assert up.get("/").status == 200
    said = [line for line in log_of(up, "worker.1") if not line.startswith("heroku: Cause: ")]
    crash = said.index(f"heroku: Process exited with status {status}")
    assert said[crash + 1 : crash + 4] == [
        "heroku: State changed from up to crashed",
        "heroku: State changed from crashed to starting",
        f"heroku: Starting process with command `{toy('waits')}`",
    ]
    assert said.count("heroku: State changed from up to crashed") == 1


def test_crashes_are_counted_on_and_a_delay_is_not_cut_short(tmp_path: Path) -> None:
    with Up(app_folder(tmp_path, procfile={"worker": toy("exits_at_once", 1)})) as up:
        fourth = up.wait_for_line(r"Starting again in \d s \(crash 4 in a row\)")
        kill_core(up)
        again = up.wait_for_line(r"heroku\[worker\.1\]: State changed from crashed to starting", since=fourth.number)
        up.wait_for_line(r"Starting again in \d+ s \(crash 5 in a row\)", since=again.number)
        assert up.stop() == 0
    waited_s = seconds(again.text) - seconds(fourth.text)
    assert waited_s % 60 >= 3.9  # 5 s, up to a fifth less


def seconds(line: str) -> float:
    """Of the minute, from a line's own time."""
    return float(line[17:26])


def test_a_dyno_that_boots_meanwhile_is_found(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": toy("web_server", "--gate", "gate")})
    os.mkfifo(folder / "gate")
    with Up(folder) as up:
        up.wait_for_line(r"app\[web\.1\]: waits before it binds")
        (pid,) = up.dyno_pids()["web.1"]
        up.send_signal(signal.SIGSTOP)
        os.kill(up.core_pid(), signal.SIGKILL)
        (folder / "gate").write_text("")
        eventually(lambda: listens(pid), what="the dyno listens")
        up.send_signal(signal.SIGCONT)
        assert up.get("/").status == 200
        up.wait_until_up("web.1")
        assert up.dyno_pids()["web.1"] == [pid]


def listens(pid: int) -> bool:
    """Whether the process has a TCP socket that listens."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since
            inodes.add(str(entry.readlink()))
    listening = [line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines() if " 0A " in line]
    return any(f"socket:[{inode}]" in inodes for inode in listening)


def test_the_release_process_is_run_once(tmp_path: Path) -> None:
    procfile = {"release": "echo ran >> runs; cat gate", "web": toy("web_server")}
    folder = app_folder(tmp_path, procfile=procfile)
    os.mkfifo(folder / "gate")
    with Up(folder, "--release") as up:
        up.wait_for_line(r"heroku\[release\.\d+\]: State changed from starting to up")
        kill_core(up)
        assert set(up.dyno_pids()) == {up.wait_for_line(r"heroku\[(release\.\d+)\]").group()}
        (folder / "gate").write_text("")
        up.wait_until_up("web.1")
        kill_core(up)
        assert up.get("/").status == 200
        assert (folder / "runs").read_text() == "ran\n"


def test_a_release_that_fails_while_no_core_lives_still_ends_up(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"release": "cat gate; exit 3", "web": toy("web_server")})
    os.mkfifo(folder / "gate")
    with Up(folder, "--release") as up:
        name = up.wait_for_line(r"heroku\[(release\.\d+)\]: State changed from starting to up").group()
        (pid, *_) = up.dyno_pids()[name]
        up.send_signal(signal.SIGSTOP)
        os.kill(up.core_pid(), signal.SIGKILL)
        (folder / "gate").write_text("")
        eventually(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z", what="the release has ended")
        up.send_signal(signal.SIGCONT)
        assert up.wait() == 3
        up.wait_for_line(r"^dynod: the release process failed with status 3: nothing was started$", stream="stderr")


# The core dies while dynod ends


def test_a_signal_while_no_core_lives_is_not_lost(tmp_path: Path) -> None:
    with Up(app_folder(tmp_path, procfile={"web": toy("web_server"), "worker": toy("waits")})) as up:
        up.wait_until_up("web.1")
        up.wait_for_line(r"app\[worker\.1\]: ready")
        up.send_signal(signal.SIGSTOP)
        os.kill(up.core_pid(), signal.SIGKILL)
        up.send_signal(signal.SIGTERM)
        up.send_signal(signal.SIGCONT)
        assert up.wait() == 0
        up.wait_for_line(r"^dynod: SIGTERM: stopping", stream="stderr")
        assert log_of(up, "worker.1")[-4:] == [
            "heroku: State changed from up to down",
            "heroku: Stopping all processes with SIGTERM",
            "app: got SIGTERM",
            "heroku: Process exited with status 0",
        ]


def test_a_stop_goes_on(tmp_path: Path) -> None:
    """Its deadline runs in the keeper; a second signal still works."""
    folder = app_folder(tmp_path, procfile={"worker": toy("ignores_sigterm"), "other": toy("waits")})
    with Up(folder) as up:
        up.wait_for_line(r"app\[worker\.1\]: ready")
        up.wait_for_line(r"app\[other\.1\]: ready")
        up.send_signal(signal.SIGTERM)
        up.wait_for_line(r"app\[worker\.1\]: SIGTERM: no")
        kill_core(up)
        assert up.stop(signal.SIGTERM) == 143
        assert log_of(up, "other.1")[-1] == "heroku: Process exited with status 0"
        assert log_of(up, "worker.1")[-1] == "heroku: Process exited with status 137"


def test_on_exit_stop_keeps_its_status(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": toy("web_server"), "job": "cat job-gate; exit 4"})
    os.mkfifo(folder / "job-gate")
    os.mkfifo(folder / "gate")
    with Up(folder, "--on-exit", "stop") as up:
        up.wait_until_up("web.1", "job.1")
        request = OpenRequest(up, "/gate/gate")
        up.wait_for_line(r"request waits at gate")
        (folder / "job-gate").write_text("")
        up.wait_for_line(r"^dynod: waiting up to 30 s for ", stream="stderr")
        kill_core(up)
        with pytest.raises((OSError, http.client.HTTPException)):
            request.answer()  # it dies with the core, and nobody waits for it any more
        (folder / "gate").write_text("")
        assert up.wait() == 4
