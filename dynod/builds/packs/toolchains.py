"""Which interpreters this machine has: every Python and every Node.js that the build's user can run.

Looked for on PATH, in the system's own folders, and where the usual version managers put theirs. Each is asked itself:
what a file is called says nothing (pyenv's `python3.12` is a script that may refuse).
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dynod.builds.packs.core.version import Version, read_version

SYSTEM_FOLDERS: Final = ("/usr/local/bin", "/usr/bin")
MOST_ASKED: Final = 40  # programs; each takes some 20 ms to answer
ANSWER_S: Final = 20.0  # seconds until one that does not answer is passed over
_PYTHON_NAME: Final = re.compile(r"python3(\.\d+)?")
_ASK_PYTHON: Final = (
    "import sys, json, importlib.util as u;"
    "print(json.dumps(['.'.join(map(str, sys.version_info[:3])), sys.version_info.releaselevel,"
    " getattr(sys, '_base_executable', sys.executable), all(map(u.find_spec, ('venv', 'ensurepip')))]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """An interpreter of this machine: the real program, not a shim or an environment's copy."""

    path: Path
    version: Version


def pythons() -> tuple[Tool, ...]:
    """Those that can make virtual environments: PATH's own `python3` first, dynod's last."""
    versions = ("~/.pyenv/versions/*/bin", "~/.local/share/uv/python/*/bin", "/opt/python*/bin")
    folders = _folders(*versions, roots={"PYENV_ROOT": "versions/*/bin"})
    named = (entry for folder in folders for entry in _programs(folder) if _PYTHON_NAME.fullmatch(entry.name))
    first = sorted((p for f in _path() for p in [f / "python3"] if p.exists()), key=lambda _p: 0)
    found: dict[Version, Tool] = {}
    for program in _distinct([*first, *named, Path(sys.executable)]):
        if (tool := _python(program)) is not None:
            found.setdefault(tool.version, tool)
    return tuple(found.values())


def nodes() -> tuple[Tool, ...]:
    """PATH's own `node` first."""
    folders = _folders(
        "~/.nvm/versions/node/*/bin", "~/.local/share/fnm/node-versions/*/installation/bin", "/opt/node*/bin"
    )
    found: dict[Version, Tool] = {}
    for program in _distinct(
        entry for folder in folders for entry in _programs(folder) if entry.name in {"node", "nodejs"}
    ):
        text = _ask([str(program), "--version"])
        if text is not None and (version := read_version(text)) is not None:
            found.setdefault(version, Tool(path=program, version=version))
    return tuple(found.values())


def _python(program: Path) -> Tool | None:
    text = _ask([str(program), "-I", "-S", "-c", _ASK_PYTHON])
    try:
        number, level, executable, complete = json.loads(text or "")
    except (ValueError, TypeError):
        return None
    version = read_version(number)
    if version is None or not complete or level != "final":
        return None
    return Tool(path=Path(os.path.realpath(executable)), version=version)


def _ask(argv: list[str]) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - a program that was found by its name, with arguments of ours
            argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=ANSWER_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _path() -> list[Path]:
    return [folder for folder in map(Path, os.environ.get("PATH", "").split(os.pathsep)) if folder.is_absolute()]


def _folders(*patterns: str, roots: dict[str, str] | None = None) -> Iterator[Path]:
    yield from _path()
    yield from map(Path, SYSTEM_FOLDERS)
    expanded = [str(Path(pattern).expanduser()) for pattern in patterns]
    expanded += [f"{os.environ[name]}/{rest}" for name, rest in (roots or {}).items() if os.environ.get(name)]
    for pattern in expanded:
        folder, _, rest = pattern.partition("*")
        parent = Path(folder).parent if not folder.endswith("/") else Path(folder)
        prefix = Path(folder).name if not folder.endswith("/") else ""
        try:
            yield from sorted(path for path in parent.glob(f"{prefix}*{rest}") if path.is_dir())
        except OSError:
            continue


def _programs(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    yield from (entry for entry in entries if os.access(entry, os.X_OK) and not entry.name.endswith("-config"))


def _distinct(programs: Iterable[Path]) -> list[Path]:
    """Each program once, however many links lead to it. A shim is asked by each of its names."""
    seen: dict[str, Path] = {}
    for program in programs:
        seen.setdefault(os.path.realpath(program), program)
    return list(seen.values())[:MOST_ASKED]
