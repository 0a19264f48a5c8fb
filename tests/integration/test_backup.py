"""A backup of a daemon that runs and is written to, and the machine that goes on from it."""

import gzip
import json
import sys
import threading
from pathlib import Path

import pytest

from support.app_folder import TOYS
from support.serve import Serve
from support.up import eventually

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
