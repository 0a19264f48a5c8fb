"""`dynod serve` whose disk is full: what cannot be kept is refused, nobody who runs notices, and it recovers."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.app_folder import toy
from support.serve import Serve, ServedApp

FULL = "the disk is full, and nothing was changed: free some space; dynod goes on by itself then"
SIZE_MB = 4
pytestmark = pytest.mark.timeout(120)


class OnSmallDisk(Serve):
    """Its state is on a file system of its own, which only its processes see."""

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        self._mounted = state
        mount = f'mount -t tmpfs -o size={SIZE_MB}m,mode=700 none "$1" && shift && exec "$@"'
        self._command = ["unshare", "--mount", "sh", "-c", mount, "sh", str(state), *self._command]

    def wait_until_ready(self) -> None:
        super().wait_until_ready()
        self.state = Path(f"/proc/{self.pid}/root{self._mounted}")

    def fill(self) -> Path:
        """Until not one more page fits; returns what to remove."""
        filler = self.state / "filler"
        file = os.open(filler, os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            while True:
                os.write(file, bytes(4096))
        except OSError:
            return filler
        finally:
            os.close(file)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[OnSmallDisk]:
    script = "mount -t tmpfs none /mnt"
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, check=False).returncode
    ):
        pytest.skip("NOT TESTED: this user may mount no small file system (unshare --mount)")
    (tmp_path / "state").mkdir(mode=0o700)
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
