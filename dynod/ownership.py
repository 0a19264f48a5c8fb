"""Gives folders to the users of apps: code, storage, and what builds work in. Blocks; for threads. May import core."""

import os
from pathlib import Path

from dynod.core.container import User


def give_to(user: User, *folders: Path) -> None:
    """Have these, and all that is in them, be the user's, where they are not. Raises OSError."""
    for folder in folders:
        if folder.lstat().st_uid == user.uid:
            continue
        for at, folders_in, files in os.walk(folder):
            for name in (*folders_in, *files):
                os.chown(os.path.join(at, name), user.uid, user.gid, follow_symlinks=False)  # noqa: PTH118 (os.walk's)
        os.chown(folder, user.uid, user.gid)  # last: the sign that it is done


def give_code(user: User, folder: Path) -> None:
    """The same of a slug's code, as long as it is nobody's but dynod's: another app may have the same slug."""
    if folder.lstat().st_uid == os.geteuid():
        give_to(user, folder)
