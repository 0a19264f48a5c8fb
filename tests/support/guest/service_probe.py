"""`dynod serve` where version 2 of control groups has every controller, started as systemd starts a service.

Not as root, in a group that has been delegated to its user, and with containers for its dynos.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import psutil

from dynod.platform_api.client import ApiClient
from dynod.platform_api.finding import Daemon
from support.app_folder import app_folder, python, toy
from support.guest.groups_probe import FILES
from support.guest.reporting import report

TREE: Final = Path("/sys/fs/cgroup")
UNIT: Final = TREE / "system.slice/dynod.service"
DYNOS: Final = UNIT / "dynos"
PLACE: Final = Path("/run/dynod")
NOTIFY: Final = Path("/run/notify")
USER: Final = 990
WAIT_S: Final = 90.0  # only to fail
LEAKS: Final = python("b = bytearray(1200 << 20); b[::65536] = b'x' * len(b[::65536]); print('had all of it')")
Found = TypeVar("Found")


def delegate() -> None:
    """A group of a service as systemd makes it with Delegate=yes and User=."""
    UNIT.parent.mkdir()
    for above in (TREE, UNIT.parent):
        (above / "cgroup.subtree_control").write_text("+cpu +memory +pids")
    UNIT.mkdir()
    os.setxattr(UNIT, "user.delegate", b"1")
    for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
        os.chown(UNIT / name, USER, USER)


class Service:
    """The daemon, as far as the probe sees it."""

    def __init__(self) -> None:
        PLACE.mkdir()
        os.chown(PLACE, USER, USER)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(NOTIFY))
        NOTIFY.chmod(0o777)
        settings = PLACE / "dynod.toml"
        visible = sorted({sys.base_prefix, sys.prefix, os.environ["PYTHONPATH"].partition(":")[0]})
        settings.write_text(
            f"[serve]\nclose_dyno_ports = false\n[container]\nvisible = {visible}\n[dynos]\nrestart = [3600]\n"
        )
        become = f"setpriv --reuid={USER} --regid={USER} --clear-groups"
        start = f'echo 0 >{UNIT}/cgroup.procs && exec {become} -- "$@"'
        with (PLACE / "stderr").open("wb") as stderr:
            self.child = subprocess.Popen(
                [
                    *("sh", "-c", start, "start", sys.executable, "-m", "dynod", "serve"),
                    *("--state", str(PLACE / "state"), "--socket", str(PLACE / "dynod.sock")),
                    *("--config", str(settings), "--listen", "127.0.0.1:5000"),
                ],
                env={**os.environ, "NOTIFY_SOCKET": str(NOTIFY)},
                stderr=stderr,
            )
        self.eventually(self._is_ready, "the daemon is ready")

    def _is_ready(self) -> bool:
        return b"READY=1" in self._notify.recv(65536, socket.MSG_DONTWAIT)

    @property
    def client(self) -> ApiClient:
        return ApiClient(Daemon(socket=str(PLACE / "dynod.sock"), source="--socket"))

    def eventually(self, look: Callable[[], Found | None], what: str) -> Found:
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until and self.child.poll() is None:
            with contextlib.suppress(OSError):
                if found := look():
                    return found
            time.sleep(0.05)
        print(*self.log(), (PLACE / "stderr").read_text(), sep="\n")
        sys.exit(f"not in time: {what}")

    def log(self) -> list[str]:
        """Lines without their times."""
        text = b"".join(path.read_bytes() for path in sorted((PLACE / "state/logs").glob("*/[0-9]*")))
        return [line.partition(" ")[2] for line in text.decode(errors="replace").splitlines()]

    def wait_for_log(self, pattern: str) -> str:
        def look() -> str | None:
            return next((line for line in self.log() if re.search(pattern, line)), None)

        return self.eventually(look, pattern)

    def scale(self, name: str, size: str | None = None) -> None:
        """One dyno of this type; its size first, or it would be started twice."""
        if size is not None:
            self.client.scale("shop", [{"type": name, "quantity": "0", "size": size}])
        self.client.scale("shop", [{"type": name, "quantity": "1"}])

    def pids(self) -> dict[str, int | None]:
        calm = ("steady.1", "where.1")
        found = {dyno["name"]: dyno["dynod"]["pid"] for dyno in self.client.dynos("shop") if dyno["name"] in calm}
        return {**found, "keeper": self.child.pid, "core": psutil.Process(self.child.pid).children()[0].pid}

    def lines_of(self, dyno: str) -> list[str]:
        """What the platform has said of it, up to its back-off."""
        found = [line.partition(": ")[2] for line in self.log() if line.startswith(f"heroku[{dyno}]")]
        return [line for line in found if not line.startswith("Starting again")]


def members(group: Path) -> int:
    return len((group / "cgroup.procs").read_text().split())


def limits(group: Path) -> dict[str, str]:
    return {name: (group / name).read_text().strip() for name in FILES}


def main() -> None:
    delegate()
    service = Service()
    report(
        lacks=service.client.status()["lacks"],
        says=(PLACE / "stderr").read_text(),
        daemon=members(UNIT / "daemon"),
        unit=members(UNIT),
        all=limits(DYNOS),
        memory=psutil.virtual_memory().total,
    )
    procfile = {
        "steady": toy("waits"),
        "where": "sh -c 'pwd; exec sleep 1000'",
        "forker": toy("forks_until_refused", 300),
        "eater": LEAKS,
        "leaker": LEAKS,
    }
    service.client.create_app("shop", str(app_folder(PLACE, procfile=procfile, name="shop")))
    service.scale("steady", "standard-2x")
    service.scale("where")
    service.scale("forker", "basic")
    service.wait_for_log(r"app\[steady\.1\]: ready")
    steady = next(dyno["id"] for dyno in service.client.dynos("shop") if dyno["name"] == "steady.1")
    report(sized=limits(DYNOS / steady), where=service.wait_for_log(r"app\[where\.1\]: /").rpartition(" ")[2])
    report(forked=int(service.wait_for_log(r"app\[forker\.1\]: (refused|forked)").rpartition(" ")[2]))
    service.client.scale("shop", [{"type": "forker", "quantity": "0"}])
    before = service.pids()
    for name, size in (("eater", "basic"), ("leaker", None)):
        service.scale(name, size)
        service.wait_for_log(rf"heroku\[{name}\.1\]: Starting again")
        report(**{name: service.lines_of(f"{name}.1")})
        service.client.scale("shop", [{"type": name, "quantity": "0"}])
    report(pids_before=before, pids_after=service.pids())
    service.child.send_signal(signal.SIGTERM)
    report(status=service.child.wait(WAIT_S), left=[str(path) for path in DYNOS.glob("*/")])


if __name__ == "__main__":
    main()
