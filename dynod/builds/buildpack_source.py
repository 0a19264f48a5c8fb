"""Brings a buildpack from where it is named to a folder of this build: built in, a folder, an archive, a repository.

Each build has copies of its own, which its scripts may write to (`export`). Repositories are kept as mirrors in the
app's cache and fetched anew by each build; git gets a list of protocols that it may use, and no `ext::` among them.
Blocks; runs in the runner, as the app's user.
"""

import hashlib
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from dynod.builds.extraction import code_folder, unpack
from dynod.core.archive_rules import MIB, ArchiveRefusedError, Limits
from dynod.errors import DynodError

LIMITS: Final = Limits(packed=200 * MIB, unpacked=1024 * MIB, members=50_000)
ANSWER_S: Final = 60.0  # for a server that says nothing
GIT_S: Final = 300.0
PIECE_BYTES: Final = 256 * 1024
ARCHIVES: Final = (".tgz", ".tar.gz")
SCRIPTS: Final = ("detect", "compile", "release", "report")
GIT_PROTOCOLS: Final = "file:git:http:https:ssh"
_REF: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+@-]{0,250}", re.ASCII)


class BuildpackSourceError(DynodError):
    """A buildpack that cannot be had; the message says which and why."""

    code = "buildpack"


def fetch_buildpack(
    name: str,
    folder: Path,
    *,
    cache: Path,
    is_built_in: bool,
    environment: Mapping[str, str],
    warn: Callable[[str], None],
) -> None:
    """Have the buildpack in `folder`, which is made here, and stays empty for a built-in one.

    `warn` is told what is not as it should be. Raises BuildpackSourceError.
    """
    folder.mkdir(parents=True)
    if is_built_in:
        return
    try:
        _fetch(name, folder, cache=cache, environment=environment, warn=warn)
    except (OSError, ArchiveRefusedError, subprocess.TimeoutExpired) as error:
        raise BuildpackSourceError(f"The buildpack {name} cannot be had: {error}") from error
    if not (folder / "bin" / "compile").is_file():
        raise BuildpackSourceError(f"{name} is no buildpack: it has no bin/compile.")
    for script in SCRIPTS:  # archives and Windows lose it, and nothing else can be meant
        path = folder / "bin" / script
        if path.is_file():
            path.chmod(path.stat().st_mode | 0o111)


def _fetch(
    name: str, folder: Path, *, cache: Path, environment: Mapping[str, str], warn: Callable[[str], None]
) -> None:
    url, _, ref = name.partition("#")
    parts = urlsplit(url)
    if "://" not in url and "@" not in url:
        raise BuildpackSourceError(
            f"{name} is not built into dynod: set the URL of its repository, or of a .tgz, in its place."
        )
    if ref and not _REF.fullmatch(ref):
        raise BuildpackSourceError(f"{name}: what stands after the # is no branch, tag or commit.")
    if parts.scheme == "file":
        local = Path(unquote(parts.path))
        if local.is_file() and local.name.endswith(ARCHIVES):
            _unpack(local, folder)
            return
        if not ref and (local / "bin" / "compile").is_file():
            shutil.copytree(local, folder, symlinks=True, dirs_exist_ok=True)
            return
        if not local.is_dir():
            raise BuildpackSourceError(
                f"{name}: there is no such folder or .tgz where this build runs. Where it is kept apart it sees of the "
                "machine /usr, /etc, /opt and what container.visible names; in a container its /tmp is its own."
            )
    if parts.scheme in {"http", "https"} and parts.path.endswith(ARCHIVES):
        archive = folder.with_name(f"{folder.name}.tgz")
        _download(url, archive)
        _unpack(archive, folder)
        return
    _clone(url, ref, folder, cache=cache, environment=environment, warn=warn)


def _download(url: str, archive: Path) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "dynod-build"})  # noqa: S310 (http and https alone)
    size = 0
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer, archive.open("wb") as file:  # noqa: S310
            while piece := answer.read(PIECE_BYTES):
                size += len(piece)
                if size > LIMITS.packed:
                    raise BuildpackSourceError(f"{url} is larger than {LIMITS.packed:,} bytes.")
                file.write(piece)
    except (urllib.error.URLError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise BuildpackSourceError(f"The buildpack {url} cannot be fetched: {reason}") from error


def _unpack(archive: Path, folder: Path) -> None:
    tree = folder.with_name(f"{folder.name}.tree")
    unpack(archive, tree, LIMITS)
    code = tree if (tree / "bin").is_dir() else code_folder(tree)
    folder.rmdir()
    code.rename(folder)
    shutil.rmtree(tree, ignore_errors=True)


def _clone(
    url: str,
    ref: str,
    folder: Path,
    *,
    cache: Path,
    environment: Mapping[str, str],
    warn: Callable[[str], None],
) -> None:
    mirror = cache / hashlib.sha256(url.encode()).hexdigest()[:32]
    git_environment = {**environment, "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": GIT_PROTOCOLS}

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 (arguments of our own; the URL stands after a --)
            ["git", "-c", "gc.auto=0", *arguments],  # noqa: S607 (the PATH of builds)
            env=git_environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_S,
            check=False,
        )

    if (mirror / "HEAD").is_file():
        fetched = git("-C", os.fspath(mirror), "fetch", "--quiet", "--prune", "--", url, "+refs/*:refs/*")
        if fetched.returncode:
            warn(f"{url} cannot be fetched anew, the copy of before is used: {_last(fetched.stderr)}")
    else:
        shutil.rmtree(mirror, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        partial = mirror.with_name(f"{mirror.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        cloned = git("clone", "--quiet", "--mirror", "--", url, os.fspath(partial))
        if cloned.returncode:
            raise BuildpackSourceError(f"The buildpack {url} cannot be fetched: {_last(cloned.stderr)}")
        partial.rename(mirror)
    cloned = git("clone", "--quiet", "--no-checkout", "--shared", "--", os.fspath(mirror), os.fspath(folder))
    if cloned.returncode:
        raise BuildpackSourceError(f"The buildpack {url} cannot be cloned: {_last(cloned.stderr)}")
    wanted = [f"refs/remotes/origin/{ref}", f"refs/tags/{ref}", ref] if ref else ["HEAD"]
    here = ("-C", os.fspath(folder))
    commits = (git(*here, "rev-parse", "--verify", "--quiet", f"{each}^{{commit}}") for each in wanted)
    commit = next((found.stdout.strip() for found in commits if not found.returncode), None)
    if commit is None:
        raise BuildpackSourceError(f"The buildpack {url} has no branch, tag or commit {ref or 'HEAD'}.")
    checked_out = git(*here, "checkout", "--quiet", "--detach", commit)
    if checked_out.returncode:
        raise BuildpackSourceError(f"The buildpack {url} cannot be checked out: {_last(checked_out.stderr)}")


def _last(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "git said nothing"
