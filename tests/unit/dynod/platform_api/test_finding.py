"""Which daemon a verb finds, and that it never goes on to another one."""

import json
import os
import re
from pathlib import Path

import pytest

from dynod.core.git_remote import parse_remote
from dynod.core.ssh_host import SshHost
from dynod.errors import UsageError
from dynod.platform_api.finding import Daemon, NoDaemonError, find_daemon, names_app_of

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


def test_the_mark_of_a_folder_that_cannot_be_written_to_lies_in_the_runtime_folder(tmp_path: Path) -> None:
    runtime = tmp_path / "run" / "dynod"
    runtime.mkdir(parents=True)
    folder, inner = tmp_path / "app", tmp_path / "app/inner"
    inner.mkdir(parents=True)
    note = {"app": "shop", "pid": 1, "socket": "/up.sock", "folder": str(folder)}
    (runtime / "up-1.json").write_text(json.dumps(note))
    (runtime / "up-2.json").write_text("no JSON")
    found = Daemon(socket="/up.sock", source=str(runtime / "up-1.json"), app="shop", folder=folder)
    assert find(inner, XDG_RUNTIME_DIR=str(runtime.parent)) == found
    with pytest.raises(NoDaemonError):
        find(tmp_path, XDG_RUNTIME_DIR=str(runtime.parent))
    mark(inner, app="nearer")
    assert find(inner, XDG_RUNTIME_DIR=str(runtime.parent)).app == "nearer"


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


def repository(folder: Path, url: str) -> Path:
    (folder / ".git").mkdir(parents=True)
    config = folder / ".git" / "config"
    config.write_text(f'[core]\n\tbare = false\n[remote "dynod"]\n\turl = {url}\n')
    return config


def test_a_git_remote_names_the_daemon_and_its_app(tmp_path: Path) -> None:
    config = repository(tmp_path, "dynod::ssh://me@vm/shop")
    deep = tmp_path / "a"
    deep.mkdir()
    source = f"remote dynod of {config}"
    host = SshHost(host="vm", user="me")
    assert find(deep) == Daemon(socket="ssh://me@vm", source=source, app="shop", host=host)
    assert find(deep, DYNOD_SSH="ssh -F x").ssh == ("ssh", "-F", "x")
    assert find(deep, DYNOD_SOCKET="/a").socket == "/a"
    with pytest.raises(NoDaemonError):  # what ssh has started goes on to no other machine
        find_daemon(None, {}, deep, system_socket=NOWHERE, here=True)
    mark(deep)
    assert find(deep).socket == "/up.sock"
    config.write_text('[remote "dynod"]\n\turl = dynod::/srv/d.sock/shop\n')
    assert find(tmp_path) == Daemon(socket="/srv/d.sock", source=source, app="shop")
    system = tmp_path / "system.sock"
    system.touch()
    config.write_text('[remote "dynod"]\n\turl = dynod::shop\n')
    assert find(tmp_path, None, str(system)) == Daemon(socket=str(system), source=str(system), app="shop")
    config.write_text('[remote "dynod"]\n\turl = https://example.com/x\n')
    with pytest.raises(UsageError, match=re.escape(f"{source}: expected dynod::APP")):
        find(tmp_path)


def test_a_linked_work_tree_has_the_remote_of_its_repository(tmp_path: Path) -> None:
    repository(tmp_path / "main", "dynod::/srv/d.sock/shop")
    own = tmp_path / "main" / ".git" / "worktrees" / "w"
    own.mkdir(parents=True)
    (own / "commondir").write_text("../..\n")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / ".git").write_text(f"gitdir: {own}\n")
    assert find(tmp_path / "w").app == "shop"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_somebody_elses_remote_chooses_nothing(tmp_path: Path) -> None:
    os.chown(repository(tmp_path, "dynod::ssh://evil/shop"), 12345, 12345)
    with pytest.raises(UsageError, match="belongs to another user"):
        find(tmp_path)


@pytest.mark.parametrize(
    ("url", "daemon", "is_its"),
    [
        ("dynod::shop", Daemon(socket="/s", source="--socket"), True),
        ("dynod::shop", Daemon(socket="/s", source="m", folder=Path("/f")), False),
        ("dynod::shop", Daemon(socket="ssh://vm", source="DYNOD_HOST", host=SshHost(host="vm")), False),
        ("dynod::ssh://vm/shop", Daemon(socket="ssh://vm", source="DYNOD_HOST", host=SshHost(host="vm")), True),
        ("dynod::ssh://vm/shop", Daemon(socket="/s", source="--socket"), False),
        ("dynod::/s/shop", Daemon(socket="/s", source="--socket"), True),
        ("dynod::/other/shop", Daemon(socket="/s", source="--socket"), False),
    ],
)
def test_a_remote_says_nothing_of_apps_elsewhere(url: str, daemon: Daemon, is_its: bool) -> None:
    assert names_app_of(parse_remote(url, source=""), daemon) is is_its
