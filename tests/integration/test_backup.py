"""A backup of a daemon that runs and is written to, and the machine that goes on from it."""

import gzip
import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from support.app_folder import TOYS
from support.contained import contained, needs_containers
from support.serve import Serve
from support.up import clean_environment, eventually

pytestmark = pytest.mark.timeout(120)


def told(serve: Serve, *verb: str) -> object:
    return json.loads(serve.done(*verb, "-a", "shop", "--json").stdout)


def drains_of(serve: Serve) -> list[tuple[str, str, str]]:
    """Without how they do."""
    found = told(serve, "drains")
    assert isinstance(found, list)
    return [(each["id"], each["token"], each["url"]) for each in found]


def changes(config: Serve, stop: threading.Event) -> int:
    number = 0
    while not stop.is_set():
        number += 1
        config.done("config:set", "-a", "shop", f"N={number}", "--no-wait")
    return number


def test_what_is_restored_elsewhere_is_what_was_backed_up_under_writes(tmp_path: Path) -> None:
    backup = tmp_path / "backup.tgz"
    with Serve(tmp_path / "state", toml="[dynos]\nstarts_at_once = 3\n") as serve:
        serve.wait_until_ready()
        serve.done("apps:create", "shop")
        folder = serve.folder_of(
            tmp_path,
            "code",
            procfile=f"web: {sys.executable} server.py\nclock: sleep 1000\n",
            files={"server.py": (TOYS / "web_server.py").read_text()},
        )
        serve.done("builds:create", "-a", "shop", "--source-dir", str(folder))
        serve.done("drains:add", "-a", "shop", "syslog://127.0.0.1:1")
        serve.done("domains:add", "-a", "shop", "shop.example.com")
        serve.done("ps:scale", "-a", "shop", "web=2", "clock=1")
        serve.done("config:set", "-a", "shop", "SECRET=canary")
        verbs = ("domains", "buildpacks")
        drains = drains_of(serve)
        before = [told(serve, verb) for verb in verbs]
        stop, counted = threading.Event(), [0]
        writer = threading.Thread(target=lambda: counted.__setitem__(0, changes(serve, stop)))
        writer.start()
        try:
            serve.done("backup", str(backup))
        finally:
            stop.set()
            writer.join()
        releases = told(serve, "releases")
        assert isinstance(releases, list)
        assert counted[0] > 0
    assert backup.stat().st_mode & 0o777 == 0o600
    assert not list((tmp_path / "state").glob(".backup-*"))

    with Serve(tmp_path / "held", mark=serve.mark) as other:
        other.done("restore", str(backup), "--state", str(tmp_path / "new"))
    assert "starts_at_once = 3" in (tmp_path / "new" / "dynod.toml").read_text()
    (tmp_path / "state").rename(tmp_path / "gone")
    with Serve(tmp_path / "new", mark=serve.mark) as held:
        held.wait_until_ready()
        assert "restored from a backup" in held.done("status").stdout
        ps = held.dynod("ps", "-a", "shop")
        assert "no dyno starts until" in ps.stderr
        assert held.known_app("shop").get("/").status == 503
    with Serve(tmp_path / "new", "--start", mark=serve.mark) as after:
        after.wait_until_ready()
        app = after.known_app("shop")
        app.wait_until_up("clock.1", "web.1", "web.2")
        assert app.get("/").status == 200
        assert app.formation() == {"web": 2, "clock": 1}
        assert after.done("config:get", "-a", "shop", "SECRET").stdout == "canary\n"
        kept = told(after, "releases")
        assert isinstance(kept, list)
        ids = {each["version"]: (each["id"], each["description"]) for each in releases}
        assert len(kept) >= 4
        assert all(ids[each["version"]] == (each["id"], each["description"]) for each in kept)
        assert [told(after, verb) for verb in verbs] == before
        assert drains_of(after) == drains
        assert "Held" not in after.done("status").stdout
        again = after.dynod("restore", str(backup), "--state", str(tmp_path / "new"))
        assert again.returncode == 1
        assert "is not empty" in again.stderr


