"""A machine with a kernel of its own for a test, where this machine's lacks something: control groups of version 2.

    reports = run_in_guest("groups_probe", needs=("psutil",), memory_mb=512)

QEMU without KVM boots Debian's cloud kernel; `make test-tools` unpacks both into tests/.qemu. The guest has no disk and
no network but its loopback: all its files are in an initramfs, made here of this Python, of dynod with the
distributions that the probe needs, and of a few programs, at the paths that they have on this machine. Its first
process is tests/support/guest/init.py, and what the probe reports comes over the serial line. 10 s of CPU, of which
half are the boot.
"""

import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, Final

import pytest

from support.guest.reporting import REPORT
from support.installed import missing
from support.source_tree import PACKAGES, REPOSITORY

UNPACKED: Final = REPOSITORY / "tests/.qemu"
LIBRARIES: Final = UNPACKED / "usr/lib/x86_64-linux-gnu"
GUEST_S: Final = 200.0  # until it has done all of it and is switched off; only to fail
PROCESSOR: Final = "qemu64,+rdrand"  # what it can do besides is slow where it is not done by a processor
PROGRAMS: Final = ("sh", "setsid", "setpriv", "sleep", "true", "id", "cat", "cp", "env")
MODULE: Final = "lib/modules/*/kernel/fs/overlayfs/overlay.ko"
MERGED: Final = ("/bin", "/sbin", "/lib", "/lib64")  # links into /usr on most systems
OWN_FOLDERS: Final = ("tests/support", "tests/toys", *PACKAGES)
NOT_NEEDED: Final = frozenset({"test", "site-packages", "idlelib", "tkinter", "ensurepip", "lib2to3", "node_modules"})
NOT_READ: Final = (".opt-1.pyc", ".opt-2.pyc", ".a", ".c", ".h", ".pyx", ".pxd", ".pyi", ".exe")
_NAME: Final = re.compile(r"[\w.-]+")
_LIBRARY: Final = re.compile(r"(?:=> |^\t)(/\S+) \(0x", re.MULTILINE)  # in what ldd(1) prints


