"""Archives of code on disk: taken in as they come, kept by the hash of their content, unpacked once.

    state/slugs/SHA256.tgz     a slug's archive          state/slugs/SHA256/     the same, unpacked; never written to
    state/sources/ID.tgz       a source that waits to be built
    state/built/ID.tgz         from what the slug of that id was built

Everything is written beside its place and renamed into it, so that what is there is whole, after a loss of power too.
All of it blocks, for threads; the caller sees to it that one archive is unpacked by one thread.
"""

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from dynod.builds.extraction import code_folder, is_archive, unpack
from dynod.core.archive_rules import ArchiveRefusedError, Limits
from dynod.core.blob_path import KEY_BYTES
from dynod.errors import DynodError

LEFT_S: Final = 24 * 3600.0  # what is half done, or waits for a build, so long after is nobody's any more
LEAST_FREE: Final = 1024**3  # contracts 8: refused below 1 GB, or
LEAST_FREE_SHARE: Final = 0.05  # this share of the file system
GZIP: Final = b"\x1f\x8b"
_PARTIAL: Final = ".partial-"
_CHECKSUM: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ID: Final = re.compile(r"[0-9a-f-]{36}", re.ASCII)


class DiskFullError(DynodError):
    """Too little room for another archive."""

    code = "disk_full"


class Received(NamedTuple):
    """An archive that is here: SHA-256 in hex, bytes."""

    checksum: str
    size: int


class Upload:
    """An archive on its way in: `write` pieces, then `finish`; `close` forgets what was not finished."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        descriptor, name = tempfile.mkstemp(prefix=_PARTIAL, dir=folder)
        self._path = Path(name)
        self._file = open(descriptor, "wb")  # noqa: SIM115, PTH123 (closed by `close`)
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> None:
        """The next piece. Raises ArchiveRefusedError, OSError."""
        if self._size < len(GZIP) and not (self._beginning() + data).startswith(GZIP[: self._size + len(data)]):
            raise ArchiveRefusedError("This is no gzipped tar.")
        self._size += len(data)
        if self._size > self._limits.packed:
            raise ArchiveRefusedError(f"The archive is larger than {self._limits.packed:,} bytes.")
        self._hash.update(data)
        self._file.write(data)

    def finish(self, *, as_source: str | None = None, expected: str | None = None) -> Received:
        """Put it into its place: by its content, or as the source of this id. Raises ArchiveRefusedError, OSError."""
        received = Received(self._hash.hexdigest(), self._size)
        if expected is not None and expected != received.checksum:
            raise ArchiveRefusedError(f"The archive's SHA-256 is {received.checksum}, not {expected}.")
        self._file.flush()
        if not is_archive(self._path):
            raise ArchiveRefusedError("This is no gzipped tar.")
        os.fsync(self._file.fileno())
        self._file.close()
        self._path.rename(self._folder / f"{as_source or received.checksum}.tgz")
        _sync(self._folder)
        return received

    def close(self) -> None:
        """Remove what was not finished."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _beginning(self) -> bytes:
        self._file.flush()
        return self._path.read_bytes()[: len(GZIP)]


