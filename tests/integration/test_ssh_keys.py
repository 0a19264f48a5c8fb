"""Keys of ssh, by a real sshd: who has one pushes and uses the API within its scope, and can do nothing else."""

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from support.app_folder import TOYS
from support.git_folder import GitFolder
from support.serve import Serve
from support.sshd import Sshd
from support.up import clean_environment

pytestmark = pytest.mark.timeout(120)

QUICK = "[dynos]\nsettle_s = 0.5\n"


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    with Serve(tmp_path_factory.mktemp("vm") / "state", toml=QUICK) as running:
        running.wait_until_ready()
        for name in ("shop", "blog"):
            running.done("apps:create", name)
        running.done("config:set", "SECRET=canary", "-a", "blog")
        yield running


@pytest.fixture(scope="module")
def sshd(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """That of a machine whose administrator knows nothing but its keys: sshd asks dynod, or has its lines in a file."""
    ask = [sys.executable, "-m", "dynod", "ssh-authorized-keys", "--socket", str(serve.socket)]
    with Sshd(tmp_path_factory.mktemp("sshd"), env={}, keys_command=ask if os.getuid() == 0 else ()) as running:
        yield running


@pytest.fixture
def ann(serve: Serve, sshd: Sshd) -> Iterator[None]:
    """The key of the test belongs to Ann, who may deploy."""
    add(serve, sshd, "--user", "ann")
    yield
    serve.done("keys:remove", fingerprint(serve))


def add(serve: Serve, sshd: Sshd, *more: str) -> None:
    serve.done("keys:add", str(sshd.folder / "user_key.pub"), *more)
    lines = serve.done("ssh-authorized-keys").stdout
    (sshd.folder / "authorized_keys").write_text(lines)


def fingerprint(serve: Serve) -> str:
    (key,) = json.loads(serve.done("keys", "--all", "--json").stdout)
    return str(key["fingerprint"])


def dynod(*arguments: str, sshd: Sshd, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dynod", *arguments],
        env={**clean_environment(), **sshd.environment()},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ssh(sshd: Sshd, *command: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    words = [*sshd.client_config().split(), *options, "-p", str(sshd.port), f"{sshd.user}@127.0.0.1", *command]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def audited(serve: Serve, action: str) -> set[tuple[str, str]]:
    """Who has done it, and from where."""
    with contextlib.closing(sqlite3.connect(f"file:{serve.state / 'state.db'}?mode=ro", uri=True)) as connection:
        return set(connection.execute("SELECT actor, origin FROM audit WHERE action = ?", (action,)))


def work_tree(serve: Serve, parent: Path, url: str) -> GitFolder:
    folder = serve.folder_of(
        parent,
        "work",
        procfile=f"web: {sys.executable} server.py\n",
        files={"server.py": (TOYS / "web_server.py").read_text()},
    )
    work = GitFolder(folder)
    work.done("remote", "add", "dynod", url)
    work.commit()
    return work


def by_ssh(sshd: Sshd) -> Mapping[str, str]:
    """git's own way to be told so."""
    return {"GIT_SSH_COMMAND": sshd.client_config(), "GIT_SSH_VARIANT": "ssh"}


@pytest.mark.usefixtures("ann")
def test_a_push_over_ssh_is_its_owners(serve: Serve, sshd: Sshd, tmp_path: Path) -> None:
    work = work_tree(serve, tmp_path, f"{sshd.url}/shop.git")
    pushed = work.git("push", "dynod", "main", env=by_ssh(sshd))
    assert pushed.returncode == 0, pushed.stderr
    for line in ("Building source:", "-----> Launching...", "       Released v3", "Verifying deploy... done."):
        assert f"remote: {line}" in pushed.stderr
    shop = serve.known_app("shop")
    shop.wait_until_up("web.1")
    shop.wait_for_log(r"Build started by user ann$")
    (build,) = json.loads(serve.done("builds", "--json", "-a", "shop").stdout)
    assert build["user"]["email"] == "ann@localhost"
    assert ("ann", f"ssh 127.0.0.1, key {fingerprint(serve)}") in audited(serve, "build.create")
    clone = work.git("clone", "--quiet", f"{sshd.url}/shop.git", str(tmp_path / "clone"), env=by_ssh(sshd))
    assert clone.returncode == 0, clone.stderr
    # The remote names the machine for verbs too, which go the same way with the same key.
    ps = subprocess.run(
        [sys.executable, "-m", "dynod", "ps"],
        env={**GitFolder.environment(), "DYNOD_SSH": sshd.client_config()},
        cwd=work.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "web.1: up" in ps.stdout, ps.stderr
    missing = work.git("push", f"{sshd.url}/nowhere.git", "main", env=by_ssh(sshd))
    assert missing.returncode == 128
    assert "dynod: Couldn't find that app." in missing.stderr


@pytest.mark.usefixtures("ann")
def test_a_folder_is_deployed_by_whoever_has_a_key(serve: Serve, sshd: Sshd, tmp_path: Path) -> None:
    """`dynod deploy` and the remote that it needs none of, over DYNOD_HOST with a key that may deploy."""
    work = work_tree(serve, tmp_path, f"dynod::{sshd.url}/blog")
    deployed = dynod("deploy", "-a", "blog", str(work.folder), sshd=sshd, cwd=tmp_path)
    assert deployed.returncode == 0, deployed.stderr
    assert re.search(r"⬢ blog v\d+ is live: http://blog\.localhost:\d+/\n$", deployed.stdout)
    work.commit(more="more")
    pushed = work.git("push", "dynod", "main", env={"DYNOD_SSH": sshd.client_config()})
    assert pushed.returncode == 0, pushed.stderr
    whoami = dynod("auth:whoami", sshd=sshd, cwd=tmp_path)
    assert whoami.stdout == "ann@localhost\n"


@pytest.mark.usefixtures("ann")
def test_a_key_opens_nothing_else(serve: Serve, sshd: Sshd, tmp_path: Path) -> None:
    for command in (
        (),
        ("sh",),
        ("cat /etc/passwd",),
        ("git-receive-pack", "'shop.git';", "id"),
        ("scp", "-t", "/tmp"),
    ):
        refused = ssh(sshd, *command)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "dynod: this key opens no shell" in refused.stderr
    assert "PTY allocation request failed" in ssh(sshd, "sh", options=("-tt",)).stderr
    assert "this key opens no shell" in ssh(sshd, "sh", options=("-A",)).stderr
    forward = ssh(sshd, options=("-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"))
    assert forward.returncode != 0
    assert "remote port forwarding failed" in forward.stderr
    # As far as its scope, and no further: no tokens, no keys, no apps, no backup, no speaking for others.
    for arguments in (
        ("auth:create",),
        ("keys:add", str(sshd.folder / "other_key.pub")),
        ("backup", str(tmp_path / "b")),
    ):
        refused = dynod(*arguments, sshd=sshd, cwd=tmp_path)
        assert refused.returncode == 1
        assert "This needs a token of scope admin; yours has deploy." in refused.stderr
    assert serve.app_names() == ["blog", "shop"]


def test_a_key_of_one_app_or_to_look_alone(serve: Serve, sshd: Sshd, tmp_path: Path) -> None:
    add(serve, sshd, "--user", "bob", "-a", "shop")
    assert dynod("apps", sshd=sshd, cwd=tmp_path).stdout.split() == ["===", "Apps", "shop"]
    refused = dynod("config", "-a", "blog", sshd=sshd, cwd=tmp_path)
    assert (refused.returncode, refused.stderr) == (1, "dynod: Couldn't find that app.\n")
    work = work_tree(serve, tmp_path, f"{sshd.url}/blog.git")
    assert "Couldn't find that app." in work.git("push", "dynod", "main", env=by_ssh(sshd)).stderr
    serve.done("keys:remove", fingerprint(serve))
    add(serve, sshd, "--user", "eve", "--scope", "read")
    assert dynod("ps", "-a", "blog", sshd=sshd, cwd=tmp_path).returncode == 0
    assert "scope deploy; yours has read" in dynod("config", "-a", "blog", sshd=sshd, cwd=tmp_path).stderr
    assert "scope deploy; yours has read" in work.git("push", "dynod", "main", env=by_ssh(sshd)).stderr
    serve.done("keys:remove", fingerprint(serve))
    gone = dynod("ps", "-a", "blog", sshd=sshd, cwd=tmp_path)
    assert gone.returncode == 1
    assert "Permission denied" in gone.stderr or "This key opens nothing any more." in gone.stderr


def test_keys_are_listed_and_taken_back_by_what_they_are_called(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me@there", "-f", file], check=True)
    public = file.with_suffix(".pub")
    assert serve.done("keys").stdout == "You have no SSH keys.\n"
    assert serve.done("keys:add", str(public)).stderr == f"Uploading {public} SSH key... done\n"
    again = serve.dynod("keys:add", str(public))
    assert again.returncode == 1
    assert "The fingerprint has already been taken" in again.stderr
    assert "private key: keep it" in serve.dynod("keys:add", str(file)).stderr
    listed = serve.done("keys").stdout
    assert re.search(r"^=== \S+@localhost keys\n\nssh-ed25519 AAAAC3NzaC\.\.\.\S{10} me@there \(deploy\)\n$", listed)
    assert serve.done("keys:list", "--long").stdout == public.read_text()
    said = subprocess.run(["ssh-keygen", "-l", "-f", public], capture_output=True, text=True, check=True).stdout
    assert fingerprint(serve) in said
    assert "there is no key nobody; there are me@there" in serve.dynod("keys:remove", "nobody").stderr
    assert serve.done("keys:remove", "me@there").stderr == "Removing me@there SSH key... done\n"
    assert serve.done("ssh-authorized-keys").stdout == ""
