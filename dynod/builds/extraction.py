"""Unpacks an archive of code (tar, gzip) into a new folder, with every check: nothing gets out of the folder, and in.

Nothing is written through a link; a link that leads out, however many others it goes by, refuses the whole archive.
What a member claims about itself (owner, time, odd modes) is not taken over: a file is 0644, or 0755 where its owner
may execute it. tarfile's own `data` filter (PEP 706) is asked too, where this Python has it. Blocks; for a thread.
"""

import gzip
import io
import os
import tarfile
import zlib
from pathlib import Path
from typing import Final

from dynod.core.archive_rules import ArchiveRefusedError, Kind, Limits, check_member, place_of
from dynod.core.fault import quoted

PIECE_BYTES: Final = 64 * 1024
LARGEST_HEADER: Final = 1024 * 1024  # bytes of one: tarfile reads it into memory whole
BLOCK: Final = 512  # bytes, of tar
_MALFORMED: Final = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, UnicodeError, ValueError, OverflowError)


def is_archive(path: Path) -> bool:
    """Whether the file begins as a gzipped tar does."""
    try:
        with gzip.open(path) as unpacked:
            first = unpacked.read(BLOCK)
        tarfile.TarInfo.frombuf(first, "utf-8", "surrogateescape")
    except (*_MALFORMED, OSError):
        return False
    return True


def unpack(archive: Path, folder: Path, limits: Limits) -> None:
    """Into a folder that does not exist yet. What was written is left where it is refused: the caller removes it.

    Raises ArchiveRefusedError, OSError.
    """
    folder.mkdir(mode=0o700)
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with gzip.open(archive) as unpacked:
            bounded = _Bounded(unpacked, limits)
            with tarfile.open(fileobj=bounded, mode="r:", errorlevel=2) as tar:
                _Extraction(tar, folder, limits).run()
            bounded.read_out()
    except _MALFORMED as error:
        raise ArchiveRefusedError(f"The archive is damaged, or is no gzipped tar ({error}).") from error
    finally:
        os.close(root)


def code_folder(unpacked: Path) -> Path:
    """Where in it the code is: Heroku's slugs have it below `app`, archives of repositories below one of their own."""
    entries = list(unpacked.iterdir())
    only = entries[0] if len(entries) == 1 else None
    return only if only is not None and only.is_dir() and not only.is_symlink() else unpacked


