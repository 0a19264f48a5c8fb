"""Which daemon a verb finds, and that it never goes on to another one."""

import json
import os
from pathlib import Path

import pytest

from dynod.core.ssh_host import SshHost
from dynod.errors import UsageError
from dynod.platform_api.finding import Daemon, NoDaemonError, find_daemon

NOWHERE = "/nonexistent/dynod.sock"


def mark(folder: Path, text: str | None = None, *, app: str = "shop") -> Path:
    path = folder / ".dynod" / "up.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"app": app, "pid": 1, "socket": "/up.sock"}) if text is None else text)
    return path


def find(folder: Path, option: str | None = None, system: str = NOWHERE, **environ: str) -> Daemon:
    return find_daemon(option, environ, folder, system_socket=system)


def test_the_nearest_word_wins(tmp_path: Path) -> None:
    system = tmp_path / "system.sock"
    user = tmp_path / "run" / "dynod" / "dynod.sock"
    user.parent.mkdir(parents=True)
    folder = tmp_path / "app"
    folder.mkdir()
    runtime = str(tmp_path / "run")

    with pytest.raises(NoDaemonError, match="start one with `dynod up`"):
        find(folder, str(system) if system.exists() else None, str(system), XDG_RUNTIME_DIR=runtime)
    user.touch()
    assert find(folder, None, str(system), XDG_RUNTIME_DIR=runtime).socket == str(user)
    system.touch()
    assert find(folder, None, str(system), XDG_RUNTIME_DIR=runtime).socket == str(system)
    path = mark(folder)
    assert find(folder, None, str(system)) == Daemon(socket="/up.sock", source=str(path), app="shop", folder=folder)
    assert find(folder, None, str(system), DYNOD_SOCKET="/a").socket == "/a"
    assert find(folder, "/b", str(system), DYNOD_SOCKET="/a") == Daemon(socket="/b", source="--socket")


def test_the_mark_of_a_folder_above_counts_and_the_nearest_one_first(tmp_path: Path) -> None:
    mark(tmp_path, app="outer")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert find(deep).app == "outer"
    mark(tmp_path / "a", app="inner")
    assert find(deep).app == "inner"


def test_a_dynod_folder_without_a_mark_is_passed_over(tmp_path: Path) -> None:
    mark(tmp_path)
    (tmp_path / "a" / ".dynod").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".dynod").write_text("a file")
    assert find(tmp_path / "a").app == "shop"
    assert find(tmp_path / "b").app == "shop"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"socket": "/x"}', '{"app": "x"}'])
def test_a_mark_that_cannot_be_read_is_an_error(tmp_path: Path, text: str) -> None:
    mark(tmp_path, text)
    with pytest.raises(NoDaemonError, match=r"up\.json cannot be read"):
        find(tmp_path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_mark_of_another_user_is_not_followed(tmp_path: Path) -> None:
    """Anybody can put one into /tmp."""
    os.chown(mark(tmp_path), 65_534, 65_534)
    with pytest.raises(NoDaemonError, match="belongs to another user"):
        find(tmp_path)


def test_another_machine_goes_before_what_is_found_here(tmp_path: Path) -> None:
    """And what was named for this one goes before it."""
    mark(tmp_path)
    found = find(tmp_path, DYNOD_HOST="ssh://me@vm:22", DYNOD_SSH="ssh -v")
    expected = SshHost(user="me", host="vm", port=22)
    assert found == Daemon(socket="ssh://me@vm:22", source="DYNOD_HOST", host=expected, ssh=("ssh", "-v"))
    assert find(tmp_path, DYNOD_HOST="ssh://me@vm", DYNOD_SOCKET="/a") == Daemon(socket="/a", source="DYNOD_SOCKET")
    assert find(tmp_path, "/b", DYNOD_HOST="ssh://me@vm") == Daemon(socket="/b", source="--socket")


def test_another_machine_that_cannot_be_read_is_not_taken_for_this_one(tmp_path: Path) -> None:
    mark(tmp_path)
    with pytest.raises(UsageError, match="DYNOD_HOST: expected ssh://"):
        find(tmp_path, DYNOD_HOST="vm")