def run_in_guest(probe: str, *arguments: str, needs: Sequence[str], memory_mb: int) -> list[dict[str, Any]]:
    """What the probe, a module of `support.guest`, has reported, in the order in which it did.

    `needs`: distributions that it imports; those that they require come along.
    """
    found = shutil.which("qemu-system-x86_64", path=f"{UNPACKED}/usr/bin:{os.environ.get('PATH', '')}")
    emulator = found or missing("QEMU in tests/.qemu (make test-tools)")
    kernel = next(UNPACKED.glob("boot/vmlinuz-*"), None) or missing("a kernel in tests/.qemu (make test-tools)")
    with tempfile.TemporaryDirectory(prefix="dynod-guest-") as folder:
        image = Path(folder) / "image"
        with image.open("wb") as file:
            Image(file).write([sys.executable, "-m", f"support.guest.{probe}", *arguments], needs)
        ended = subprocess.run(
            [
                *(emulator, "-L", str(UNPACKED / "usr/share/qemu"), "-L", str(UNPACKED / "usr/share/seabios")),
                *("-accel", "tcg", "-cpu", PROCESSOR, "-smp", "2", "-m", str(memory_mb)),
                *("-nographic", "-no-reboot", "-nic", "none", "-kernel", str(kernel), "-initrd", str(image)),
                *("-append", "console=ttyS0 panic=-1 quiet mitigations=off"),
            ],
            env={
                **os.environ,
                "LD_LIBRARY_PATH": f"{LIBRARIES}:{UNPACKED}/lib/x86_64-linux-gnu",
                "QEMU_MODULE_DIR": str(LIBRARIES / "qemu"),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=GUEST_S,
            check=False,
        )
    said = ended.stdout.decode(errors="replace").replace("\r", "")
    print(said)  # shown where the test fails
    reports = [json.loads(line.partition(REPORT)[2]) for line in said.splitlines() if REPORT in line]
    if not reports or reports[-1] != {"ended": 0}:
        pytest.fail("the guest has not come to its end")
    return reports[:-1]


class Image:
    """An initramfs: cpio's "newc" archive (Linux, early-userspace/buffer-format.rst)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._there: set[str] = set()

    def write(self, command: Sequence[str], needs: Sequence[str]) -> None:
        """All of it; `command` is what the guest is for."""
        for name in MERGED:
            if (link := Path(name)).is_symlink():
                self._entry(name, link.lstat().st_mode, os.fsencode(link.readlink()))
        for path in _files(needs):
            self._add(path)
        for built in UNPACKED.glob(MODULE):
            self._entry(f"/modules/{built.name}", stat.S_IFREG | 0o644, built.read_bytes())
        for folder in ("/proc", "/sys", "/dev", "/tmp", "/run"):
            self._entry(folder, stat.S_IFDIR | 0o755)
        self._record("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))  # what the first process writes to
        for file, text in (("passwd", "root:x:0:0:root:/:/bin/sh\n"), ("group", "root:x:0:\n")):
            self._entry(f"/etc/{file}", stat.S_IFREG | 0o644, text.encode())
        init = (REPOSITORY / "tests/support/guest/init.py").read_text()
        self._entry("/init", stat.S_IFREG | 0o755, f"#!{Path(sys.executable).resolve()} -IS\n{init}".encode())
        job = {"command": list(command), "paths": [str(REPOSITORY / "tests"), str(REPOSITORY)]}
        self._entry("/job.json", stat.S_IFREG | 0o644, json.dumps(job).encode())
        self._record("TRAILER!!!", 0)

    def _add(self, path: Path) -> None:
        """A file or a link of this machine, whatever that leads to, and the folders above."""
        path = path.parent.resolve() / path.name
        name = str(path)
        if name in self._there:
            return
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            self._entry(name, found.st_mode, os.fsencode(path.readlink()))
            self._add(Path(os.path.normpath(path.parent / path.readlink())))
        elif stat.S_ISREG(found.st_mode):
            # With its time: what was compiled is valid for a source of that time.
            self._entry(name, found.st_mode | 0o444, path.read_bytes(), int(found.st_mtime))
        else:
            self._entry(name, stat.S_IFDIR | 0o755)

    def _entry(self, name: str, mode: int, data: bytes = b"", changed: int = 0) -> None:
        above = str(Path(name).parent)
        if above not in self._there and above != "/":
            self._entry(above, stat.S_IFDIR | 0o755)
        if name not in self._there:
            self._there.add(name)
            self._record(name.lstrip("/"), mode, data, changed)

    def _record(
        self, name: str, mode: int, data: bytes = b"", changed: int = 0, device: tuple[int, int] = (0, 0)
    ) -> None:
        """Root's, with one link. Names and contents are filled up to four bytes."""
        fields = (len(self._there), mode, 0, 0, 1, changed, len(data), 0, 0, *device, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        self._file.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))


def _files(needs: Sequence[str]) -> Iterator[Path]:
    """Of this machine: programs, Python, its library, dynod, distributions, and the libraries that all that needs."""
    standard = Path(sysconfig.get_path("stdlib"))
    linked = [Path(sys.executable), *_programs()]
    for top in (standard, *(REPOSITORY / name for name in OWN_FOLDERS)):
        for folder, below, names in os.walk(top):
            below[:] = [name for name in below if name not in NOT_NEEDED and not name.startswith("config-")]
            found = [Path(folder, name) for name in names if not name.endswith(NOT_READ) and "_tkinter" not in name]
            yield from found
            linked += [path for path in found if ".so" in path.name]
    for path in _installed(needs):
        yield path
        if ".so" in path.name or path.name == "bwrap":
            linked.append(path)
    yield from (*linked, Path(sys.prefix) / "pyvenv.cfg", Path("/bin/sh"))
    listed = subprocess.run(["ldd", *map(str, linked)], capture_output=True, text=True, check=False).stdout
    yield from map(Path, set(_LIBRARY.findall(listed)))


def _programs() -> Iterator[Path]:
    for name in PROGRAMS:
        if (path := shutil.which(name, path="/usr/bin:/bin")) is not None:
            yield Path(path)


def _installed(needs: Sequence[str]) -> Iterator[Path]:
    todo, seen = list(needs), set[str]()
    while todo:
        name = todo.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        with contextlib.suppress(metadata.PackageNotFoundError):  # required on another system
            distribution = metadata.distribution(name)
            for file in distribution.files or ():
                path = Path(str(file.locate())).resolve()
                if path.is_file() and not path.name.endswith(NOT_READ):
                    yield path
            required = [each for each in distribution.requires or () if "extra ==" not in each]
            todo += [match[0] for each in required if (match := _NAME.match(each)) is not None]
