"""The machine on which dynod is the service: README's *On a VM* run on a booted guest, a second app, what breaks it.

For the fixture `vm` of tests/integration/conftest.py: one guest for all files that use it. The second app, `shop`, is
at DOMAIN and has the dynos that SHOP says; every test leaves the service running, and the shop whole.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import pytest

from dynod.platform_api.schema import Dyno
from support.booted import Booted
from support.source_tree import REPOSITORY
from support.up import eventually

DOMAIN: Final = "shop.example.com"  # which stays the shop's whatever the settings are
SHOP: Final = ["web.1", "web.2", "worker.1"]
PYTHON: Final = "/usr/bin/python3"
STATE: Final = "/var/lib/dynod"
V1_MEMORY: Final = Path("/sys/fs/cgroup/memory")

WORKER: Final = """
import signal, sys, time
def leave(*_):
    time.sleep(int(open("takes").read()))
    print("worker has left in peace", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("worker works", flush=True)
while True:
    signal.pause()
"""


def commands() -> list[str]:
    """README's, one a line."""
    return _blocks()[0]


def storage_commands() -> list[str]:
    """Those that come after them: what the app writes is to stay."""
    return _blocks()[1]


def _blocks() -> list[list[str]]:
    text = (REPOSITORY / "README.md").read_text().partition("### On a VM")[2].partition("\n### ")[0]
    return [block.splitlines() for block in re.findall(r"```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]


def first_hour(vm: Booted) -> None:
    """README's commands, and what they lead to. Then the Django app rests: it would boot with each dynod."""
    *before, last = commands()
    for command in before:
        vm.shell(command)
    with subprocess.Popen([*vm.inside, "bash", "-c", last], stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        assert 'id="dyno"' in ask(vm, host="demo.example.com")
        assert any("heroku[router]" in line and "demo.example.com" in line for line in tail.stdout)
        tail.kill()
    vm.shell("dynod ps:scale web=0 worker=0 -a demo")
    for command in storage_commands():
        vm.shell(command)
    folders = vm.shell("dynod storage -a demo --json")
    assert list(vm.path(json.loads(folders)[0]["folder"]).glob("*.sqlite3")), folders


def make_shop(vm: Booted) -> None:
    folder = vm.path("/srv/shop")
    folder.mkdir(exist_ok=True)
    shutil.copy(REPOSITORY / "tests/toys/web_server.py", folder)
    procfile = {"web": f"{PYTHON} web_server.py --counts", "worker": f"{PYTHON} worker.py", "idle": "sleep infinity"}
    (folder / "Procfile").write_text("".join(f"{name}: {command}\n" for name, command in procfile.items()))
    (folder / "worker.py").write_text(WORKER)
    (folder / "takes").write_text("0")
    (folder / "app.json").write_text(json.dumps({"formation": {"web": {"quantity": 2}, "worker": {"quantity": 1}}}))
    vm.shell("dynod apps:create shop --dir /srv/shop && dynod settings:set settle_s=0 -a shop && dynod ps:wait -a shop")
    vm.shell(f"dynod domains:add {DOMAIN} -a shop")


def dynos(vm: Booted, app: str = "shop") -> dict[str, Dyno]:
    with vm.api() as client:
        return {dyno["name"]: dyno for dyno in client.dynos(app)}


def pids(vm: Booted) -> dict[str, int | None]:
    return {name: dyno["dynod"]["pid"] for name, dyno in dynos(vm).items()}


def is_whole(vm: Booted) -> bool:
    """Whether every dyno of the shop is up."""
    with contextlib.suppress(Exception):
        found = dynos(vm)
        return sorted(found) == SHOP and {dyno["state"] for dyno in found.values()} == {"up"}
    return False


def wait_until_whole(vm: Booted) -> None:
    eventually(lambda: is_whole(vm), what="every dyno of the shop is up", timeout_s=90)


def core_of(vm: Booted) -> int:
    """The core's pid, by this machine's numbers."""
    keeper = vm.main_pid("dynod.service")
    for child in _children(keeper):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if b"dynod.daemon" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return 0


def _children(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return []


def replace_core(vm: Booted, number: int) -> float:
    """Send the core a signal that it does not survive; returns when another is in control, after how many seconds."""
    core, began = core_of(vm), time.monotonic()
    os.kill(core, number)
    wait_for_another_core(vm, core)
    return time.monotonic() - began


def wait_for_another_core(vm: Booted, core: int) -> None:
    """Until it answers, and every dyno of the shop is up."""
    eventually(lambda: core_of(vm) not in {0, core} and is_whole(vm), what="the next core", timeout_s=60)


def ask(vm: Booted, path: str = "/", *, host: str = "shop.localhost", port: int = 80) -> str:
    """One request, from within the guest."""
    return vm.run("curl", "-s", "--max-time", "60", "-H", f"Host: {host}", f"http://127.0.0.1:{port}{path}").stdout


@contextlib.contextmanager
def socket_of(vm: Booted, port: int) -> Iterator[None]:
    """Another program that listens there."""
    script = f"import socket; s = socket.create_server(('', {port})); print(flush=True); input()"
    with subprocess.Popen(
        [*vm.inside, PYTHON, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "\n"
        yield
        child.stdin.write("\n")


class FullDisk:
    """The disk of the state without a byte that is free, from `__enter__` to `__exit__`."""

    def __init__(self, vm: Booted) -> None:
        self._vm = vm
        self.name = "filler"

    def __enter__(self) -> Self:
        self.again()
        return self

    def __exit__(self, *error: object) -> None:
        self._vm.path(f"{STATE}/{self.name}").unlink()

    def again(self) -> None:
        """Fill what was freed meanwhile; by real blocks, which need not be written."""
        file = os.open(self._vm.path(f"{STATE}/{self.name}"), os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            for size in (256 << 20, 1 << 20, 4096):
                self._fill(file, size)
            disk = os.fstatvfs(file)
        finally:
            os.close(file)
        assert disk.f_bavail == 0

    @staticmethod
    def _fill(file: int, size: int) -> None:
        while True:
            try:
                os.posix_fallocate(file, os.fstat(file).st_size, size)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error  # noqa: PT017 (it is what ends the loop)
                return


@contextlib.contextmanager
def starved(pid: int) -> Iterator[Path]:
    """The kernel ends this process, one of this machine's numbers, at the next page that it wants. Its group is given.

    By a group of version 1, which this machine's root has beside the guest's: it is the kernel's own OOM killer.
    """
    if not (V1_MEMORY / "memory.limit_in_bytes").exists():
        pytest.skip("NOT TESTED: no control groups of version 1 for memory")
    group = V1_MEMORY / f"dynod-test-{pid}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text("4096")
        (group / "cgroup.procs").write_text(str(pid))
        yield group
        eventually(lambda: not (group / "cgroup.procs").read_text(), what="the end of what is starved")
        assert "oom_kill 1" in (group / "memory.oom_control").read_text()
    finally:
        for left in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(left), signal.SIGKILL)
        eventually(lambda: _removed(group), what="the group is empty")


def _removed(group: Path) -> bool:
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


def status(pid: int | str) -> dict[str, str]:
    """/proc/PID/status."""
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
