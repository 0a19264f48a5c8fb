"""Which Python an app asks for, and where it says so. Pure.

In Heroku's order of files: `runtime.txt` (its older name), `.python-version`, what Pipfile.lock was locked for. Then
what the project says that it works with: `requires-python` of pyproject.toml or of a uv.lock, poetry's `python`.
"""

import json
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from dynod.builds.packs.core.catalogue import Read
from dynod.builds.packs.core.python_range import read_python_range
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.core.version import Version, VersionRange

_NUMBERS: Final = re.compile(r"3\.\d{1,3}(\.\d{1,3})?|3")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonRequest:
    """The versions that will do, and the file that says so."""

    range: VersionRange
    file: str


def python_request(read: Read) -> PythonRequest | None:
    """None where the app leaves it open. Raises PackError for what says nothing that can be understood."""
    for file, reader in (("runtime.txt", _runtime), (".python-version", _python_version)):
        if (text := read(file)) is not None and (wanted := reader(text)) is not None:
            return PythonRequest(range=_range_of(wanted, file), file=file)
    if (text := read("Pipfile.lock")) is not None and (wanted := _locked_by_pipenv(text)) is not None:
        return PythonRequest(range=_range_of(wanted, "Pipfile.lock"), file="Pipfile.lock")
    for file in ("pyproject.toml", "uv.lock"):
        if (text := read(file)) is not None and (wanted := _project_range(text, file)) is not None:
            return PythonRequest(range=read_python_range(wanted), file=file)
    return None


def choose_python(request: PythonRequest | None, there: Collection[Version], *, kept: Version | None) -> Version:
    """Of the versions on this machine, which are named with the preferred one first. Raises PackError for none.

    An app that asks for none stays with the one that it was built with before (`kept`), as on Heroku.
    """
    if not there:
        raise PackError(
            "This machine has no Python that can make virtual environments.\n"
            "Install one; on Debian: apt-get install python3 python3-venv"
        )
    known = kept if kept in there else None
    if request is None:
        return known or next(iter(there))
    candidates = [known] if known is not None and request.range.allows(known) else list(there)
    best = request.range.best_of(candidates)
    if best is None:
        raise PackError(_missing(request, there))
    return best


def _missing(request: PythonRequest, there: Collection[Version]) -> str:
    wanted = request.range.written
    short = re.match(r"3\.\d+", wanted)
    name = f"python{short[0]}" if short else "python3"
    has = ", ".join(str(version) for version in sorted(there, key=lambda v: v.order))
    exact = re.fullmatch(r"3\.\d+\.\d+", wanted)
    other = f",\nor ask for Python {short[0]} in {request.file}, whatever its last number" if exact and short else ""
    return (
        f"Python {wanted} is asked for by {request.file}, and this machine has {has}.\n"
        f"Install it (where the distribution has it: apt-get install {name} {name}-venv;\n"
        f"else: pyenv install {wanted if exact else short[0] if short else '3'}, or uv python install){other}."
    )


def _runtime(text: str) -> str | None:
    return text.strip().removeprefix("python-") or None


def _python_version(text: str) -> str | None:
    """As pyenv has it: comments and blank lines are passed over; of several versions the first is the one."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return next((line.removeprefix("python-").removeprefix("cpython-") for line in lines if line), None)


def _range_of(wanted: str, file: str) -> VersionRange:
    numbers = wanted.removesuffix(".*")
    if not _NUMBERS.fullmatch(numbers):
        raise PackError(
            f'{file}: "{wanted}" is no version of Python that can be had: expected one such as 3.13 or 3.13.0.'
        )
    return VersionRange(written=numbers, alternatives=read_python_range(f"=={numbers}").alternatives)


def _locked_by_pipenv(text: str) -> str | None:
    try:
        requires = json.loads(text)["_meta"]["requires"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(requires, Mapping):
        return None
    wanted = requires.get("python_full_version") or requires.get("python_version")
    return wanted if isinstance(wanted, str) and wanted != "*" else None


def _project_range(text: str, file: str) -> str | None:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PackError(f"{file} is no TOML: {error}.") from error
    if file == "uv.lock":
        wanted = tables.get("requires-python")
        return wanted if isinstance(wanted, str) else None
    project = tables.get("project", {})
    poetry = tables.get("tool", {}).get("poetry", {}).get("dependencies", {})
    wanted = project.get("requires-python") or poetry.get("python")
    return wanted if isinstance(wanted, str) and wanted != "*" else None
