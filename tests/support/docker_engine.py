"""A Docker of the test's own: dockerd and its containerd in namespaces of mounts, processes and the network.

Nothing of it is left: its files lie in one folder, its processes end with the first of their namespace, and it has
control groups below one of its own. It answers on a socket alone, and what its containers publish is reached from its
network only (`Engine.get`). No registry: images are imported.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

from support import installed
from support.up import eventually

COMMAND_S: Final = 60.0
GROUPS: Final = Path("/sys/fs/cgroup")
# dockerd writes a key into /etc. Its own iptables are not needed: published ports are passed on by docker-proxy.
_START: Final = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/etc /run/etc.work
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/etc.work /etc
ip link set lo up
exec dockerd --data-root "$1/data" --exec-root "$1/exec" --host "unix://$1/docker.sock" --pidfile "$1/pid" \
  --cgroup-parent "/$2" --exec-opt native.cgroupdriver=cgroupfs --default-ulimit nofile=4096:4096 \
  --iptables=false --ip-masq=false
"""


class Container:
    """One container, whatever became of it."""

    def __init__(self, engine: "Engine", name: str) -> None:
        self._engine = engine
        self.name = name

    def exec(self, *command: str, options: Sequence[str] = (), status: int = 0) -> str:
        """What a command in it prints; its status has to be as it is said."""
        ended = self._engine.docker("exec", *options, self.name, *command, check=False)
        assert ended.returncode == status, f"{command}: {ended.stdout}{ended.stderr}\n{self.output()}"
        return ended.stdout

    def output(self) -> str:
        """What it has written: its stdout, then its stderr."""
        ended = self._engine.docker("logs", self.name)
        return ended.stdout + ended.stderr

    def notices(self) -> list[str]:
        """What it has written to stderr."""
        return self._engine.docker("logs", self.name).stderr.splitlines()

    def wait_for(self, pattern: str) -> str:
        """The first line of its output that matches."""
        command = self._engine.command("logs", "--follow", self.name)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as following:
            timer = threading.Timer(COMMAND_S, following.kill)
            timer.start()
            assert following.stdout is not None
            try:
                found = next((line for line in following.stdout if re.search(pattern, line)), None)
            finally:
                timer.cancel()
                following.kill()
        assert found is not None, f"{pattern}: {self.output()}"
        return found.rstrip()

    def stop(self) -> int:
        """`docker stop`, which sends SIGTERM and kills after ten seconds; its exit status."""
        self._engine.docker("stop", self.name)
        return self.status()

    def status(self) -> int:
        """Wait for its end."""
        return int(self._engine.docker("wait", self.name).stdout)

    def processes(self) -> list[str]:
        """`PID STATE COMMAND`, as it sees them, but for the look itself."""
        lines = self.exec("ps", "axo", "pid=,stat=,args=").splitlines()
        return [line.strip() for line in lines if " ps axo" not in line]


class Engine:
    """From `__enter__` to `__exit__`; for root on Linux."""

    def __init__(self) -> None:
        self._dockerd = installed.program("dockerd")
        for name in ("curl", "nsenter", "unshare", "ip"):
            installed.program(name)
        if os.geteuid() != 0:
            pytest.skip("needs root")
        # Short, as it has sockets in it.
        self.folder = Path(tempfile.mkdtemp(prefix="docker-"))
        self.folder.chmod(0o755)
        self._programs = [self._dockerd, str(Path(self._dockerd).parent.parent / "bin" / "docker")]
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def __enter__(self) -> Self:
        folders = dict.fromkeys(str(Path(program).parent) for program in self._programs)
        environment = {**os.environ, "PATH": ":".join([*folders, os.environ["PATH"], "/usr/sbin", "/sbin"])}
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *("unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"),
                    *("sh", "-c", _START, "sh", str(self.folder), self.folder.name),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        try:
            eventually((self.folder / "docker.sock").exists, what="dockerd's socket")
            self.docker("version")
        except BaseException:
            print((self.folder / "log").read_text(errors="replace"))
            self._end()
            raise
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self._pid = int(children[0])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def command(self, *arguments: str) -> list[str]:
        """Docker's own client: whatever else is called so on this machine may be another's."""
        return [self._programs[1], "--host", f"unix://{self.folder}/docker.sock", *arguments]

    def docker(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        ended = subprocess.run(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert not check or ended.returncode == 0, f"{arguments}: {ended.stdout}{ended.stderr}"
        return ended

    @contextlib.contextmanager
    def container(self, image: str, *options: str, command: Sequence[str]) -> Iterator[Container]:
        """`docker run --detach`, and everything of it removed at the end."""
        name = self.docker("run", "--detach", *options, image, *command).stdout.strip()
        try:
            yield Container(self, name)
        finally:
            self.docker("rm", "--force", "--volumes", name)

    def get(self, port: int, path: str = "/") -> str:
        """A page of what is published on this port, asked for as a program outside of all containers does."""
        url = f"http://127.0.0.1:{port}{path}"
        command = ["nsenter", f"--net=/proc/{self._pid}/ns/net", "curl", "--silent", "--show-error", "--fail", url]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def volume(self, *, uid: int = 0) -> Path:
        """An empty folder of that user's, to be mounted."""
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix="volume-"))
        os.chown(folder, uid, uid)
        return folder

    def _end(self) -> None:
        """The first process of its namespace is dockerd: with it goes everything that it has started."""
        assert self._process is not None
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait(COMMAND_S)
        own = [group for group in (*GROUPS.glob(f"*/{self.folder.name}"), GROUPS / self.folder.name) if group.is_dir()]
        eventually(lambda: all(map(_removed, own)), what="the end of its containers")
        shutil.rmtree(self.folder)


def _removed(group: Path) -> bool:
    """Groups of a namespace's processes are empty soon after it."""
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
    return not group.exists()
