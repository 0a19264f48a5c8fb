"""A backup as a file: a gzipped tar of a manifest, then each part that it names. Written as a stream.

    manifest.json          dynod's version, the schema, the time, and of each part its size and SHA-256
    state.db               the database
    dynod.toml             the settings' file, where there is one
    slugs/SHA256.tgz       archives of code
    storage/APP/NAME.tgz   folders of storage, where they were asked for

Flow: daemon_backup → **backup file** → `dynod restore`; under a passphrase, by `sealed_file`, it is the same stream.
Blocks. May import errors alone.
"""

import gzip
import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Protocol

import msgspec

from dynod.errors import DynodError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

FORMAT: Final = 2
WITHOUT_STORAGE: Final = 1  # which is what dynods before it know
MANIFEST: Final = "manifest.json"
DATABASE: Final = "state.db"
SETTINGS: Final = "dynod.toml"
LARGEST_MANIFEST: Final = 16 * 1024 * 1024
PIECE_BYTES: Final = 1024 * 1024
WRITTEN_BYTES: Final = 256 * 1024  # at once
FAST: Final = 1  # of gzip: nearly all of it is compressed already
_STORAGE: Final = r"storage/[0-9a-f-]{36}/[a-z0-9][a-z0-9._-]{0,62}\.tgz"
_NAME: Final = re.compile(rf"state\.db|dynod\.toml|slugs/[0-9a-f]{{64}}\.tgz|{_STORAGE}", re.ASCII)


class BackupError(DynodError):
    """A backup that cannot be made, or is not whole."""

    code = "backup"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a backup. `sha256` in hex, `size` in bytes."""

    name: str
    size: int
    sha256: str


class StoredFolder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of an app's storage: the app's name, its own, its part; files, their bytes, what no archive holds.

    `unread`: files and folders that dynod might not read; `unread_names`: the first of them.
    """

    app: str
    name: str
    part: str
    files: int
    size: int
    left_out: int
    unread: int = 0
    unread_names: list[str] = []

    def __str__(self) -> str:
        left_out = f"; {self.left_out:,} left out (no files, or too deep)" if self.left_out else ""
        files = f"{self.files:,} file{'' if self.files == 1 else 's'}"
        more = ", …" if self.unread > len(self.unread_names) else ""
        unread = f"; not in it, as dynod may not read it: {', '.join(self.unread_names)}{more}" if self.unread else ""
        return f"storage of {self.app}: {self.name}, {files}, {self.size:,} bytes{left_out}{unread}"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself. `missing`: archives that were not there when it was made."""

    format: int
    dynod: str
    schema: int
    made_at: str
    parts: list[Part]
    missing: list[str]
    storage: list[StoredFolder] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a part comes from."""

    part: Part
    path: Path


class Sink(Protocol):
    """Whoever takes the stream."""

    def write(self, data: bytes, /) -> object: ...


def part_of(name: str, path: Path) -> Source:
    """A file as a part. Raises OSError."""
    hashed, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            hashed.update(piece)
            size += len(piece)
    return Source(part=Part(name=name, size=size, sha256=hashed.hexdigest()), path=path)


def write_backup(sink: Sink, manifest: Manifest, sources: Sequence[Source]) -> None:
    """All of it, in pieces. Raises OSError."""
    with (
        io.BufferedWriter(_Written(sink), WRITTEN_BYTES) as written,
        gzip.GzipFile(filename="", mode="wb", fileobj=written, compresslevel=FAST) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        document = msgspec.json.encode(manifest)
        tar.addfile(_member(MANIFEST, len(document)), io.BytesIO(document))
        for source in sources:
            with source.path.open("rb") as file:
                tar.addfile(_member(source.part.name, source.part.size), file)


def as_it_is(file: IO[bytes]) -> IO[bytes]:
    """What a file holds, where nothing has to be opened first."""
    return file


def read_manifest(path: Path, opened: Callable[[IO[bytes]], IO[bytes]] = as_it_is) -> Manifest:
    """What is in a backup, once every byte of it has been read and found as its manifest says. Raises BackupError."""
    return read_parts(path, lambda _part: _Nowhere(), opened)


def read_parts(
    path: Path, into: Callable[[Part], IO[bytes]], opened: Callable[[IO[bytes]], IO[bytes]] = as_it_is
) -> Manifest:
    """Read a backup to its end and write each part to the file that is opened for it. Raises BackupError, OSError.

    `opened`: the backup in the file, whose reading may raise DynodErrors of its own.
    """
    with _opened(path, opened) as (packed, tar):
        members = iter(tar)
        manifest = _manifest(tar, next(members, None))
        left = {part.name: part for part in manifest.parts}
        if len(left) != len(manifest.parts) or not all(map(_NAME.fullmatch, left)) or DATABASE not in left:
            raise BackupError("its manifest names what no backup holds")
        for member in members:
            part = left.pop(member.name, None)
            if part is None or not member.isreg() or member.size != part.size:
                raise BackupError(f"{member.name} is not as the manifest says")
            with into(part) as file:
                if _copy(tar, member, file) != part.sha256:
                    raise BackupError(f"{part.name} has another SHA-256 than the manifest says")
        if left:
            raise BackupError(f"{next(iter(left))} is not in it")
        while packed.read(PIECE_BYTES):  # to the checksum at its very end
            pass
    return manifest


def _member(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info


@contextmanager
def _opened(path: Path, opened: Callable[[IO[bytes]], IO[bytes]]) -> Iterator[tuple[gzip.GzipFile, tarfile.TarFile]]:
    try:
        with (
            path.open("rb") as file,
            gzip.GzipFile(fileobj=opened(file), mode="rb") as packed,
            tarfile.open(fileobj=packed, mode="r|") as tar,
        ):
            yield packed, tar
    except BackupError as error:
        raise BackupError(f"{path} is no whole backup: {error}; nothing was restored") from error
    except DynodError as error:
        raise BackupError(f"{path} does not open: {error}; nothing was restored") from error
    except (EOFError, tarfile.TarError, gzip.BadGzipFile, zlib.error) as error:
        raise BackupError(
            f"{path} is no whole backup: cut short, or altered ({error}); nothing was restored"
        ) from error


def _manifest(tar: tarfile.TarFile, member: tarfile.TarInfo | None) -> Manifest:
    if member is None or member.name != MANIFEST or not member.isreg() or member.size > LARGEST_MANIFEST:
        raise BackupError("it does not begin with a manifest")
    document = io.BytesIO()
    _copy(tar, member, document)
    try:
        manifest = msgspec.json.decode(document.getvalue(), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BackupError("its manifest cannot be read") from error
    if manifest.format not in {WITHOUT_STORAGE, FORMAT}:
        raise BackupError(f"a newer dynod has made it (format {manifest.format}): restore it with that one")
    return manifest


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, file: IO[bytes]) -> str:
    content = tar.extractfile(member)
    hashed = hashlib.sha256()
    while content is not None and (piece := content.read(PIECE_BYTES)):
        hashed.update(piece)
        file.write(piece)
    return hashed.hexdigest()


class _Nowhere(io.BytesIO):
    """Takes everything and keeps nothing."""

    def write(self, data: object, /) -> int:
        del data
        return 0


class _Written(io.RawIOBase):
    """What gzip takes for a file."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        content = bytes(data)
        self._sink.write(content)
        return len(content)
