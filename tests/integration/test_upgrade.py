"""Another version of dynod takes over while requests go on, and one that cannot does no harm (issue 9, contracts 1).

Versions are environments side by side with a `current` link; `systemctl reload` is a SIGHUP to the keeper. Here there
is no systemd, and tests/integration/test_upgrade_as_a_service.py has it.
"""

import contextlib
import http.client
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from dynod.keeper.cores import Patience
from support.app_folder import toy
from support.attached_run import AttachedRun
from support.counts import rounds
from support.serve import Serve, ServedApp
from support.steady_load import SteadyLoad
from support.up import clean_environment, eventually
from support.versions import (
    CANNOT_READ_THE_STATE,
    DIES_AT_IMPORT,
    HANGS,
    HANGS_IN_CHARGE,
    SPEAKS_ANOTHER_PROTOCOL,
    Versions,
    dies_after,
)

UPGRADES = rounds(2, full=20)  # there and back by turns
BECOMES = rounds(2, full=10)  # the same where the keeper becomes another each time
REQUESTS = rounds(300, full=50_000)
pytestmark = pytest.mark.timeout(rounds(180, full=1800))
WEB = {"web": f"{toy('web_server')} --counts"}
BOTH = {**WEB, "worker": f"{toy('counts_to')} 1000000 0.05"}
# How long a version may take that never gets anywhere: contracts 1 say 30 s, and that is what runs in full.
READY_WITHIN_S = rounds(4, full=30)


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return Versions(tmp_path / "versions")


def upgrade(serve: Serve, versions: Versions, name: str) -> int:
    """Have an installed version take over; the process id of its core."""
    before, mark = serve.core_pid(), serve.output.mark()
    versions.choose(name)
    serve.send_signal(signal.SIGHUP)
    serve.wait_for_line("settings read again", since=mark, timeout_s=60)
    return core_of(serve, versions, name, other_than=before)


def core_of(serve: Serve, versions: Versions, name: str, *, other_than: int = 0) -> int:
    """The core of a version."""
    program = str(versions.folder / name / "bin" / "python")

    def look() -> int | None:
        cores = [p.pid for p in serve.processes() if "dynod.daemon" in p.command and p.command[0] == program]
        return next((pid for pid in cores if pid != other_than), None)

    return eventually(look, what=f"a core of version {name}")


def websocket(serve: Serve) -> ClientConnection:
    """To the app's dyno; it echoes."""
    return connect(f"ws://shop.localhost:{serve.port}/", sock=socket.create_connection(("127.0.0.1", serve.port)))


