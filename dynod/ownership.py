"""Gives folders to the users of apps: code, storage, and what builds work in. Blocks; for threads. May import core."""

import os
from pathlib import Path

from dynod.core.container import User


def give_to(user: User, *folders: Path) -> None:
    """Have these, and all that is in them, be the user's, where they are not. Raises OSError."""
    for folder in folders:
        _give(user, folder)


def _give(user: User, folder: Path) -> None:
    """By descriptors: who has the folder around it may put a link in its place meanwhile."""
    if folder.lstat().st_uid == user.uid:
        return  # done, or a link of its own
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for _at, folders_in, files, at in os.fwalk(".", dir_fd=top):
            for name in (*folders_in, *files):
                os.chown(name, user.uid, user.gid, dir_fd=at, follow_symlinks=False)
        os.fchown(top, user.uid, user.gid)  # last: the sign that it is done
    finally:
        os.close(top)


def give_code(user: User, folder: Path) -> None:
    """The same of a slug's code, as long as it is nobody's but dynod's: another app may have the same slug."""
    if folder.lstat().st_uid == os.geteuid():
        give_to(user, folder)
