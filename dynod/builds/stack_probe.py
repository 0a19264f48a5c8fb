"""What this machine is, as far as slugs depend on it: its system, C library, processor, and its interpreters' versions.

Asked by the runner when a slug is made, and by releases when it is started. Blocks: interpreters are asked by running
them.
"""

import contextlib
import os
import platform
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dynod.core.slug_manifest import FILE as MANIFEST_FILE
from dynod.core.slug_manifest import LARGEST, Interpreter, SlugManifest, Stack, mismatch, read_manifest, version_in

ASKED_S: Final = 10.0  # for a version
VIRTUALENVS: Final = (".heroku/python", ".venv", "venv", "env")
LONGEST: Final = 64 * 1024  # bytes of a pyvenv.cfg


def this_machine(interpreters: Iterable[Interpreter] = ()) -> Stack:
    """What a slug that is made now is made on."""
    try:
        system = platform.freedesktop_os_release()
        name = system.get("PRETTY_NAME") or system.get("NAME", "")
    except OSError:
        name = f"{platform.system()} {platform.release()}"
    return Stack(os=name, libc=_libc(), machine=platform.machine(), interpreters=tuple(interpreters))


def found_versions(interpreters: Iterable[Interpreter]) -> dict[str, str | None]:
    """By path, the version that is there now; None where there is none. What cannot be asked is left out."""
    found: dict[str, str | None] = {}
    for each in interpreters:
        with contextlib.suppress(_UnaskedError):
            found[each.path] = _version(each.path)
    return found


def virtualenv_interpreters(tree: Path) -> list[Interpreter]:
    """Those of the virtual environments in a built tree, as their `pyvenv.cfg` has them."""
    found = []
    for place in VIRTUALENVS:
        settings = _settings(tree / place / "pyvenv.cfg")
        version = version_in(settings.get("version") or settings.get("version_info", ""))
        if version is None or not settings.get("home", "").startswith("/"):
            continue
        home = Path(settings["home"])
        minor = ".".join(version.split(".")[:2])
        paths = [home / f"python{minor}", home / "python3", home / "python"]
        path = settings.get("executable") or os.fspath(next((each for each in paths if each.exists()), paths[0]))
        if not Path(path).is_relative_to(tree):
            found.append(Interpreter(name="Python", version=version, path=path))
    return found


def manifest_of(folder: Path) -> SlugManifest | None:
    """What a slug that a build has made says of itself; None for one that came as it is."""
    try:
        descriptor = os.open(folder / MANIFEST_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(descriptor, "rb") as file:  # noqa: PTH123 (of a descriptor)
        try:
            return read_manifest(file.read(LARGEST).decode())
        except (OSError, UnicodeDecodeError):
            return None


def misfit(folder: Path, what: str, app: str) -> str | None:
    """Why a slug will not run on this machine, as one sentence; None: nothing speaks against it."""
    manifest = manifest_of(folder)
    if manifest is None:
        return None
    found = found_versions(manifest.stack.interpreters)
    return mismatch(manifest.stack, this_machine(), found=found, what=what, app=app)


class _UnaskedError(Exception):
    """It is there, and what it is stays unknown."""


def _version(path: str) -> str | None:
    if not os.access(path, os.X_OK):
        return None
    if not _is_nobody_elses(Path(path)):
        raise _UnaskedError  # such as a Node.js that root has unpacked with the owner that its archive names
    try:
        answer = subprocess.run(  # noqa: S603 (the interpreter that the slug's code is run by anyway)
            [path, "--version"], capture_output=True, text=True, errors="replace", timeout=ASKED_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _UnaskedError from error
    except OSError:
        return None
    return version_in(answer.stdout + answer.stderr) if answer.returncode == 0 else None


def _is_nobody_elses(path: Path) -> bool:
    """Whether only root and dynod's own user can have put it there: whoever deploys names it, and dynod may be root."""
    real = Path(os.path.realpath(path))
    try:
        statuses = [each.stat() for each in (real, *real.parents)]
    except OSError:
        return False
    return all(
        status.st_uid in {0, os.geteuid()} and (not status.st_mode & 0o022 or status.st_mode & stat.S_ISVTX)
        for status in statuses
    )


def _settings(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST).decode(errors="replace")
    except OSError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip().lower(): value.strip() for name, equals, value in pairs if equals}


def _libc() -> str:
    name, version = platform.libc_ver()
    if name:
        return f"{name} {version}"
    return "musl" if any(Path("/lib").glob("ld-musl-*")) else ""