class Archives:
    """Those of one state folder."""

    def __init__(self, state: Path, limits: Limits | None = None) -> None:
        self._slugs = state / "slugs"
        self._sources = state / "sources"
        self._built = state / "built"
        self.limits = limits or Limits()

    def receive_slug(self) -> Upload:
        """Take in a slug. Raises DiskFullError, OSError."""
        return self._receive(self._slugs)

    def receive_source(self) -> Upload:
        """Take in a source. Raises DiskFullError, OSError."""
        return self._receive(self._sources)

    def slug(self, checksum: str) -> Path | None:
        """The archive with this content, if it is here."""
        return _existing(self._slugs, checksum, _CHECKSUM)

    def source(self, id_: str) -> Path | None:
        """The source of this id, if it is here."""
        return _existing(self._sources, id_, _ID)

    def adopt_slug(self, descriptor: int) -> Received:
        """Keep what a build has made; closes the descriptor. Copied, because whoever made it may still write to it.

        Raises ArchiveRefusedError, OSError, DiskFullError.
        """
        with open(descriptor, "rb") as file:
            upload = self.receive_slug()
            try:
                while piece := file.read(1024 * 1024):
                    upload.write(piece)
                return upload.finish()
            finally:
                upload.close()

    def check_room(self) -> None:
        """Raises DiskFullError, OSError."""
        self._slugs.mkdir(mode=0o700, exist_ok=True)
        self._check_room(self._slugs)

    def keep_source(self, id_: str, slug_id: str) -> None:
        """From what a slug was built, for `dynod rebuild`. Raises OSError."""
        path = self.source(id_)
        if path is not None:
            self._built.mkdir(mode=0o700, exist_ok=True)
            path.rename(self._built / f"{slug_id}.tgz")

    def source_of(self, slug_id: str) -> Path | None:
        """From what a slug was built, if that is still here."""
        return _existing(self._built, slug_id, _ID)

    def source_again(self, slug_id: str, id_: str) -> None:
        """Have it as a source of this id once more. Raises OSError."""
        path = self.source_of(slug_id)
        if path is None:
            raise FileNotFoundError(slug_id)
        self._sources.mkdir(mode=0o700, exist_ok=True)
        os.link(path, self._sources / f"{id_}.tgz")

    def remove_built_from(self, *, but: Collection[str] | None = None, those: Collection[str] = ()) -> None:
        """Sources of these slugs, or of all but some."""
        for path in _entries(self._built):
            slug_id = path.name.removesuffix(".tgz")
            if slug_id in those or (but is not None and slug_id not in but):
                _remove(path)

    def unpacked(self, checksum: str) -> Path:
        """The folder with the slug's code, unpacked now if it never was. Not to be written to.

        Raises ArchiveRefusedError, FileNotFoundError, OSError, DiskFullError.
        """
        folder = self._slugs / checksum
        archive = self.slug(checksum)
        if archive is None:
            raise FileNotFoundError(folder)
        if not folder.is_dir():
            self._check_room(self._slugs)
            partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self._slugs))
            try:
                unpack(archive, partial / "tree", self.limits)
                (partial / "tree").chmod(0o755)  # as every folder in it; the one above lets nobody in
                os.sync()  # once, instead of each of its thousands of files
                (partial / "tree").rename(folder)
                _sync(self._slugs)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.utime(folder)  # it is needed anew: whoever removes what no slug names looks at this
        return code_folder(folder)

    def remove_slugs(self, *, but: Collection[str], older_than: float) -> list[str]:
        """Archives and folders of every other content, but for what is newer than that; returns which were removed."""
        removed = []
        for path in _entries(self._slugs):
            checksum = path.name.removesuffix(".tgz")
            if _CHECKSUM.fullmatch(checksum) and checksum not in but and _changed_at(path) < older_than:
                _remove(path)
                removed.append(checksum)
        return sorted(set(removed))

    def remove_source(self, id_: str) -> None:
        """It has been built."""
        path = self.source(id_)
        if path is not None:
            path.unlink(missing_ok=True)

    def remove_left(self, now: float) -> None:
        """What was half done when a core ended, and sources that nobody built."""
        for folder in (self._slugs, self._sources):
            for path in _entries(folder):
                if (path.name.startswith(_PARTIAL) or folder == self._sources) and _changed_at(path) < now - LEFT_S:
                    _remove(path)

    def _receive(self, folder: Path) -> Upload:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._check_room(folder)
        return Upload(folder, self.limits)

    @staticmethod
    def _check_room(folder: Path) -> None:
        usage = shutil.disk_usage(folder)
        least = max(LEAST_FREE, LEAST_FREE_SHARE * usage.total)
        if usage.free < least:
            raise DiskFullError(
                f"{usage.free // 1024**2:,} MB are free on the disk of {folder}, and {least / 1024**2:,.0f} MB are "
                "left alone: remove apps or other files."
            )


def blob_key(state: Path) -> bytes:
    """By which addresses of archives are signed; made once for a state folder. Raises OSError."""
    path = state / "blobs.key"
    with contextlib.suppress(FileNotFoundError):
        key = path.read_bytes()
        if len(key) == KEY_BYTES:
            return key
    key = secrets.token_bytes(KEY_BYTES)
    descriptor, name = tempfile.mkstemp(prefix=_PARTIAL, dir=state)
    with open(descriptor, "wb") as file:  # noqa: PTH123 (of a descriptor)
        file.write(key)
        file.flush()
        os.fsync(descriptor)
    Path(name).rename(path)
    _sync(state)
    return key


def now() -> float:
    """Seconds since the epoch, as files have them."""
    return time.time()


def _existing(folder: Path, name: str, form: re.Pattern[str]) -> Path | None:
    path = folder / f"{name}.tgz"
    return path if form.fullmatch(name) and path.is_file() else None


def _entries(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        yield from list(folder.iterdir())


def _changed_at(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return float("inf")  # somebody else has removed it


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
