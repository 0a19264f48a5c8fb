"""An image of a container, made of this machine: a shell, a few tools, Python, and dynod with what it depends on.

As an image that installs dynod's wheel has it (that the wheel holds the tree is test_wheel.py's), but without a
registry to begin from: `docker import` takes it as a tar. Some 150 MB, of which nothing is compressed.
"""

import importlib.metadata
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from support import installed
from support.source_tree import PACKAGES, REPOSITORY

VERSION: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHON: Final = f"/usr/bin/python{VERSION}"
STDLIB: Final = Path(f"/usr/lib/python{VERSION}")
PACKAGES_AT: Final = f"usr/local/lib/python{VERSION}/dist-packages"
ETC: Final = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
DYNOD: Final = f"#!{PYTHON}\nimport sys\nfrom dynod.__main__ import main\nsys.exit(main())\n"
_TOOLS: Final = (
    *(
        "sh",
        "env",
        "cat",
        "ls",
        "sleep",
        "cp",
        "mkdir",
        "head",
        "id",
        "touch",
        "true",
        "echo",
        "ps",
        "grep",
        "date",
        "wc",
    ),
    *("setpriv", "setsid", "unshare"),
)
_FOLDERS: Final = {"tmp": 0o1777, "root": 0o700} | dict.fromkeys(
    ("dev", "etc", "proc", "run", "sys", "usr/bin", "usr/local/bin", "var/lib"), 0o755
)
_LEFT_OUT: Final = {"test", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip"}


def needs_python() -> None:
    """Skip, or fail in CI, where there is no Python of the system's that has what was installed for this one."""
    if not (Path(PYTHON).exists() and STDLIB.is_dir()):
        installed.missing(f"{PYTHON}, for which this Python's packages are made")


def write_image(to: Path) -> None:
    """Write the tar."""
    found = [shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin") for name in _TOOLS]
    programs = [Path(each) for each in (*found, PYTHON) if each is not None]
    packages = dict(_packages())
    native = [str(path) for path in (*packages.values(), *STDLIB.rglob("*.so")) if path.suffix == ".so"]
    with tarfile.open(to, "w") as tar:
        for name, mode in _FOLDERS.items():
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, mode
            tar.addfile(info)
        for name in ("bin", "sbin", "lib", "lib64"):
            _link(tar, name, f"usr/{name}")
        _link(tar, "usr/bin/python3", PYTHON)
        for name, text in {**ETC, "usr/local/bin/dynod": DYNOD}.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), 0o755 if name.endswith("/dynod") else 0o644
            tar.addfile(info, io.BytesIO(text.encode()))
        for program in programs:
            tar.add(program.resolve(), _inside(program))
        for library in _libraries([*map(str, programs), *native]):
            tar.add(library.resolve(), _inside(library))
        tar.add(STDLIB, _inside(STDLIB), filter=_wanted)
        for name, path in packages.items():
            tar.add(path, f"{PACKAGES_AT}/{name}")


def _packages() -> Iterator[tuple[str, Path]]:
    """Files by their names: dynod's own from the tree, with what was compiled of it; others' as they are installed."""
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("*"):
            if path.is_file():
                yield str(path.relative_to(REPOSITORY)), path
    for name in _needed("dynod", set()):
        for file in importlib.metadata.files(name) or ():
            if ".." not in file.parts:  # a script
                yield str(file), Path(str(file.locate()))


def _needed(name: str, known: set[str]) -> set[str]:
    """The distributions that this one depends on, and those that they do."""
    for text in importlib.metadata.requires(name) or ():
        requirement = Requirement(text)
        if (requirement.marker is None or requirement.marker.evaluate({"extra": ""})) and requirement.name not in known:
            known.add(requirement.name)
            _needed(requirement.name, known)
    return known


def _libraries(programs: list[str]) -> set[Path]:
    ended = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False)
    return {Path(found) for found in re.findall(r"(?:=> )?(/\S+) \(0x", ended.stdout) if "site-packages" not in found}


def _inside(path: Path) -> str:
    """`/bin` and the like are links into `/usr`."""
    name = os.fspath(path).lstrip("/")
    return name if name.startswith("usr/") else f"usr/{name}"


def _wanted(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = Path(info.name).name
    return None if name in _LEFT_OUT or name.startswith("config-") else info


def _link(tar: tarfile.TarFile, name: str, to: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, to
    tar.addfile(info)
