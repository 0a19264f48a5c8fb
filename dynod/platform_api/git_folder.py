"""The git remote `dynod` of a folder's work tree, read from `.git/config` itself: no git is run, a verb has no time.

Files that git would include, and settings of the user, are not looked into: `git remote add` writes here. Standard
library and core only.
"""

import os
from pathlib import Path

from dynod.core.git_remote import NAME, GitRemote, parse_remote, url_of_remote
from dynod.errors import UsageError

LARGEST_CONFIG = 1024 * 1024  # bytes


class ForeignRemoteError(UsageError):
    """It is somebody else who says whom we talk to."""

    code = "foreign_remote"


def nearest_remote(folder: Path) -> tuple[GitRemote, str] | None:
    """The remote of the work tree that this folder is in, and where it stands. Raises UsageError."""
    for above in (folder, *folder.parents):
        config = _config_of(above / ".git")
        if config is None:
            continue
        try:
            with config.open(encoding="utf-8", errors="surrogateescape") as file:
                owner = os.fstat(file.fileno()).st_uid
                url = url_of_remote(file.read(LARGEST_CONFIG))
        except OSError:
            return None  # git itself would find nothing there either
        if url is None:
            return None
        source = f"remote {NAME} of {config}"
        # Whoever can write to a folder above this one (/tmp!) must not choose whom we talk to.
        if owner not in {os.getuid(), 0}:
            raise ForeignRemoteError(f"{source} belongs to another user: name app and dynod with -a and --socket")
        return parse_remote(url, source=source), source
    return None


def _config_of(git: Path) -> Path | None:
    """A work tree's configuration: of `git worktree` it is that of the repository that it belongs to."""
    try:
        if git.is_dir():
            return git / "config"
        if not git.is_file():
            return None
        own = (git.parent / git.read_text().removeprefix("gitdir:").strip()).resolve()
        common = own / "commondir"
        return ((own / common.read_text().strip()) if common.is_file() else own) / "config"
    except (OSError, ValueError):
        return None
