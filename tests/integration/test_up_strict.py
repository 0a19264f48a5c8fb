"""`dynod up --strict`: the folder in containers as with `serve`, and what is different from `up` without it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app_folder import app_folder, toy
from support.attached_run import AttachedRun
from support.boxed import AS_NOBODY, NOBODY, BoxedUp, needs_root
from support.contained import needs_containers, visible
from support.up import Up

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.needs_ability("subreaper", "proc", reason="containers are Linux's, and so are these"),
]
WORKER = "pwd; echo $HOME $GREETING $TMPDIR; id -u; echo x >>kept; ls; ls /proc | grep -c '^[0-9]'; exec sleep 1000\n"


def folder_of(tmp_path: Path) -> Path:
    folder = app_folder(
        tmp_path,
        procfile={"web": toy("web_server"), "worker": "sh worker.sh"},
        files={".env": "GREETING=hello\n", "worker.sh": WORKER, "kept": "as it was\n"},
        name="strict",
    )
    (folder / "dynod.toml").write_text(f"[container]\nvisible = {visible()}\n")
    return folder


def of_worker(up: Up) -> list[str]:
    """What it has printed so far."""
    return [line.text.partition("]: ")[2].strip() for line in up.output.lines("stdout") if "app[worker.1]" in line.text]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    needs_containers()
    environment = {"XDG_STATE_HOME": str(tmp_path / "state"), "TMPDIR": str(tmp_path)}
    with Up(folder_of(tmp_path), "--strict", env=environment) as running:
        yield running
    assert list((tmp_path / "state").rglob("*")) == [tmp_path / "state" / "dynod"]


def test_the_folder_is_seen_at_app_and_stays_as_it_is(up: Up, tmp_path: Path) -> None:
    up.wait_until_up("web.1", "worker.1")
    assert up.get("/").status == 200
    up.wait_for_line(r"app\[worker\.1\]: +/app hello$")
    up.wait_for_line(r"app\[worker\.1\]: +worker.sh$")
    said = of_worker(up)
    assert said[0] == "/app"
    uid = next(int(line) for line in said if line.isdigit())
    assert uid >= 1_900_000_000 if os.geteuid() == 0 else uid == os.geteuid()
    core = up.core_pid()
    os.kill(core, signal.SIGKILL)
    up.core_pid(other_than=core)
    assert up.get("/").status == 200
    with AttachedRun(up, "-a", "strict", "--no-tty", "--", "sh", "-c", "pwd; cat kept") as session:
        assert session.wait() == 0
    up.stop()
    up.wait_for_line(r"heroku\[worker\.1\]: +1 file \(\d+ KB\) discarded: kept$")
    assert (tmp_path / "strict" / "kept").read_text() == "as it was\n"


def test_without_it_the_folder_is_the_dynos_own(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    with Up(folder, "worker") as up:
        up.wait_for_line(r"app\[worker\.1\]: +worker.sh$")
        assert of_worker(up)[0] == str(folder)
        assert (folder / "kept").read_text() == "as it was\nx\n"


def test_without_root_it_is_a_user_namespace_that_makes_them() -> None:
    needs_root()
    needs_containers()
    with BoxedUp(folder_of, "--strict", rights=AS_NOBODY, namespaces=True) as up:
        up.wait_until_up("web.1", "worker.1")
        assert up.get("/").status == 200
        up.wait_for_line(r"app\[worker\.1\]: +worker.sh$")
        assert of_worker(up)[:3] == ["/app", "/app hello", str(NOBODY)]
        up.stop()
        assert (up.folder / "kept").read_text() == "as it was\n"


def test_where_nothing_can_be_kept_apart_it_says_so_and_runs() -> None:
    needs_root()
    with BoxedUp(folder_of, "--strict", "worker", rights=AS_NOBODY, namespaces=False) as up:
        up.wait_for_line(r"dynod: dynos are not kept apart: no containers: ")
        up.wait_for_line(r"app\[worker\.1\]: +worker.sh$")
        assert of_worker(up)[0] == str(up.folder)
