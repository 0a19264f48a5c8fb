"""What `deploy` and `builds:create` upload: a gzipped tar of a folder's source, and how that source is called.

A folder whose work tree is clean is what its commit says, by `git archive`. Any other is as it lies there, without what
`.gitignore` names: git is asked where it is installed, also about a folder that is under no git at all.
"""

import os
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO, Final

from dynod.errors import DynodError, UsageError

NEVER: Final = frozenset({".git", ".dynod"})  # in no source, whoever tracks them
LEFT_OUT: Final = NEVER | {
    "node_modules",
    ".venv",
    "venv",
    "__pycache__",
}  # made from the source, where git is not asked
SHORT_COMMIT: Final = 8  # characters, as Heroku has them
MOST_NAMES: Final = 5  # of changed files that are said
COMPRESSION: Final = 6
CHANGED_CODE: Final = 3  # columns of `git status --porcelain` before the name


class GitError(DynodError):
    """git has failed."""

    code = "git"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What was packed. `version`: the commit, None for what is under no git. `changed`: what it has otherwise."""

    what: str
    version: str | None
    changed: tuple[str, ...] = ()


def pack(folder: Path, into: BinaryIO) -> Source:
    """Write the folder's source. Raises UsageError for one that cannot be read, GitError."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder")
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if commit is None:
        _pack_names(folder, _names(folder), into)
        return Source(what=f"folder {folder.resolve().name}", version=None)
    version = commit.decode().strip()
    changed = _changed(folder)
    what = f"{_branch(folder)} at {version[:SHORT_COMMIT]}"
    if changed:
        _pack_names(folder, _names(folder), into)
        return Source(what=f"{what}, with changes", version=f"{version[:SHORT_COMMIT]}-changed", changed=changed)
    _archive(folder, into)
    return Source(what=what, version=version)


def said_of(changed: Sequence[str]) -> str:
    """`app.py, lib/x.py and 7 more`."""
    named = ", ".join(changed[:MOST_NAMES])
    return f"{named} and {len(changed) - MOST_NAMES} more" if len(changed) > MOST_NAMES else named


def _archive(folder: Path, into: BinaryIO) -> None:
    """The commit's own files, those below this folder alone."""
    command = ["git", "archive", "--format=tar.gz", f"-{COMPRESSION}", "HEAD"]
    into.flush()
    done = subprocess.run(command, cwd=folder, stdout=into, stderr=subprocess.PIPE, check=False)  # noqa: S603 (as below)
    if done.returncode:
        raise GitError(f"git archive: {done.stderr.decode(errors='replace').strip()}")


def _pack_names(folder: Path, names: Sequence[str], into: BinaryIO) -> None:
    try:
        with tarfile.open(fileobj=into, mode="w:gz", compresslevel=COMPRESSION) as tar:
            for name in names:
                tar.add(folder / name, arcname=name, recursive=False)
    except OSError as error:
        raise UsageError(f"{folder} cannot be packed: {error}") from error


def _changed(folder: Path) -> tuple[str, ...]:
    """Names, as seen from the top of the work tree, of what here is not as the commit has it."""
    listing = _git(folder, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal", "--", ".")
    entries = [os.fsdecode(entry) for entry in (listing or b"").split(b"\0") if entry]
    return tuple(entry[CHANGED_CODE:] for entry in entries if not _is_never(entry[CHANGED_CODE:]))


def _branch(folder: Path) -> str:
    named = _git(folder, "symbolic-ref", "--quiet", "--short", "HEAD")
    return named.decode(errors="replace").strip() if named is not None else "HEAD"


def _names(folder: Path) -> list[str]:
    listing = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    told = _git(folder, *listing)
    if told is None and (folder / ".gitignore").exists():
        told = _as_if_under_git(folder, *listing)
    if told is None:
        return _walked(folder)
    names = {os.fsdecode(name) for name in told.split(b"\0") if name}
    return sorted(name for name in names if not _is_never(name) and _is_file(folder / name))


def _as_if_under_git(folder: Path, *arguments: str) -> bytes | None:
    """What git says of the folder by its .gitignore alone: from a repository that is there for the question."""
    with tempfile.TemporaryDirectory() as empty:
        if _git(folder, "init", "--quiet", "--bare", empty) is None:
            return None
        told = _git(folder, f"--git-dir={empty}", f"--work-tree={folder.resolve()}", *arguments)
    if told is None:
        return None
    kept = [name for name in told.split(b"\0") if LEFT_OUT.isdisjoint(PurePath(os.fsdecode(name)).parts)]
    return b"\0".join(kept)


def _walked(folder: Path) -> list[str]:
    found = []
    for at, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        here = Path(at).relative_to(folder)
        links = [name for name in folders if (Path(at) / name).is_symlink()]
        found += [os.fspath(here / name) for name in sorted([*files, *links])]
    return found


def _is_never(name: str) -> bool:
    return not NEVER.isdisjoint(PurePath(name).parts)


def _is_file(path: Path) -> bool:
    """Of a submodule git names the folder alone."""
    return path.is_symlink() or path.is_file()


def _git(folder: Path, *arguments: str) -> bytes | None:
    """What git says; None where it fails: there is no git, or no repository. It may not ask, nor take locks."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(  # noqa: S603 (the caller's own git, and words of ours)
            ["git", *arguments],  # noqa: S607 (from the caller's own PATH)
            cwd=folder,
            env=environment,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
