"""Reads an app's folder: Procfile, app.json and `.env` files into core values, with file and line of every fault.

The first stop of the flow, and the shell around the grammars of `core`: it opens files, decodes them, and calls
python-dotenv (the only place that does). It may import core, errors and python-dotenv. It starts nothing and decides
nothing about what runs.
"""

import codecs
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import parse_stream

from dynod.core.app_manifest import AppManifest, parse_app_manifest
from dynod.core.command import first_word
from dynod.core.dotenv import Dotenv, Statement, read_dotenv
from dynod.core.fault import Fault
from dynod.core.healthcheck import conflict
from dynod.core.procfile import ProcessType, parse_procfile
from dynod.core.suggest import did_you_mean
from dynod.errors import AppFolderError

PROCFILE = "Procfile"
APP_MANIFEST = "app.json"
DOTENV = ".env"
BINS = (".venv/bin", "venv/bin", "node_modules/.bin")  # contracts, "Environment of a dyno"
LARGEST_FILE = 1 << 20  # bytes; a thousand times a real one, and an end to `-e /dev/zero`
LONGEST_APP_NAME = 30  # Heroku's


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFolder:
    """What a folder says about its app. `folder` is absolute; `types` are in the order of the Procfile."""

    folder: Path
    name: str
    procfile: str
    types: tuple[ProcessType, ...]
    manifest: AppManifest
    dotenv: tuple[Dotenv, ...]

    @property
    def env_values(self) -> tuple[Mapping[str, str], ...]:
        """The variables of each `.env` file, in the order in which later ones win."""
        return tuple(read.values for read in self.dotenv)


def app_name(folder: Path) -> str:
    """The app's name in `up`: the folder's in lower case, other characters `-`, at most 30 of them."""
    name = re.sub(r"[^a-z0-9-]", "-", folder.resolve().name.lower())[:LONGEST_APP_NAME]
    return name.strip("-") or "app"


def folder_bins(folder: Path) -> tuple[str, ...]:
    """The folder's own directories of programs, those that exist, as absolute paths: they go first on PATH."""
    return tuple(str(folder / bins) for bins in BINS if (folder / bins).is_dir())


def read_app_folder(
    folder: Path, *, procfile: Path | None = None, env_files: Sequence[Path] | None = None
) -> AppFolder:
    """Read the folder, or raise AppFolderError with every fault of every file, one a line."""
    app, faults = inspect_app_folder(folder, procfile=procfile, env_files=env_files)
    if faults:
        raise AppFolderError("\n".join(str(fault) for fault in faults))
    return app


def inspect_app_folder(
    folder: Path,
    *,
    procfile: Path | None = None,
    env_files: Sequence[Path] | None = None,
    declared: Sequence[ProcessType] | None = None,
) -> tuple[AppFolder, tuple[Fault, ...]]:
    """Read the folder as far as it can be read, and say what is wrong with it.

    `procfile` and `env_files` are the user's `-f` and `-e`, relative to the folder (`-C`) as git has it. A file that is
    named must be there; without names `Procfile` must be, `.env` and `app.json` may be. An element of `env_files` may
    hold several names with commas between, as `heroku local -e a,b` takes them; a file so named is found first.
    `declared`: process types that are known from elsewhere; no Procfile is read then.
    Raises AppFolderError if the folder itself cannot be read.
    """
    folder = _existing(folder)
    types, faults = _read_procfile(folder, procfile) if declared is None else (tuple(declared), [])
    manifest = AppManifest(file=APP_MANIFEST)
    text = _read(folder, APP_MANIFEST, faults, required=False)
    if text is not None:
        manifest = parse_app_manifest(text, file=APP_MANIFEST)
        faults += manifest.faults
        faults += _conflicting_checks(manifest)
        if procfile is None and types:  # another Procfile may well declare fewer types than app.json is about
            faults += _unknown_types(manifest, types)
    dotenv = []
    names = [DOTENV] if env_files is None else list(_split(folder, env_files))
    for name in names:
        text = _read(folder, name, faults, required=env_files is not None)
        if text is not None:
            read = parse_dotenv(text, file=name)
            faults += read.faults
            dotenv.append(read)
    app = AppFolder(
        folder=folder,
        name=app_name(folder),
        procfile=str(procfile or PROCFILE),
        types=types,
        manifest=manifest,
        dotenv=tuple(dotenv),
    )
    return app, tuple(faults)


def parse_dotenv(text: str, *, file: str = DOTENV) -> Dotenv:
    """The text of one `.env` file: python-dotenv cuts it into statements, `core.dotenv` judges them."""
    return read_dotenv(_statements(text), file=file)


def check_commands(app: AppFolder, *, path: str) -> tuple[Fault, ...]:
    """A fault for each process type whose program is not there, or cannot be executed.

    `path` is the dyno's PATH. Only what is certain is reported: a command that the shell has to work out is not.
    """
    faults = []
    for declared in app.types:
        word = first_word(declared.command)
        message = None if word is None else _cannot_run(word, app.folder, path)
        if message is not None:
            faults.append(Fault(file=app.procfile, line=declared.line, message=f"{declared.name}: {message}"))
    return tuple(faults)


