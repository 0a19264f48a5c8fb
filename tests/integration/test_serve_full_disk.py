"""`dynod serve` whose disk is full: what cannot be kept is refused, nobody who runs notices, and it recovers."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app_folder import toy
from support.log_receivers import TcpReceiver
from support.serve import Serve, ServedApp
from support.small_disk import OnSmallDisk, may_mount
from support.up import eventually

FULL = "the disk is full, and nothing was changed: free some space; dynod goes on by itself then"
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[OnSmallDisk]:
    may_mount()
    with OnSmallDisk(tmp_path / "state") as running:
        running.wait_until_ready()
        yield running


def shop_of(serve: Serve, parent: Path) -> ServedApp:
    shop = serve.app(
        parent, "shop", procfile={"web": toy("web_server"), "worker": toy("waits")}, quantities={"web": 1, "worker": 1}
    )
    shop.wait_until_up("web.1", "worker.1")
    return shop


def test_changes_are_refused_and_dynos_go_on_until_there_is_room_again(serve: OnSmallDisk, tmp_path: Path) -> None:
    shop = shop_of(serve, tmp_path)
    before, pids = shop.formation(), shop.pids()
    other = serve.folder_of(tmp_path, "other", procfile={"worker": toy("waits")})
    filler = serve.fill()
    refusals = [
        ("ps:scale", "-a", "shop", "web=3", "worker+1"),
        ("ps:type", "-a", "shop", "web=standard-1x"),
        ("apps:create", "other", "--dir", str(other)),
        ("apps:rename", "-a", "shop", "mall"),
        ("maintenance:on", "-a", "shop"),
    ]
    for refusal in refusals:
        ended = serve.dynod(*refusal)
        assert ended.returncode == 1, refusal
        assert FULL in re.sub(r"\s+", " ", ended.stderr), refusal
        assert "Traceback" not in ended.stderr
    assert serve.app_names() == ["shop"]
    assert (shop.formation(), shop.pids()) == (before, pids)
    assert shop.get("/").status == 200
    # What needs no state goes on too: a dyno that ends is started again, a core that dies is replaced.
    (worker,) = [pid for dyno, pid in pids.items() if dyno == "worker.1" and pid]
    os.kill(worker, signal.SIGKILL)
    shop.wait_until({"web.1": "up", "worker.1": "up"})
    core = serve.core_pid()
    os.kill(core, signal.SIGKILL)
    serve.core_pid(other_than=core)
    assert shop.get("/").status == 200
    assert shop.formation() == before
    assert shop.pids()["web.1"] == pids["web.1"]
    filler.unlink()
    serve.done("ps:scale", "-a", "shop", "web=2")
    shop.wait_until_up("web.1", "web.2", "worker.1")
    assert shop.pids()["web.1"] == pids["web.1"]
    serve.done("apps:create", "other", "--dir", str(other))
    assert serve.app_names() == ["other", "shop"]
    # Its log, which was on that disk too, lost lines (the tests of the history count them) and goes on.
    shop.wait_for_log(r"heroku\[web\.2\]: State changed from starting to up")


def test_a_stop_while_the_disk_is_full_is_clean(serve: OnSmallDisk, tmp_path: Path) -> None:
    shop_of(serve, tmp_path)
    serve.fill()
    assert serve.stop() == 0


def test_the_log_loses_counted_lines_and_no_dyno_waits_for_the_disk(tmp_path: Path) -> None:
    """What was dropped is in the history (L12) once it can be written again, and drains get all of that."""
    may_mount()
    count = 100_000  # more than pipe and buffer hold
    with (
        OnSmallDisk(tmp_path / "state", toml="[logs]\nbuffer_bytes = 65536\n") as serve,
        TcpReceiver() as receiver,
    ):
        shop, folder = flooder(serve, tmp_path, count)
        serve.done("drains:add", f"syslog://localhost:{receiver.port}")
        filler = serve.fill()
        (folder / "gate").write_text("go")
        serve.wait_for_line(r"the log history in \S+ cannot be written \(No space left on device\)", stream="stderr")
        eventually((folder / "flooded").exists, what="the dyno has written it all, to a disk that takes nothing")
        filler.unlink()
        serve.wait_for_line(r"the log history in \S+ is written again; \d+ lines were dropped", stream="stderr")
        last = f"number {count - 1}"
        shop.wait_for_log(rf"app\[worker\.1\]: {last}$")
        log = "\n".join(shop.log())
        kept = [int(found) for found in re.findall(r"^app\[worker\.1\]: number (\d+)$", log, re.MULTILINE)]
        dropped = sum(map(int, re.findall(r"app\[log-shuttle\]: Error L12: (\d+) messages dropped since ", log)))
        assert kept == sorted(set(kept))
        assert 0 < dropped == count - len(kept)
        receiver.wait_for(lambda: last.encode() in receiver.data)
        assert [int(found) for found in re.findall(rb" number (\d+)\n", receiver.data)] == kept
        assert b"Error L10" not in receiver.data


def test_dynos_wait_for_a_full_disk_where_that_is_wanted(tmp_path: Path) -> None:
    """`stall_s = 0`: the dyno is slowed by its pipe, and nothing is cut."""
    may_mount()
    count = 2000  # of a thousand bytes, more than pipe and buffer hold and less than the history
    with (
        OnSmallDisk(tmp_path / "state", toml="[logs]\nbuffer_bytes = 65536\nstall_s = 0\n", size_mb=40) as serve,
        TcpReceiver() as receiver,
    ):
        shop, folder = flooder(serve, tmp_path, count, behind="." * 1000)
        serve.done("drains:add", f"syslog://localhost:{receiver.port}")
        filler = serve.fill()
        (folder / "gate").write_text("go")
        serve.wait_for_line(r"the log history in \S+ cannot be written", stream="stderr")
        assert not (folder / "flooded").exists()
        filler.unlink()
        eventually((folder / "flooded").exists, what="the dyno goes on")
        serve.wait_for_line(r"is written again; 0 lines were dropped", stream="stderr")
        last = b" number %d." % (count - 1)
        receiver.wait_for(lambda: last in receiver.data)
        assert [int(found) for found in re.findall(rb" number (\d+)\.+\n", receiver.data)] == list(range(count))
        assert not any("Error L1" in line for line in shop.log())


def flooder(serve: OnSmallDisk, parent: Path, count: int, *, behind: str = "") -> tuple[ServedApp, Path]:
    """An app whose worker waits for its gate, then writes so many lines, then says so with a file."""
    serve.wait_until_ready()
    command = f"cat gate >opened; seq -f 'number %.0f{behind}' 0 {count - 1}; touch flooded; sleep 1000"
    formation = {"formation": {"worker": {"quantity": 1}}}
    folder = serve.folder_of(parent, "shop", procfile={"worker": command}, app_json=formation)
    os.mkfifo(folder / "gate")
    serve.done("apps:create", "shop", "--dir", str(folder))
    shop = serve.known_app("shop")
    shop.wait_until_up("worker.1")
    return shop, folder


def test_code_is_not_taken_where_too_little_room_would_be_left(serve: OnSmallDisk, tmp_path: Path) -> None:
    """Nothing of it is kept, and what runs goes on."""
    shop = shop_of(serve, tmp_path)
    source = serve.folder_of(tmp_path, "code", procfile={"web": toy("web_server")})
    before = {path for path in serve.state.rglob("*") if "logs" not in path.parts}
    refused = serve.dynod("builds:create", "-a", "shop", "--source-dir", str(source))
    assert refused.returncode == 1
    assert re.search(r"\d MB are free on the disk of .*, and 1,024 MB are left alone: remove apps", refused.stderr)
    left = {path for path in serve.state.rglob("*") if "logs" not in path.parts} - before
    assert not [path for path in left if path.is_file() and path.stat().st_size]
    assert shop.states() == {"web.1": "up", "worker.1": "up"}
    assert serve.done("config:set", "-a", "shop", "A=1", "--no-wait").returncode == 0, "state is smaller"
    shop.wait()