class _Extraction:
    """One archive, member by member."""

    def __init__(self, tar: tarfile.TarFile, folder: Path, limits: Limits) -> None:
        self._tar = tar
        self._folder = folder
        self._limits = limits
        self._links: set[str] = set()
        self._files: set[str] = set()
        self._folders: set[str] = {""}

    def run(self) -> None:
        count = size = 0
        while (member := self._tar.next()) is not None:
            self._tar.members.clear()  # type: ignore[attr-defined]  # typeshed has it not; a TarInfo each adds up
            count += 1
            size += member.size if member.isreg() else 0
            if count > self._limits.members:
                raise ArchiveRefusedError(f"The archive holds more than {self._limits.members:,} files.")
            if size > self._limits.unpacked:
                raise ArchiveRefusedError(_too_large(self._limits))
            self._extract(member)
        for place in sorted(self._links):
            self._check_link(place)

    def _extract(self, member: tarfile.TarInfo) -> None:
        place = place_of(member.name)
        kind = _kind_of(member)
        if place == "":
            if kind is not Kind.FOLDER:
                raise ArchiveRefusedError("The archive holds a member without a name.")
            return
        check_member(place, kind, mode=member.mode, target=member.linkname if kind is Kind.SYMLINK else "")
        source = place_of(member.linkname) if kind is Kind.HARDLINK else ""
        self._ask_tarfile(member, place)
        self._make_folders(place.rpartition("/")[0])
        path = self._folder / place
        if kind is Kind.FOLDER:
            self._make_folders(place)
            return
        if place in self._folders:
            raise ArchiveRefusedError(f"The archive holds {quoted(place)} as a folder and as a {kind.value}.")
        if place in self._files or place in self._links:  # said again, as `tar -r` does: the later one counts
            path.unlink()
            self._files.discard(place)
            self._links.discard(place)
        match kind:
            case Kind.SYMLINK:
                path.symlink_to(member.linkname)
                self._links.add(place)
            case Kind.HARDLINK:
                if source not in self._files:
                    raise ArchiveRefusedError(f"The archive holds {quoted(place)}, a link to a file that is not in it.")
                os.link(self._folder / source, path, follow_symlinks=False)
                self._files.add(place)
            case _:
                self._write(member, path)
                self._files.add(place)

    def _write(self, member: tarfile.TarInfo, path: Path) -> None:
        content = self._tar.extractfile(member)
        assert content is not None  # noqa: S101 (it is a regular file)
        mode = 0o755 if member.mode & 0o100 else 0o644
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(path, flags, mode), "wb") as file:  # noqa: PTH123 (of a descriptor)
            os.fchmod(file.fileno(), mode)
            left = member.size
            while left:
                piece = content.read(min(PIECE_BYTES, left))
                if not piece:
                    raise ArchiveRefusedError("The archive is cut short.")
                file.write(piece)
                left -= len(piece)

    def _make_folders(self, place: str) -> None:
        """The folder and those above it; none of them a link."""
        if place in self._folders:
            return
        if place in self._links or place in self._files:
            raise ArchiveRefusedError(f"The archive holds {quoted(place)} as a folder and as a file or link.")
        self._make_folders(place.rpartition("/")[0])
        (self._folder / place).mkdir(mode=0o755)
        (self._folder / place).chmod(0o755)  # whatever the umask is, as files are
        self._folders.add(place)

    def _check_link(self, place: str) -> None:
        """As a reader would follow it, by every other link on the way."""
        root = os.path.realpath(self._folder)
        leads_to = os.path.realpath(self._folder / place)
        if leads_to != root and not leads_to.startswith(root + os.sep):
            raise ArchiveRefusedError(f"The archive holds {quoted(place)}, a link that leads out of it by others.")

    def _ask_tarfile(self, member: tarfile.TarInfo, place: str) -> None:
        if hasattr(tarfile, "data_filter"):  # 3.11.4
            try:
                tarfile.data_filter(member, os.fspath(self._folder))
            except tarfile.FilterError as error:  # whose own words name folders of this machine
                raise ArchiveRefusedError(f"The archive holds {quoted(place)}, which leads out of it.") from error


def _kind_of(member: tarfile.TarInfo) -> Kind:
    if member.issparse():
        return Kind.OTHER
    if member.isreg():
        return Kind.FILE
    if member.isdir():
        return Kind.FOLDER
    return Kind.SYMLINK if member.issym() else Kind.HARDLINK if member.islnk() else Kind.OTHER


class _Bounded(io.RawIOBase):
    """What the archive unpacks to, as far as it may go; nobody reads much of it at once."""

    def __init__(self, unpacked: gzip.GzipFile, limits: Limits) -> None:
        self._unpacked = unpacked
        self._limits = limits
        # Besides the files themselves: a header and up to a block of nothing each.
        self._most = limits.unpacked + 3 * BLOCK * limits.members

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_HEADER:
            raise ArchiveRefusedError("The archive holds a header that is too large.")
        data = self._unpacked.read(size)
        if self._unpacked.tell() > self._most:
            raise ArchiveRefusedError(_too_large(self._limits))
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Only onward, by reading: gzip begins anew to go back."""
        if whence != os.SEEK_SET or offset > self._most:
            raise ArchiveRefusedError(_too_large(self._limits))
        while (left := offset - self._unpacked.tell()) > 0 and self.read(min(left, PIECE_BYTES)):
            pass
        return self._unpacked.seek(offset) if offset < self._unpacked.tell() else self._unpacked.tell()

    def tell(self) -> int:
        return self._unpacked.tell()

    def read_out(self) -> None:
        """To the end, where gzip's checksum stands."""
        while self.read(PIECE_BYTES):
            pass


def _too_large(limits: Limits) -> str:
    return f"The archive unpacks to more than {limits.unpacked:,} bytes."
