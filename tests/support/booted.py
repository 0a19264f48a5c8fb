"""A machine of its own for a test: real systemd, booted in a second over a throw-away overlay of this machine's files.

    with Booted() as vm:
        vm.run("systemctl", "start", "dynod")
        assert vm.show("dynod.service", "ActiveState") == {"ActiveState": "active"}

systemd-nspawn in a control group and namespaces of its own: the guest has no network but its loopback, writes to memory
alone, and sees this machine's programs. It needs root, systemd-container and control groups of version 2; elsewhere the
tests that need it say that they are skipped. Limits of memory and processes are accepted in it and not enforced where
this machine has the controllers in version 1. Its /var/lib/dynod is a disk of its own, ext4 in a file: what dynos write
is a layer of an overlay, which cannot lie on the guest's own, and a disk can be filled.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

from dynod.platform_api.client import ApiClient
from dynod.platform_api.finding import Daemon
from support import installed
from support.source_tree import PACKAGES, REPOSITORY, written_files
from support.up import eventually

BOOT_S: Final = 60.0
COMMAND_S: Final = 120.0
PYTHON: Final = "/usr/bin/python3"  # the guest's: one under somebody's home is hidden from services
WHEELS: Final = "/opt/wheels-of-the-test"  # in the guest; builds see /opt
DISK: Final = "3g"  # of /var/lib/dynod: twice what builds leave alone
REBOOT: Final = 133  # systemd-nspawn's exit status where the guest wants to be started again

_BOOT: Final = f"""
set -e
mount --make-rprivate /
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/wk" "$1/root" "$1/state"
truncate -s {DISK} "$1/disk"  # of holes: it takes what is written to it
mkfs.ext4 -q -m 0 "$1/disk"
mount -o loop "$1/disk" "$1/state"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/wk" "$1/root"
R=$1/root
# What this machine has enabled would start; a missing machine-id would enable it all again.
rm -rf $R/etc/systemd/system/*.wants $R/etc/systemd/system/*.requires $R/etc/rc?.d/S*
tr -d - </proc/sys/kernel/random/uuid >$R/etc/machine-id
rm -rf $R/var/lib/apt/lists/* $R/var/cache/apt/*.bin  # apt has nothing to fetch, and need not read what there is
mkdir -p $R/var/log/journal $R{WHEELS}
cp "$2"/*.whl $R{WHEELS}/
printf '[global]\\nno-index = true\\nfind-links = {WHEELS}\\ndisable-pip-version-check = true\\n' >$R/etc/pip.conf
printf '[Journal]\\nRateLimitIntervalSec=0\\nForwardToConsole=no\\n' >$R/etc/systemd/journald.conf
status={REBOOT}
while [ $status = {REBOOT} ]; do
  status=0
  systemd-nspawn --quiet --directory=$R --boot --register=no --keep-unit --machine="$(basename "$1" | tr _ -)" \\
    --bind="$1/state:/var/lib/dynod" --private-network \\
    --console=pipe --link-journal=no -- systemd.unit=multi-user.target </dev/null || status=$?
done
"""


class Booted:
    """One guest, from `__enter__` to `__exit__`."""

    def __init__(self, wheels: Path) -> None:
        """`wheels`: a folder of them, which the guest has as WHEELS."""
        _needs()
        self._wheels = wheels
        # The name is the guest's too, and systemd takes no underscore in one, as mkdtemp's may have.
        self._folder = Path(tempfile.gettempdir()) / f"dynod-vm-{uuid.uuid4().hex[:12]}"
        self._folder.mkdir(mode=0o700)
        self._group = _unified() / self._folder.name
        self._console = self._folder.with_suffix(".log")
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.pid = 0  # of the guest's systemd

    def __enter__(self) -> Self:
        self._group.mkdir()
        with self._console.open("wb") as console:
            self._nspawn = subprocess.Popen(
                [
                    *("bash", "-c", 'echo $BASHPID >"$0/cgroup.procs"; exec "$@"', str(self._group)),
                    *("unshare", "--mount", "--cgroup", "--pid", "--fork", "--kill-child", "--mount-proc"),
                    *("bash", "-c", _BOOT, "boot", str(self._folder), str(self._wheels)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        try:
            self._wait_until_booted(before=0)
        except BaseException:
            print(self._console.read_text(errors="replace"))
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGRTMIN + 4)  # poweroff.target, systemd(1)
        assert self._nspawn is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._nspawn.wait(10)
        self._end()

    # --- what a person at its console does --------------------------------------------------------------------------

    @property
    def cpu_s(self) -> float:
        """What all that was ever run in it has taken of the processors, in seconds."""
        (line,) = (each for each in (self._group / "cpu.stat").read_text().splitlines() if "usage_usec" in each)
        return int(line.split()[1]) / 1e6

    def run(self, *command: str, check: bool = True, timeout_s: float = COMMAND_S) -> subprocess.CompletedProcess[str]:
        """Run it in the guest as root. Asserts status 0 unless told otherwise."""
        ended = subprocess.run(
            [*self.inside, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert not check or ended.returncode == 0, f"{command}: {ended.returncode}\n{ended.stdout}{ended.stderr}"
        return ended

    def shell(self, script: str, *, timeout_s: float = COMMAND_S) -> str:
        """A script of commands, of which each must succeed; returns what they print."""
        return self.run("bash", "-euo", "pipefail", "-c", script, timeout_s=timeout_s).stdout

    @property
    def inside(self) -> list[str]:
        """What a command begins with to run in the guest."""
        variables = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/tmp"]
        return ["nsenter", "-t", str(self.pid), "-a", "--wd", "env", "-i", *variables]

    @property
    def in_network(self) -> list[str]:
        """The same for a program of this machine that talks to the guest's ports."""
        return ["nsenter", "-t", str(self.pid), "-n"]

    def path(self, inside: str) -> Path:
        """A file of the guest, from here."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def reboot(self) -> None:
        """As `systemctl reboot`; returns when it has booted again."""
        before = self.pid
        self.run("systemctl", "reboot", check=False)
        self._wait_until_booted(before=before)

    # --- what it says of itself -------------------------------------------------------------------------------------

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """`systemctl show`."""
        lines = self.run("systemctl", "show", unit, f"--property={','.join(properties)}").stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def main_pid(self, unit: str) -> int:
        """Its main process, by this machine's numbers; 0 where it has none, or none any more."""
        inner = self.show(unit, "MainPID")["MainPID"]
        return self._outer(int(inner)) if inner != "0" else 0

    def outer(self, inner: int) -> int:
        """The number that a process of the guest has here."""
        found = self._outer(inner)
        assert found, f"the guest has no process {inner}"
        return found

    def _outer(self, inner: int) -> int:
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                if (status.parent / "ns/pid").readlink() == Path(f"/proc/{self.pid}/ns/pid").readlink():
                    (line,) = (each for each in status.read_text().splitlines() if each.startswith("NSpid:"))
                    if line.split()[-1] == str(inner):
                        return int(status.parent.name)
        return 0

    def journal(self, *matches: str) -> list[dict[str, str]]:
        """Entries of its journal, as `journalctl` finds them."""
        self.run("journalctl", "--sync")
        return [json.loads(line) for line in self.run("journalctl", "-o", "json", *matches).stdout.splitlines()]

    def said(self, unit: str) -> str:
        """What a unit has written, and systemd about it."""
        return "\n".join(str(entry.get("MESSAGE")) for entry in self.journal("-u", unit))

    @contextlib.contextmanager
    def api(self) -> Iterator[ApiClient]:
        """The API of the dynod that is its service."""
        socket = str(self.path("/run/dynod/dynod.sock"))
        with contextlib.closing(ApiClient(Daemon(socket=socket, source="the guest's"))) as client:
            yield client

    # --- private ----------------------------------------------------------------------------------------------------

    def _wait_until_booted(self, *, before: int) -> None:
        def booted() -> bool:
            assert self._nspawn is not None
            assert self._nspawn.poll() is None, "systemd-nspawn has ended"
            pid = _systemd_below(self._nspawn.pid)
            if pid in {None, before}:
                return False
            self.pid = pid or 0
            state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
            return state in {"running", "degraded"}

        eventually(booted, what="the guest has booted", timeout_s=BOOT_S)

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            (self._group / "cgroup.kill").write_text("1")
        if self._nspawn is not None:
            self._nspawn.wait(30)
        eventually(lambda: "populated 0" in (self._group / "cgroup.events").read_text(), what="the end of the guest")
        for folder, _, _ in os.walk(self._group, topdown=False):
            Path(folder).rmdir()
        self._folder.rmdir()
        self._console.unlink()


def wheelhouse(folder: Path) -> Path:
    """Wheels of all that dynod, its build and the Django example need: the guest has no network."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wheels = folder / "wheels"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--only-binary", ":all:"]
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    requirements = REPOSITORY / "config/examples/django/requirements.txt"
    ended = subprocess.run(
        [*pip, "--dest", str(wheels), *wanted, "-r", str(requirements)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return wheels


def copy_sources(to: Path) -> None:
    """What a clone of this project holds, as far as it is installed or run as an example."""
    for path in written_files():
        relative = path.relative_to(REPOSITORY)
        if relative.parts[0] in {*PACKAGES, "systemd", "config", "pyproject.toml", "README.md"}:
            (to / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to / relative)


def _needs() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can boot a machine of its own")
    for name in ("systemd-nspawn", "nsenter", "unshare"):
        installed.program(name)
    if not (_unified() / "cgroup.procs").exists():
        installed.missing("control groups of version 2")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = subprocess.run(
        [PYTHON, "-c", "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.stdout.strip() != version:
        installed.missing(f"{PYTHON} {version} with venv, for which wheels are built here")


def _unified() -> Path:
    """Where control groups of version 2 are, whatever the machine has beside them."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] == "cgroup2":
            return Path(before.split()[4])
    return Path("/nowhere")


def _systemd_below(pid: int) -> int | None:
    """The guest's first process, among the descendants of `pid`."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                return int(child)
            if (found := _systemd_below(int(child))) is not None:
                return found
    return None