def test_what_is_no_whole_backup_restores_nothing(tmp_path: Path) -> None:
    backup = tmp_path / "backup.tgz"
    with Serve(tmp_path / "state") as serve:
        serve.wait_until_ready()
        serve.done("apps:create", "shop")
        piped = serve.done("backup", str(backup))
        assert "done" in piped.stderr
        whole = backup.read_bytes()
        plain = gzip.decompress(whole)
        at = plain.index(b"SQLite format 3") + 4096
        altered = gzip.compress(plain[:at] + bytes([plain[at] ^ 1]) + plain[at + 1 :])
        for content, said in (
            (whole[: len(whole) // 2], "cut short, or altered"),
            (whole[:-4], "cut short, or altered"),
            (altered, "another SHA-256"),
            (b"", "is no whole backup"),
            (b"not a backup", "is no whole backup"),
        ):
            backup.write_bytes(content)
            refused = serve.dynod("restore", str(backup), "--state", str(tmp_path / "new"))
            assert refused.returncode == 1, content[:20]
            assert said in refused.stderr
            assert sorted(path.name for path in tmp_path.iterdir() if "new" in path.name) == []
        missing = serve.dynod("restore", str(tmp_path / "none"), "--state", str(tmp_path / "new"))
        assert "No such file" in missing.stderr
        eventually(lambda: not list(serve.state.glob(".backup-*")), what="nothing is left of it")


def typed(serve: Serve, secret: str, times: int, *verb: str) -> int:
    """A verb at a terminal where the passphrase is typed as often as it is asked for; its exit status."""
    ours, terminal = pty.openpty()
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "dynod", *verb],
            env={**clean_environment(), "DYNOD_SOCKET": str(serve.socket)},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        said = b""
        for number in range(times):
            while said.lower().count(b"passphrase of") + said.lower().count(b"repeat for confirmation") <= number:
                said += os.read(ours, 1000)
            os.write(ours, secret.encode() + b"\n")
        status = child.wait(60)
        os.set_blocking(ours, False)
        said += os.read(ours, 10_000)
        assert secret.encode() not in said, "what is typed is not shown"
        return status
    finally:
        os.close(ours)
        os.close(terminal)


def test_a_backup_under_a_passphrase_goes_anywhere_and_opens_with_it_alone(tmp_path: Path) -> None:
    secret = "päss phrase"
    kept = tmp_path / "kept"
    kept.write_text(f"{secret}\nnot this line\n")
    with Serve(tmp_path / "state") as serve:
        serve.wait_until_ready()
        serve.done("apps:create", "shop")
        serve.done("config:set", "-a", "shop", "SECRET=canary")
        piped = subprocess.run(
            [sys.executable, "-m", "dynod", "backup", "-", "--passphrase-file", str(kept)],
            env={**clean_environment(), "DYNOD_SOCKET": str(serve.socket)},
            capture_output=True,
            check=True,
        ).stdout
        plain = subprocess.run(
            [sys.executable, "-m", "dynod", "backup", "-"],
            env={**clean_environment(), "DYNOD_SOCKET": str(serve.socket)},
            capture_output=True,
            check=True,
        ).stdout
        assert b"canary" in gzip.decompress(plain)
        sealed = tmp_path / "sealed"
        assert typed(serve, secret, 2, "backup", str(sealed), "--passphrase") == 0
        assert sealed.read_bytes()[:40] != piped[:40], "no two have one salt"
        unasked = serve.dynod("backup", str(tmp_path / "none"), "--passphrase")
        assert (unasked.returncode, (tmp_path / "none").exists()) == (2, False)
        assert "--passphrase-file" in unasked.stderr

        def restored(content: bytes, passphrase: Path | None, name: str) -> "subprocess.CompletedProcess[str]":
            (tmp_path / "backup").write_bytes(content)
            given = [] if passphrase is None else ["--passphrase-file", str(passphrase)]
            return serve.dynod("restore", str(tmp_path / "backup"), "--state", str(tmp_path / name), *given)

        other = tmp_path / "other"
        other.write_text(secret + "!")
        for content, passphrase, status, said in (
            (piped, other, 1, "that is not its passphrase; nothing was restored"),
            (piped, None, 2, "--passphrase-file"),
            (piped[:-1], kept, 1, "cut short, or altered; nothing was restored"),
            (piped[:100], kept, 1, "cut short, or altered; nothing was restored"),
        ):
            refused = restored(content, passphrase, "new")
            assert (refused.returncode, said in refused.stderr) == (status, True), refused.stderr
            assert not (tmp_path / "new").exists()
        assert restored(piped, kept, "new").returncode == 0
        assert restored(plain, None, "plain").returncode == 0
        assert typed(serve, secret, 1, "restore", str(sealed), "--state", str(tmp_path / "typed")) == 0
    with Serve(tmp_path / "new", mark=serve.mark) as after:
        after.wait_until_ready()
        assert after.done("config:get", "-a", "shop", "SECRET").stdout == "canary\n"


def test_storage_is_in_it_where_that_is_asked_for(tmp_path: Path) -> None:
    """Whatever an app has left there: files of its user's, and links that lead to what it sees itself."""
    needs_containers()
    backup, without = tmp_path / "backup.tgz", tmp_path / "without.tgz"

    def run(serve: Serve, command: str) -> str:
        return serve.done("run", "-a", "shop", "--no-tty", "--", "sh", "-c", command).stdout

    with contained(tmp_path / "state") as serve:
        serve.wait_until_ready()
        folder = serve.folder_of(tmp_path, "code", procfile="worker: sleep 1000\n")
        serve.done("apps:create", "shop")
        serve.done("builds:create", "-a", "shop", "--source-dir", str(folder))
        serve.done("storage:mount", "uploads:/data", "-a", "shop")
        run(serve, "cd /data; mkdir a; echo kept >a/file; ln -s /etc/passwd link; mkfifo fifo")
        said = serve.done("backup", str(backup), "--storage", "--json")
        assert "Storage of shop: uploads, 1 file, 5 bytes; 1 left out" in said.stderr
        (told,) = json.loads(said.stdout)["storage"]
        assert (told["app"], told["name"], told["files"], told["size"]) == ("shop", "uploads", 1, 5)
        assert "Storage of" not in serve.done("backup", str(without)).stderr
        restored = serve.done("restore", str(backup), "--state", str(tmp_path / "new"))
        assert "Storage of shop: uploads, 1 file" in restored.stderr
        serve.done("restore", str(without), "--state", str(tmp_path / "bare"))
        assert not (tmp_path / "bare/storage").exists()
        assert not list((tmp_path / "state").glob(".backup-*"))
    with contained(tmp_path / "new", "--start") as after:
        after.wait_until_ready()
        assert run(after, "cd /data; echo more >>a/file; cat a/file; readlink link; ls") == (
            "kept\nmore\n/etc/passwd\na\nlink\n"
        )
