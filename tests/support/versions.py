"""Versions of dynod side by side, with a `current` link, as `systemd:install` lays them out (issue 9).

    versions = Versions(tmp_path / "versions")
    with Serve(state, python=versions.add("1")) as serve:
        versions.add("2", breaks=DIES_AT_IMPORT)
        serve.send_signal(signal.SIGHUP)

Each is an environment of its own with this one's packages; what is wrong with one is wrong with its cores alone, since
the verbs and the keeper of a version have to work for it to be installed at all.
"""

import sys
import sysconfig
from pathlib import Path
from typing import Final

_ONLY_CORES: Final = "import os, sys\nif 'dynod.daemon' in sys.orig_argv:\n"
DIES_AT_IMPORT: Final = f"{_ONLY_CORES}    os._exit(3)\n"
HANGS: Final = f"{_ONLY_CORES}    import time\n    while True: time.sleep(3600)\n"
HANGS_IN_CHARGE: Final = f"""{_ONLY_CORES}    from dynod.keeper.client import KeeperClient
    def hang(self):
        import time
        while True: time.sleep(3600)
    KeeperClient.ready = hang
"""
CANNOT_READ_THE_STATE: Final = f"""{_ONLY_CORES}    from dynod.store import schema
    from dataclasses import replace
    last = schema.MIGRATIONS[-1]
    schema.MIGRATIONS = (*schema.MIGRATIONS, replace(last, version=last.version + 1, statements=("no SQL",)))
"""
# Keeper and core of this version understand each other, and no other version's.
SPEAKS_ANOTHER_PROTOCOL: Final = "from dynod.keeper import protocol\nprotocol.VERSION += 1\n"


def dies_after(seconds: float) -> str:
    """By itself, so long after each time that it was in control."""
    return f"""{_ONLY_CORES}    from dynod.keeper.client import KeeperClient
    said = KeeperClient.ready
    def ready(self):
        import threading
        said(self)
        threading.Timer({seconds}, os._exit, (9,)).start()
    KeeperClient.ready = ready
"""


def write_breaks(packages: Path, breaks: str) -> None:
    """Have every interpreter of an environment do that at its start, once it knows all its packages.

    Not as sitecustomize.py: Debian's Python has one of its own, which comes first.
    """
    (packages / "what_breaks.py").write_text(breaks)
    (packages / "what_breaks.pth").write_text("import what_breaks\n")


class Versions:
    """A folder of them; the newest that was added, or chosen, is `current`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)

    def add(self, name: str, *, breaks: str = "") -> Path:
        """The interpreter of another version. `breaks`: what its cores do first."""
        environment = self.folder / name
        library = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        packages = environment / library
        packages.mkdir(parents=True)
        (environment / "bin").mkdir()
        base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
        (environment / "bin" / "python").symlink_to(base)
        (environment / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
        (packages / "shared.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        write_breaks(packages, breaks)
        self.choose(name)
        return environment / "bin" / "python"

    def choose(self, name: str) -> None:
        """That one is installed now."""
        new = self.folder / ".current.new"
        new.symlink_to(name)
        new.replace(self.folder / "current")
