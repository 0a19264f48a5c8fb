"""What control groups add to the process table: whoever a dyno forks belongs to it, whatever it does to hide."""

import os
import signal
from pathlib import Path

import pytest

from dynod.keeper import cgroups
from support.app_folder import app_folder, toy
from support.up import Up, eventually

pytestmark = pytest.mark.needs_ability(
    "cgroup", reason="only a group holds a daemon that has left session, parents and marks"
)


@pytest.fixture(autouse=True)
def groups() -> None:
    found = cgroups.find(os.getpid())
    if found is None:
        pytest.skip("this user may make no control group here")
    found.remove_all()


def folder_of(up: Up) -> Path:
    found = cgroups.find(up.pid)
    assert found is not None
    return Path(found.root)


def worker(tmp_path: Path) -> Path:
    return app_folder(tmp_path, procfile={"worker": toy("hides")})


def is_alive(pid: int) -> bool:
    """Who was killed and waits for init to take its status is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_daemon_without_any_mark_is_ended_with_its_dyno(tmp_path: Path) -> None:
    with Up(worker(tmp_path), "--no-color") as up:
        hidden = int(up.wait_for_line(r"hidden pid=(\d+)").group())
        groups_of_dynos = [path for path in folder_of(up).iterdir() if path.is_dir()]
        assert len(groups_of_dynos) == 1
        assert str(hidden) in (groups_of_dynos[0] / "cgroup.procs").read_text().split()
        up.send_signal(signal.SIGTERM)
        up.wait_for_line(r"SIGTERM: stopping")
        up.send_signal(signal.SIGTERM)  # it ignores the signal, and nobody waits 30 s here
        assert up.wait() == 128 + signal.SIGTERM
        assert not is_alive(hidden)
        assert not folder_of(up).parent.joinpath(f"dynod-{up.pid}", groups_of_dynos[0].name).exists()
        cgroups.Groups(str(folder_of(up))).remove_all()


def test_it_does_not_outlive_a_keeper_that_is_killed(tmp_path: Path) -> None:
    with Up(worker(tmp_path)) as up:
        hidden = int(up.wait_for_line(r"hidden pid=(\d+)").group())
        root = folder_of(up)
        assert up.stop(signal.SIGKILL) == -signal.SIGKILL
        eventually(lambda: not root.exists() and not is_alive(hidden), what="the end of the group and the daemon")


def test_the_next_dynod_ends_what_a_keeper_and_core_killed_together_have_left(tmp_path: Path) -> None:
    with Up(worker(tmp_path)) as up:
        hidden = int(up.wait_for_line(r"hidden pid=(\d+)").group())
        root = folder_of(up)
        core = up.core_pid()
        os.kill(core, signal.SIGSTOP)  # so that it clears nothing up when the keeper goes
        os.kill(up.pid, signal.SIGKILL)
        os.kill(core, signal.SIGKILL)
        up.wait()
        assert is_alive(hidden)
        found = cgroups.find(os.getpid())  # what a keeper does at its start
        assert found is not None
        found.remove_all()
        eventually(lambda: not is_alive(hidden), what="the end of the daemon")
        assert not root.exists()
        for path in (*up.runtime.rglob("up-*"), *(up.folder / ".dynod").glob("*")):
            if path.is_file() or path.is_socket():
                path.unlink()  # a crash of both leaves these, and the next dynod up in the folder takes them over
        (up.folder / ".dynod").rmdir()