def _existing(folder: Path) -> Path:
    try:
        mode = folder.stat().st_mode
    except FileNotFoundError:
        raise AppFolderError(f"no such folder: {folder}") from None
    except OSError as error:
        raise AppFolderError(f"cannot open the folder {folder}: {_reason(error)}") from error
    if not stat.S_ISDIR(mode):
        raise AppFolderError(f"{folder} is not a folder")
    try:
        return folder.resolve()
    except OSError as error:  # "." of a folder that has been removed can be looked at, and has no path any more
        raise AppFolderError(f"{folder} is gone: change to another folder") from error


def _read_procfile(folder: Path, procfile: Path | None) -> tuple[tuple[ProcessType, ...], list[Fault]]:
    name = str(procfile or PROCFILE)
    faults: list[Fault] = []
    hint = (
        "" if procfile else f' in {folder}; write one with a line for each process type, such as "web: python app.py"'
    )
    text = _read(folder, name, faults, required=True, hint=hint)
    if text is None:
        return (), faults
    read = parse_procfile(text, file=name)
    faults += read.faults
    if not read.types and not faults:
        message = 'declares no process type; write a line for each, such as "web: python app.py"'
        faults.append(Fault(file=name, line=None, message=message))
    return read.types, faults


def _unknown_types(manifest: AppManifest, types: Sequence[ProcessType]) -> Iterator[Fault]:
    known = [declared.name for declared in types]
    for name in manifest.quantities:
        if name not in known:
            message = f"formation.{name}: the Procfile declares no such process type{did_you_mean(name, known)}"
            yield Fault(file=manifest.file, line=manifest.quantity_lines.get(name), message=message)


def _conflicting_checks(manifest: AppManifest) -> Iterator[Fault]:
    for name, checks in manifest.healthchecks.items():
        for index, check in enumerate(checks):
            if (reason := conflict(check)) is not None:
                yield Fault(file=manifest.file, line=None, message=f"healthchecks.{name}[{index}]: {reason}")


def _split(folder: Path, env_files: Iterable[Path]) -> Iterator[str]:
    for given in env_files:
        if "," in str(given) and not (folder / given).exists():
            yield from (part.strip() for part in str(given).split(",") if part.strip())
        else:
            yield str(given)


def _read(folder: Path, name: str, faults: list[Fault], *, required: bool, hint: str = "") -> str | None:
    """The text of a file, with LF line ends as python-dotenv reads it; None, and mostly a fault, if there is none."""
    path = folder / name
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        if path.is_symlink():
            faults.append(Fault(file=name, line=None, message="is a symbolic link to nothing"))
        elif required:
            faults.append(Fault(file=name, line=None, message=f"no such file{hint}"))
        return None
    except OSError as error:
        faults.append(Fault(file=name, line=None, message=f"cannot be read: {_reason(error)}"))
        return None
    if len(data) > LARGEST_FILE:
        faults.append(Fault(file=name, line=None, message=f"is larger than {LARGEST_FILE} bytes"))
        return None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # what `>` writes in Windows PowerShell
        faults.append(Fault(file=name, line=None, message="is UTF-16 text; save it as UTF-8"))
        return None
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    faults += [
        Fault(file=name, line=number, message="is not UTF-8 text")
        for number, line in enumerate(lines, start=1)
        if not _is_text(line)
    ]
    return b"\n".join(lines).decode(errors="replace")  # read on: every fault is shown at once


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _statements(text: str) -> Iterator[Statement]:
    for binding in parse_stream(io.StringIO(text)):
        before = binding.original.string[: len(binding.original.string) - len(binding.original.string.lstrip())]
        yield Statement(
            name=binding.key,
            value=binding.value,
            line=binding.original.line + before.count("\n"),  # python-dotenv counts from the blank lines before
            text=binding.original.string,
            malformed=binding.error,
        )


def _cannot_run(word: str, folder: Path, path: str) -> str | None:
    """What execvp(3) would say about this word in this folder; None if it would run."""
    if "/" in word:
        return _cannot_execute(folder / word, word)
    unusable = None
    for entry in path.split(":"):
        found = folder / entry / word  # an empty or relative entry of PATH is below the working directory
        if found.is_file():
            if os.access(found, os.X_OK):
                return None
            unusable = unusable or found
    if unusable is not None:
        return f'command "{word}" is not executable: {unusable}'
    return f'command "{word}" not found on the PATH of the dyno'


def _cannot_execute(program: Path, word: str) -> str | None:
    if not program.exists():
        return f'command "{word}" not found in {program.parent}'
    if program.is_dir():
        return f'command "{word}" is a folder'
    if not os.access(program, os.X_OK):
        return f'command "{word}" is not executable; try "chmod +x {word}"'
    return None


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
