"""A folder that stays when its dynos go, as it is written: NAME:/path, a name on the machine and a path in dynos. Pure.

Form: dokku's `storage:mount`, but that the left side is a name and no path of the machine: where it lies is dynod's
business, and no app reaches another's.
"""

import posixpath
import re
from dataclasses import dataclass
from typing import Final, Self

from dynod.core.container import HOME, TMP
from dynod.core.fault import quoted
from dynod.errors import DynodError

MOST_MOUNTS: Final = 32
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_PATH: Final = re.compile(r"/[^\x00-\x1f\x7f:]{1,1000}", re.ASCII)
# What is the machine's, or the container's own.
_NOT_THERE: Final = (
    "/bin",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/proc",
    "/sbin",
    "/sys",
    "/usr",
)
_WHOLE: Final = ("/", HOME, TMP)  # beneath them there is room


class StorageMountError(DynodError):
    """It cannot be read, or nothing can be mounted there."""

    code = "invalid_params"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageMount:
    """`name` is the folder's, below the app's storage; `path` where its dynos see it."""

    name: str
    path: str

    def __str__(self) -> str:
        return f"{self.name}:{self.path}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises StorageMountError, whose text says what a folder of an app looks like."""
        name, colon, path = text.partition(":")
        if not colon or not _NAME.fullmatch(name) or not _PATH.fullmatch(path):
            raise StorageMountError(f"expected NAME:/path, such as uploads:/app/media, found {quoted(text)}")
        path = posixpath.normpath(f"/{path.lstrip('/')}")
        if path in _WHOLE or f"{path}/".startswith(tuple(f"{at}/" for at in _NOT_THERE)):
            raise StorageMountError(f"{path}: no folder can be mounted there: choose one such as /app/media or /data")
        return cls(name=name, path=path)

    def overlaps(self, other: Self) -> bool:
        """Whether one lies within the other, or both are the same place."""
        ours, theirs = f"{self.path}/", f"{other.path}/"
        return ours.startswith(theirs) or theirs.startswith(ours)
