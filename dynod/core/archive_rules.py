"""What an archive of code may hold: names that stay in its folder, files and links of a harmless kind. Pure.

Whoever may deploy may run anything as the app's user, but not write elsewhere as dynod's.
"""

import posixpath
from dataclasses import dataclass
from enum import Enum
from typing import Final

from dynod.core.fault import quoted
from dynod.errors import DynodError

MIB: Final = 1024 * 1024
LONGEST_NAME: Final = 4096  # bytes, PATH_MAX of Linux
LONGEST_PART: Final = 255  # bytes, NAME_MAX
DEEPEST: Final = 200  # folders within folders
PRIVILEGES: Final = 0o6000  # setuid and setgid


class Kind(Enum):
    """What a member of an archive is."""

    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symbolic link"
    HARDLINK = "hard link"
    OTHER = "device, pipe or the like"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much an archive may come to. Heroku: 500 MB of a slug; 1 GB unpacked, to which a virtualenv comes here."""

    packed: int = 500 * MIB
    unpacked: int = 4096 * MIB
    members: int = 200_000


class ArchiveRefusedError(DynodError):
    """An archive that is none, or holds what it must not."""

    code = "invalid_params"


def place_of(name: str) -> str:
    """Where a member belongs, relative to the folder; "" for the folder itself. Raises ArchiveRefusedError."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/"):
        raise ArchiveRefusedError(f"The archive holds {quoted(name)}, which is no path within it.")
    if ".." in parts or "\0" in name:
        raise ArchiveRefusedError(f"The archive holds {quoted(name)}, which leads out of it.")
    sizes = [len(part.encode("utf-8", "surrogateescape")) for part in parts]
    if max(sizes, default=0) > LONGEST_PART or sum(sizes) + len(sizes) > LONGEST_NAME or len(parts) > DEEPEST:
        raise ArchiveRefusedError(f"The archive holds a name that is too long: {quoted(name)}.")
    return "/".join(parts)


def leads_out(place: str, target: str) -> bool:
    """Whether a link there, with that target, leads out of the folder by its letters."""
    leads_to = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
    return target.startswith("/") or leads_to.split("/")[0] == ".."


def check_member(place: str, kind: Kind, *, mode: int, target: str = "") -> None:
    """Raises ArchiveRefusedError for a member that must not be there. `target`: of a link, as it is written."""
    if kind is Kind.OTHER:
        raise ArchiveRefusedError(f"The archive holds {quoted(place)}, a {kind.value}: expected files, folders, links.")
    if kind is Kind.FILE and mode & PRIVILEGES:
        raise ArchiveRefusedError(f"The archive holds {quoted(place)}, which has its setuid or setgid bit set.")
    if kind is Kind.SYMLINK and (not target or "\0" in target or leads_out(place, target)):
        raise ArchiveRefusedError(f"The archive holds {quoted(place)}, a link to {quoted(target)} outside of it.")
