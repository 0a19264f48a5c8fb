"""`dynod up` on a machine that is at its limits: R99 by its causes, and that everything comes right by itself."""

import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app_folder import app_folder, toy
from support.up import Up, eventually

R99 = "Error R99 (Platform error) -> Failed to launch the dyno within 10 seconds"
PIDS = Path("/sys/fs/cgroup/pids")  # version 1; its controller belongs to no other tree
ROOM = 12  # processes that the fork bomb may take
pytestmark = pytest.mark.timeout(120)


def said_of(up: Up, dyno: str) -> list[str]:
    form = re.compile(rf"\S+ heroku\[{re.escape(dyno)}\]: (.*)")
    return [match[1] for line in up.output.lines("stdout") if (match := form.fullmatch(line.text))]


def dynod(up: Up, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "dynod", *arguments], cwd=up.folder, check=True, capture_output=True, timeout=60
    )


def pids_group() -> Path | None:
    group = PIDS / f"dynod-test-{uuid.uuid4().hex}"
    try:
        group.mkdir()
    except OSError:
        return None
    if (group / "pids.max").exists():
        return group
    group.rmdir()
    return None


@pytest.fixture
def limited() -> Iterator[Path]:
    """A control group that bounds how many processes and threads there may be in it."""
    group = pids_group()
    if group is None:
        pytest.skip("this user may make no control group that counts processes")
    yield group
    eventually(lambda: not (group / "cgroup.procs").read_text(), what="the end of the group")
    group.rmdir()


def test_a_dyno_that_forks_up_to_the_limit_makes_others_wait_then_r99_and_all_comes_right(
    tmp_path: Path, limited: Path
) -> None:
    """What TasksMax of a service does: the core goes on, and so does everybody who runs."""
    folder = app_folder(
        tmp_path, procfile={"web": toy("web_server"), "worker": toy("waits"), "bomb": toy("forks_to_the_limit")}
    )
    with Up(folder, "web", "worker", "bomb=0") as up:
        up.wait_until_up("web.1", "worker.1")
        core, (web, *_) = up.core_pid(), up.dyno_pids()["web.1"]
        for process in up.processes():
            if process.pid == web:
                continue  # it starts a thread for each request, and is not what is tested
            (limited / "cgroup.procs").write_text(str(process.pid))
        (limited / "pids.max").write_text(str(int((limited / "pids.current").read_text()) + ROOM))
        dynod(up, "ps:scale", "bomb=1")
        up.wait_for_line(r"app\[bomb\.1\]: forked until Resource temporarily unavailable")
        dynod(up, "ps:scale", "worker=2")
        up.wait_for_line(re.escape(R99))
        assert up.get("/").status == 200, "whoever runs is not concerned"
        dynod(up, "ps:scale", "bomb=0")
        up.wait_until_up("worker.2")
        start = said_of(up, "worker.1")[0]
        said = said_of(up, "worker.2")
        assert said[:7] == [
            start,
            "Process could not be started yet: fork: Resource temporarily unavailable",
            "Process could not be started: fork: Resource temporarily unavailable",
            R99,
            "State changed from starting to crashed",
            "State changed from crashed to starting",
            start,
        ]
        assert said[-1] == "State changed from starting to up"
        assert (up.core_pid(), up.dyno_pids()["web.1"][0]) == (core, web)
        assert said_of(up, "web.1").count("State changed from starting to up") == 1
        assert said_of(up, "bomb.1")[-2:] == [
            "Stopping all processes with SIGTERM",
            "Process exited with status 143",
        ]


def test_a_program_on_a_file_system_that_hangs_holds_up_nobody_else(tmp_path: Path) -> None:
    folder = app_folder(
        tmp_path,
        procfile={"web": toy("web_server"), "slow": "./slow"},
        files={"slow": "#!/bin/sh\nexec sleep 1000\n"},
    )
    (folder / "slow").chmod(0o755)
    with Up(folder, "web", "slow=0") as up:
        up.wait_until_up("web.1")
        holder = subprocess.Popen(
            [sys.executable, toy("holds_file").split()[-1], folder / "slow"], stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        with holder, holder.stdout:
            assert holder.stdout.readline() == b"ready\n"
            dynod(up, "ps:scale", "slow=1", "web=2")
            up.wait_until_up("web.2")  # while the other one hangs
            up.wait_for_line(re.escape(R99))
            holder.terminate()
        up.wait_until_up("slow.1")
        assert said_of(up, "slow.1")[:7] == [
            "Starting process with command `./slow`",
            "Process could not be started: launch: Connection timed out",
            R99,
            "State changed from starting to crashed",
            "State changed from crashed to starting",
            "Starting process with command `./slow`",
            "State changed from starting to up",
        ]
        assert up.get("/").status == 200