class Tail:
    """`dynod logs --tail`, and the numbers that a worker counted."""

    def __init__(self, serve: Serve, folder: Path) -> None:
        self.numbers: list[int] = []
        self._child = subprocess.Popen(
            [sys.executable, "-m", "dynod", "logs", "--tail", "-a", "shop", "-s", "app", "-p", "worker"],
            env={**clean_environment(), "DYNOD_SOCKET": str(serve.socket)},
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self.numbers += [int(found) for found in re.findall(r"number (\d+)$", line)]

    def goes_on(self) -> None:
        """Until it has brought more than it has by now."""
        count = len(self.numbers)
        eventually(lambda: len(self.numbers) > count + 5, what="the tail goes on")

    def end(self) -> list[int]:
        self._child.kill()
        self._child.wait()
        self._reader.join()
        assert self._child.stdout is not None
        self._child.stdout.close()
        return self.numbers


@contextlib.contextmanager
def running(
    versions: Versions,
    parent: Path,
    *,
    procfile: Mapping[str, str] = WEB,
    toml: str = "",
    patience: Patience | None = None,
) -> Iterator[ServedApp]:
    """The first version, with an app."""
    with Serve(parent / "state", python=versions.add("1"), toml=toml, patience=patience) as serve:
        app = serve.app(parent, "shop", procfile=procfile, quantities=dict.fromkeys(procfile, 1))
        app.wait_until_up(*(f"{kind}.1" for kind in procfile))
        yield app


def test_no_request_fails_and_no_dyno_restarts_over_upgrades_and_rollbacks(versions: Versions, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with running(versions, tmp_path, procfile=BOTH) as app:
        serve, pids = app.serve, app.pids()
        versions.add("2")
        tail = Tail(serve, tmp_path)
        tail.goes_on()
        with SteadyLoad(serve.port, "shop.localhost", seed=seed) as load:
            load.wait_for(100, timeout_s=60)
            switches = []
            for number in range(UPGRADES):
                upgrade(serve, versions, "21"[number % 2])
                switches.append(time.monotonic())
                load.wait_for(max(load.sent + 50, REQUESTS * (number + 1) // UPGRADES), timeout_s=900)
        tail.goes_on()
        assert app.pids() == pids
        in_flight = [sum(one.began < at < one.ended for one in load.served) for at in switches]
        retried = sum("retries=" in line for line in app.log())
        print(f"sent {load.sent}, posts {load.posts}, upgrades {UPGRADES}: {dict(load.outcomes)}")
        print(f"retried {retried}, in flight at each switch {in_flight}")
        assert set(load.outcomes) == {"ok"}, load.outcomes
        found = tail.end()
        assert found == list(range(found[0], found[-1] + 1)), "a line is missing, or there twice"
        asked = eventually(lambda: lines_of_requests(app) >= load.sent and lines_of_requests(app), what="every line")
        assert asked == load.sent, "a line for each request, and one only"
        assert not any("State changed from up" in line for line in app.log())
        eventually(lambda: len(cores(serve)) == 1, what="the end of every retired core", timeout_s=120)


def lines_of_requests(app: ServedApp) -> int:
    return sum("heroku[router]: at=info" in line and 'path="/after/' in line for line in app.log())


def cores(serve: Serve) -> list[int]:
    return [process.pid for process in serve.processes() if "dynod.daemon" in process.command]


# --- versions that cannot ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("breaks", "why"),
    [
        (DIES_AT_IMPORT, r"the new core ended \(exit status 3\)"),
        (HANGS, r"the new core ended \(SIG(ABRT|KILL)\): it was not ready in time"),
        (CANNOT_READ_THE_STATE, r"the new core ended \(exit status 70\)"),
    ],
    ids=["dies at import", "hangs", "cannot migrate the state"],
)
def test_a_version_that_cannot_start_changes_nothing(versions: Versions, tmp_path: Path, breaks: str, why: str) -> None:
    with running(versions, tmp_path, patience=Patience(ready_within_s=READY_WITHIN_S)) as app:
        serve, pids, core = app.serve, app.pids(), app.serve.core_pid()
        versions.add("2", breaks=breaks)
        serve.send_signal(signal.SIGHUP)
        serve.wait_for_line(rf"upgrade refused, dynod .* goes on: {why}", timeout_s=READY_WITHIN_S + 30)
        serve.wait_for_line("settings read again")
        assert (app.pids(), cores(serve), app.get("/").status) == (pids, [core], 200)
        versions.add("3")
        upgrade(serve, versions, "3")  # the next one may
        assert (app.pids(), app.get("/").status) == (pids, 200)


def test_a_version_that_hangs_once_it_is_in_charge_is_followed_by_the_previous_one(
    versions: Versions, tmp_path: Path
) -> None:
    """It has everything and never says that it is in control: it is not tried again."""
    with running(versions, tmp_path, patience=Patience(take_over_s=2.0)) as app:
        serve, pids = app.serve, app.pids()
        versions.add("2", breaks=HANGS_IN_CHARGE)
        serve.send_signal(signal.SIGHUP)
        serve.wait_for_line(r"the core ended \(SIG(ABRT|KILL)\), as the new version's do: going back to the previous")
        core_of(serve, versions, "1")
        eventually(lambda: app.get("/").status == 200, what="answers")
        assert app.pids() == pids


def test_a_version_that_dies_again_and_again_is_followed_by_the_previous_one(
    versions: Versions, tmp_path: Path
) -> None:
    """Within 35 s of the reload (issue 9), and in between it serves, too."""
    lived_s = rounds(2, full=5)
    with running(versions, tmp_path) as app:
        serve, pids = app.serve, app.pids()
        versions.add("2", breaks=dies_after(lived_s))
        serve.send_signal(signal.SIGHUP)
        serve.wait_for_line(
            r"the core ended \(exit status 9\), as the new version's do: going back to .*/versions/1/bin/python",
            timeout_s=90,
        )
        core_of(serve, versions, "1")
        eventually(lambda: app.get("/").status == 200, what="answers")
        assert app.pids() == pids
        assert (
            sum("the core ended (exit status 9)" in line.text for line in serve.output.lines()) == 4
        )  # the last twice
        versions.choose("1")
        serve.send_signal(signal.SIGHUP)  # and reloads are reloads again
        eventually(lambda: app.pids() == pids, what="the dynos")


# --- what the old core still has --------------------------------------------------------------------------------------


def test_a_websocket_stays_until_its_deadline_and_a_dyno_until_its_requests_are_answered(
    versions: Versions, tmp_path: Path
) -> None:
    with running(
        versions,
        tmp_path,
        procfile={"web": toy("websocket_echo")},
        toml="[serve]\nupgrade_drain_s = 4\n",
    ) as app:
        serve = app.serve
        versions.add("2")
        with websocket(serve) as open_one:
            assert open_one.recv() == "web.1"
            upgrade(serve, versions, "2")
            open_one.send("still there")
            assert open_one.recv() == "still there"
            assert len(cores(serve)) == 2
            with pytest.raises(ConnectionClosed):
                open_one.recv(timeout=60)
        eventually(lambda: len(cores(serve)) == 1, what="the end of the retired core")


def test_a_dyno_is_not_stopped_before_a_retired_core_has_its_answer(versions: Versions, tmp_path: Path) -> None:
    with running(versions, tmp_path) as app:
        serve, before = app.serve, app.pids()["web.1"]
        versions.add("2")
        connection = http.client.HTTPConnection("127.0.0.1", serve.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", "/after/4000", b"a body", {"Host": "shop.localhost"})
            upgrade(serve, versions, "2")
            app.restart(dyno="web.1")
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"a body")
            assert int(response.headers["X-Pid"]) == before
            assert response.headers["Connection"] == "close", "the next request is the new core's"
        app.wait()
        assert app.pids()["web.1"] != before
        app.wait_for_log(r'heroku\[router\]: at=info method=POST path="/after/4000".* status=200')


def test_whoever_is_attached_to_a_one_off_dyno_goes_on_with_the_other_core(versions: Versions, tmp_path: Path) -> None:
    """What was typed comes once, and what was written too: a core that is retired reads no terminal and no pipe."""
    echo = "import sys; [print(line.strip(), flush=True) for line in sys.stdin]; print('end')"
    with running(versions, tmp_path) as app:
        serve = app.serve
        versions.add("2")
        command = ("-a", "shop", "--", sys.executable, "-c", echo)
        environment = {"DYNOD_SOCKET": str(serve.socket)}
        with AttachedRun(serve, *command, folder=tmp_path, env=environment) as session:
            session.type("".join(f"line {number}\n" for number in range(300)))
            session.wait_for_line(r"^line 200$")
            upgrade(serve, versions, "2")
            session.type("".join(f"line {number}\n" for number in range(300, 600)))
            session.end_input()
            assert session.wait() == 0
            session.output.wait_for_end()
            lines = [line.text for line in session.output.lines("stdout")]
            assert lines == [*(f"line {number}" for number in range(600)), "end"]


def test_a_stop_waits_for_the_requests_of_a_retired_core(versions: Versions, tmp_path: Path) -> None:
    with running(versions, tmp_path) as app:
        serve = app.serve
        versions.add("2")
        connection = http.client.HTTPConnection("127.0.0.1", serve.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", "/after/3000", b"a body", {"Host": "shop.localhost"})
            upgrade(serve, versions, "2")
            stopping = threading.Thread(target=serve.stop)
            stopping.start()
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"a body")
            stopping.join()


def test_a_core_that_is_killed_in_an_upgrade_is_replaced_and_no_other_is_left(
    versions: Versions, tmp_path: Path
) -> None:
    """While the new one rehearses: the old version goes on. A retired one: its connections end, and nothing else."""
    with running(versions, tmp_path, procfile={"web": toy("websocket_echo")}) as app:
        serve, pids = app.serve, app.pids()
        versions.add("2", breaks=HANGS)
        serve.send_signal(signal.SIGHUP)
        rehearsing = core_of(serve, versions, "2")
        owner = core_of(serve, versions, "1")
        os.kill(owner, signal.SIGKILL)
        core_of(serve, versions, "1", other_than=owner)
        eventually(lambda: rehearsing not in cores(serve), what="the end of the one that rehearsed")
        serve.wait_for_line("settings read again")  # which was asked for, too
        assert app.pids() == pids
        versions.add("3")
        with websocket(serve) as open_one:
            assert open_one.recv() == "web.1"
            retired = core_of(serve, versions, "1", other_than=owner)
            upgrade(serve, versions, "3")
            os.kill(retired, signal.SIGKILL)
            with pytest.raises(ConnectionClosed):
                open_one.recv(timeout=60)
        assert app.pids() == pids
        app.restart(dyno="web.1")  # which waits for nobody that is gone
        app.wait()


# --- another protocol between keeper and core -------------------------------------------------------------------------


def keeper_program(serve: Serve) -> str:
    return Path(f"/proc/{serve.pid}/cmdline").read_bytes().split(b"\0")[0].decode()


def test_a_keeper_becomes_that_of_a_version_with_another_protocol_and_goes_back(
    versions: Versions, tmp_path: Path
) -> None:
    """The same process with the same children: dynos, their pipes and exits, sockets, and requests go on."""
    with running(versions, tmp_path, procfile=BOTH) as app:
        serve, pids = app.serve, app.pids()
        versions.add("2", breaks=SPEAKS_ANOTHER_PROTOCOL)
        assert keeper_program(serve).endswith("versions/1/bin/python")
        with SteadyLoad(serve.port, "shop.localhost", seed=9) as load:
            load.wait_for(50, timeout_s=60)
            for number in range(BECOMES):
                name = "21"[number % 2]
                upgrade(serve, versions, name)
                assert keeper_program(serve).endswith(f"versions/{name}/bin/python")
                load.wait_for(load.sent + 50, timeout_s=60)
        assert set(load.outcomes) == {"ok"}, load.outcomes
        assert app.pids() == pids
        numbers = [int(line.split()[-1]) for line in app.log() if line.startswith("app[worker.1]: number")]
        assert numbers == list(range(len(numbers)))
        eventually(lambda: len(cores(serve)) == 1, what="one core", timeout_s=120)
        (core,) = cores(serve)
        os.kill(core, signal.SIGKILL)  # a crash is a crash
        core_of(serve, versions, name, other_than=core)
        worker = pids["worker.1"]
        assert worker is not None
        os.kill(worker, signal.SIGKILL)  # and an exit an exit
        app.wait_for_log(r"heroku\[worker\.1\]: Process exited with status 137")
        app.restart(dyno="web.1")
        app.wait()
        assert {*app.pids().values()}.isdisjoint({*pids.values()})


def test_a_keeper_goes_back_with_a_version_that_does_not_stay(versions: Versions, tmp_path: Path) -> None:
    with running(versions, tmp_path) as app:
        serve, pids = app.serve, app.pids()
        versions.add("2", breaks=SPEAKS_ANOTHER_PROTOCOL + dies_after(0))
        serve.send_signal(signal.SIGHUP)
        serve.wait_for_line("going back to the previous version, .*versions/1/bin/python", timeout_s=60)
        eventually(lambda: keeper_program(serve).endswith("versions/1/bin/python"), what="the keeper it was")
        core_of(serve, versions, "1")
        eventually(lambda: app.get("/").status == 200, what="answers")
        assert app.pids() == pids


def test_a_keeper_that_cannot_become_another_stays_what_it_is(versions: Versions, tmp_path: Path) -> None:
    with running(versions, tmp_path) as app:
        serve, pids = app.serve, app.pids()
        gone = "import os, sys\nfrom dynod.keeper.client import KeeperClient\nthen = KeeperClient.stand_by\n"
        gone += "def stand_by(self):\n    os.unlink(sys.executable)\n    return then(self)\n"
        versions.add("2", breaks=f"{SPEAKS_ANOTHER_PROTOCOL}{gone}KeeperClient.stand_by = stand_by\n")
        serve.send_signal(signal.SIGHUP)
        serve.wait_for_line(r"the keeper cannot become that of .*versions/2/bin/python: .*No such file")
        core_of(serve, versions, "1")
        eventually(lambda: app.get("/").status == 200, what="answers")
        assert (app.pids(), keeper_program(serve)) == (pids, str(versions.folder / "1" / "bin" / "python"))
