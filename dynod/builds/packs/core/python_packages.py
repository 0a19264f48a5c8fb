"""How an app's Python packages are installed: by which tool, from which files, when what was kept will do. Pure."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from posixpath import dirname, join, normpath
from typing import Final

from dynod.builds.packs.core.catalogue import Read
from dynod.builds.packs.core.refused import PackError

LAYOUT: Final = "1"  # of what is kept: another one makes every environment anew
MOST_FILES: Final = 100
_INCLUDE: Final = re.compile(r"\s*(?:-r|-c|--requirement|--constraint)[\s=]*(\S+)")
_MOVING: Final = re.compile(r"\s*(?:-e\b|--editable\b|\.|/|file:|(?:git|hg|svn|bzr)\+|[^#]*@\s*(?:git|hg|svn|bzr)\+)")


class Manager(Enum):
    """Whose files say what to install. In Heroku's order of precedence; the value is how it is called."""

    PIPENV = "Pipenv"
    PIP = "pip"
    POETRY = "Poetry"
    UV = "uv"


_FILES: Final = (
    (Manager.PIPENV, ("Pipfile.lock", "Pipfile")),
    (Manager.PIP, ("requirements.txt",)),
    (Manager.POETRY, ("poetry.lock",)),
    (Manager.UV, ("uv.lock",)),
    (Manager.PIP, ("setup.py",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagePlan:
    """What to install with, the file that asks for it, and other managers' files, which are left alone.

    `fixed`: whether equal files mean equal packages, so that what was installed from them once can be used again.
    """

    manager: Manager
    file: str
    passed_over: tuple[str, ...]
    files: tuple[str, ...]
    fixed: bool


def package_plan(names: Collection[str], read: Read) -> PackagePlan:
    """Raises PackError where a project has nothing that could be installed from."""
    found = [(manager, next(f for f in files if f in names)) for manager, files in _FILES if set(files) & set(names)]
    if not found:
        raise PackError(
            "The pyproject.toml declares a project, and there is no lock file to install its packages from.\n"
            "Make one and commit it: uv lock, or poetry lock; or add a requirements.txt."
        )
    manager, file = found[0]
    passed_over = tuple(other for who, other in found[1:] if who is not manager)
    if file == "Pipfile":
        raise PackError("There is a Pipfile and no Pipfile.lock. Make one with: pipenv lock, and commit it.")
    if manager is not Manager.PIP:
        files = tuple(name for name in (file, "Pipfile", "pyproject.toml") if name in names)
        return PackagePlan(manager=manager, file=file, passed_over=passed_over, files=files, fixed=True)
    if file == "setup.py":
        files = tuple(name for name in ("setup.py", "setup.cfg", "pyproject.toml") if name in names)
        return PackagePlan(manager=manager, file=file, passed_over=passed_over, files=files, fixed=False)
    texts = _requirements(file, read)
    fixed = not any(_MOVING.match(line) for text in texts.values() for line in text.splitlines())
    return PackagePlan(manager=manager, file=file, passed_over=passed_over, files=tuple(texts), fixed=fixed)


def environment_key(plan: PackagePlan, read: Read, *, python: str, settings: Collection[str]) -> str:
    """What a kept environment is known by: equal keys, equal packages. `settings`: of the tools, as `NAME=value`."""
    digest = sha256()
    for part in (LAYOUT, python, plan.manager.value, *sorted(settings)):
        digest.update(f"{len(part)}:{part}".encode())
    for name in sorted(plan.files):
        text = (read(name) or "").encode("utf-8", "surrogateescape")
        digest.update(f"{name}:{len(text)}:".encode() + text)
    return digest.hexdigest()


def _requirements(top: str, read: Read) -> dict[str, str]:
    """The file and all that it includes, by their paths from the app's folder. What is missing is pip's to report."""
    found: dict[str, str] = {}
    waiting = [top]
    while waiting and len(found) < MOST_FILES:
        name = waiting.pop()
        if name in found or name.startswith("../") or (text := read(name)) is None:
            continue
        found[name] = text
        included = (match[1] for match in map(_INCLUDE.match, text.splitlines()) if match)
        waiting += [normpath(join(dirname(name), path)) for path in included]
    return found
