"""`dynod serve` on a machine that gives less: as in a plain container of Docker, or to somebody who is not root.

Made of a mount namespace, for root on Linux. Its own tree of folders has the system, this Python, the sources, and
nothing that only root may enter on the way, so that other users run the same dynod. Under chroot(2) nobody can make
user namespaces (user_namespaces(7)), as in Docker's containers, whose capabilities are those below.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import pytest

from support.contained import visible
from support.serve import Serve
from support.source_tree import REPOSITORY
from support.up import Up

NOBODY: Final = 65534
_DOCKERS: Final = (
    *("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "net_bind_service"),
    *("net_raw", "sys_chroot", "mknod", "audit_write", "setfcap"),
)
IN_DOCKER: Final = ("setpriv", f"--bounding-set=-all,{','.join(f'+{name}' for name in _DOCKERS)}", "--inh-caps=-all")
AS_NOBODY: Final = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all")
_SERVICES: Final = ",".join(
    f"+{name}" for name in ("net_bind_service", "setuid", "setgid", "chown", "fowner", "dac_override", "kill")
)
AS_SERVICE: Final = (
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"),
    *(f"--{kind}=-all,{_SERVICES}" for kind in ("inh-caps", "ambient-caps", "bounding-set")),
)
# Root of a namespace of users that has few: as in a container without root. A child writes the maps from outside.
_FEW_USERS: Final = """
import ctypes, os, sys
reading, writing = os.pipe()
me, child = os.getpid(), os.fork()
if child == 0:
    os.read(reading, 1)
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{me}/{name}", "w") as file:
            file.write("0 0 65536")
    os._exit(0)
assert ctypes.CDLL(None).unshare(0x10000000 | 0x00020000) == 0
os.write(writing, b".")
assert os.waitpid(child, 0)[1] == 0
os.close(reading)
os.close(writing)
os.execv(sys.argv[1], sys.argv[1:])
"""
AS_ROOTLESS: Final = (sys.executable, "-c", _FEW_USERS)

_SYSTEM: Final = ("/usr", "/etc", "/proc", "/dev")
_LINKS: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ENTER: Final = """
set -e
umask 022
root=$1 how=$2; shift 2
mount -t tmpfs -o mode=755 none "$root"
mkdir -m 1777 "$root/tmp"
while [ "$1" != -- ]; do
  if [ -L "$1" ]; then ln -s "$(readlink "$1")" "$root$1"; else mkdir -p "$root$1"; mount --rbind "$1" "$root$1"; fi
  shift
done
shift
cd "$root"
if [ "$how" = chroot ]; then exec chroot . "$@"; fi
mkdir before
pivot_root . before
umount -l /before
exec "$@"
"""


def needs_root() -> None:
    """Skip the test where nothing can be mounted."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root, on Linux")


class _Box:
    """The machine: `own` is the only folder of it that can be written to, and every user gets there."""

    def __init__(self) -> None:
        self._place = Path(tempfile.mkdtemp(prefix="boxed-", dir="/srv"))  # not in /tmp, which dynos of users share
        self._place.chmod(0o755)
        self.own = self._place / "own"
        for folder in (self.own, self._place / "root"):
            folder.mkdir(mode=0o755)

    def within(self, command: Sequence[str], *, rights: Sequence[str], namespaces: bool, runtime: Path) -> list[str]:
        """`rights`: one of those above. `namespaces`: whether user namespaces can be made there."""
        if rights in {AS_NOBODY, AS_SERVICE}:
            for path in (self.own, *self.own.rglob("*"), runtime):
                os.chown(path, NOBODY, NOBODY)
        wanted = [*_SYSTEM, *_LINKS, sys.base_prefix, sys.prefix, str(REPOSITORY), str(self.own), str(runtime)]
        seen = [path for path in wanted if os.path.lexists(path)]
        seen = [path for path in seen if not any(path.startswith(f"{other}/") for other in seen)]
        return [
            *("unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, "sh"),
            *(str(self._place / "root"), "pivot" if namespaces else "chroot", *seen, "--", *rights),
            *command,
        ]

    def remove(self) -> None:
        shutil.rmtree(self._place, ignore_errors=True)


class Boxed(Serve):
    """As `Serve`, in a box."""

    def __init__(
        self,
        rights: Sequence[str],
        *,
        namespaces: bool,
        isolation: str = "strongest",
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._box = _Box()
        self.own = self._box.own
        super().__init__(self.own / "state", isolation=isolation, env=env, toml=f"[container]\nvisible = {visible()}\n")
        command = self._command
        self._command = self._box.within(command, rights=rights, namespaces=namespaces, runtime=self.runtime)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._box.remove()


class BoxedUp(Up):
    """As `Up`, in a box; `make` puts the app's folder into the folder that it is given."""

    def __init__(self, make: Callable[[Path], Path], *arguments: str, rights: Sequence[str], namespaces: bool) -> None:
        self._box = _Box()
        self.own = self._box.own
        state = {"XDG_STATE_HOME": str(self.own / "kept")}
        super().__init__(make(self.own), *arguments, env=state)
        command = self._command
        self._command = self._box.within(command, rights=rights, namespaces=namespaces, runtime=self.runtime)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._box.remove()
