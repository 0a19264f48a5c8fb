"""One `dynod up` a folder: who has it, how others find it, and what is left when it ends in whatever way."""

import contextlib
import json
import multiprocessing
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynod.errors import AppFolderError
from dynod.folder_claim import FolderClaim, runtime_folder


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a path that a socket's fits into, however deep the tests' own lie."""
    with tempfile.TemporaryDirectory(prefix="claim-") as folder:
        yield Path(folder)


@pytest.fixture
def runtime(short: Path) -> Path:
    folder = short / "runtime"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    return folder


@contextlib.contextmanager
def claimed(folder: Path, runtime: Path, *, pid: int = 4711) -> Iterator[FolderClaim]:
    claim = FolderClaim.take(folder, runtime, app="demo", pid=pid)
    try:
        yield claim
    finally:
        claim.release()


def files(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*"))


def test_where_the_folder_cannot_be_written_to_the_mark_is_beside_the_socket(app: Path, runtime: Path) -> None:
    (app / ".dynod").write_text("a file, which no folder can be made of")
    with claimed(app, runtime) as claim:
        (note,) = runtime.glob("up-*.json")
        written = json.loads(note.read_text())
        assert written == {"app": "demo", "pid": 4711, "socket": str(claim.socket_path), "folder": str(app.resolve())}
    assert files(runtime) == []


def test_the_mark_names_app_process_and_a_socket_that_answers(app: Path, runtime: Path) -> None:
    with claimed(app, runtime) as claim:
        mark = json.loads((app / ".dynod/up.json").read_text())
        assert (mark["app"], mark["pid"]) == ("demo", 4711)
        assert Path(mark["socket"]) == claim.socket_path
        assert claim.socket_path.parent == runtime
        assert stat.S_IMODE(claim.socket_path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(mark["socket"])
            claim.control.accept()[0].close()


def test_git_does_not_see_it(app: Path, runtime: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=app, check=True)
    with claimed(app, runtime):
        status = subprocess.run(["git", "status", "--short"], cwd=app, check=True, capture_output=True)
        assert status.stdout == b""


def test_release_leaves_nothing(app: Path, runtime: Path) -> None:
    with claimed(app, runtime):
        assert files(app, runtime)
    assert files(app, runtime) == []


def test_what_somebody_else_keeps_beside_it_stays(app: Path, runtime: Path) -> None:
    with claimed(app, runtime):
        (app / ".dynod/mine").touch()
    assert (app / ".dynod/mine").exists()


def test_a_second_claim_is_refused_and_names_the_first(app: Path, runtime: Path) -> None:
    with claimed(app, runtime), pytest.raises(AppFolderError, match=r"another dynod up \(pid 4711\) runs in "):
        FolderClaim.take(app, runtime, app="demo", pid=1)
    with claimed(app, runtime):
        pass  # and a refusal has taken nothing


def test_by_another_name_it_is_the_same_folder(app: Path, runtime: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(app)
    with claimed(app, runtime), pytest.raises(AppFolderError, match="another dynod up"):
        FolderClaim.take(link, runtime, app="demo", pid=1)


def test_from_another_session_it_is_the_same_folder(app: Path, runtime: Path, tmp_path: Path) -> None:
    other = tmp_path / "other-runtime"
    other.mkdir(mode=0o700)
    with claimed(app, runtime), pytest.raises(AppFolderError, match="another dynod up"):
        FolderClaim.take(app, other, app="demo", pid=1)


def test_two_folders_do_not_meet(app: Path, runtime: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with claimed(app, runtime) as one, claimed(other, runtime) as two:
        assert one.socket_path != two.socket_path


def test_a_dynod_that_was_killed_is_in_nobodys_way(app: Path, runtime: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from dynod.folder_claim import FolderClaim\n"
        "FolderClaim.take(Path(sys.argv[1]), Path(sys.argv[2]), app='demo', pid=1); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(app), str(runtime)], check=False)
    assert killed.returncode == -9
    assert files(app, runtime), "it could not clear up"
    with claimed(app, runtime):
        pass
    assert files(app, runtime) == []


def test_the_next_core_goes_on_with_the_claim(app: Path, runtime: Path) -> None:
    first = FolderClaim.take(app, runtime, app="demo", pid=4711)
    kept = [os.dup(fd) for fd in first.fds]  # as the keeper does
    assert first.listener is not None
    first.listener.close()
    os.close(first.fds[0] if first.listener.fileno() >= 0 else first._lock)  # the core dies
    with pytest.raises(AppFolderError):
        FolderClaim.take(app, runtime, app="demo", pid=1)
    second = FolderClaim.resume(app, runtime, kept)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(second.socket_path))
    second.release()
    assert files(app, runtime) == []
    with claimed(app, runtime):
        pass


def test_of_many_that_start_at_once_one_gets_it(app: Path, runtime: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        got = pool.starmap(_try, [(app, runtime)] * 12)
    assert got.count(True) >= 1
    assert files(app, runtime) == []


def _try(app: Path, runtime: Path) -> bool:
    try:
        FolderClaim.take(app, runtime, app="demo", pid=os.getpid()).release()
    except AppFolderError:
        return False
    return True


def test_a_folder_that_cannot_be_written_to_still_runs(app: Path, runtime: Path) -> None:
    (app / ".dynod").touch()  # a file where the folder would be
    with claimed(app, runtime) as claim:
        assert claim.socket_path.exists()


# --- the runtime folder ----------------------------------------------------------------------------------------------


def test_the_runtime_folder_is_made_for_its_user_alone(short: Path) -> None:
    folder = runtime_folder({"XDG_RUNTIME_DIR": str(short)})
    assert folder == short / "dynod"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert runtime_folder({"XDG_RUNTIME_DIR": str(short)}) == folder


@pytest.mark.parametrize("where", ["/no/such/folder", "/dev/null", ""])
def test_without_one_it_lies_in_tmp_by_user(where: str) -> None:
    assert runtime_folder({"XDG_RUNTIME_DIR": where}) == Path(f"/tmp/dynod-{os.getuid()}")


def test_a_path_too_long_for_a_socket_is_not_chosen(short: Path) -> None:
    long = short / ("x" * 100)
    long.mkdir()
    assert runtime_folder({"XDG_RUNTIME_DIR": str(long)}) == Path(f"/tmp/dynod-{os.getuid()}")


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_that_others_can_enter_is_refused(short: Path, mode: int) -> None:
    (short / "dynod").mkdir()
    (short / "dynod").chmod(mode)
    with pytest.raises(AppFolderError, match="must be a folder that only you can enter"):
        runtime_folder({"XDG_RUNTIME_DIR": str(short)})


def test_a_link_that_somebody_laid_there_is_refused(short: Path) -> None:
    (short / "elsewhere").mkdir(mode=0o700)
    (short / "dynod").symlink_to(short / "elsewhere")
    with pytest.raises(AppFolderError, match="must be a folder"):
        runtime_folder({"XDG_RUNTIME_DIR": str(short)})
