"""`dynod backup`: what has to be kept of a daemon, into one file, while it runs; sealed here, where it is asked for."""

import json
import os
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from dynod.cli.passphrase import asked_for, by_file
from dynod.cli.session import Session, with_session
from dynod.cli.terminal import action, tell
from dynod.errors import DynodError, UsageError


class UnreadStorageError(DynodError):
    """A backup that is whole but for storage which dynod may not read."""

    code = "unread_storage"


@click.command("backup")
@click.argument("file", metavar="FILE|-")
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase, without which nobody can read it.")
@click.option("--storage", is_flag=True, help="With the folders of apps' storage.")
@by_file
@with_session
def command(session: Session, file: str, passphrase: bool, storage: bool, passphrase_file: Path | None) -> None:
    """Write a backup: apps, config, releases, settings, and the current and the previous slug of each app.

    It holds every secret of every app; the file is its owner's alone. `dynod restore` reads it. What dynod may not
    read of storage is named and not in it, and the exit status is 1 then.
    """
    if file == "-" and sys.stdout.isatty():
        raise UsageError("a backup is nothing to look at: name a file, or send it on")
    secret = None
    if passphrase or passphrase_file is not None:
        secret = asked_for(passphrase_file, "Passphrase of the backup", twice=True)
    manifest = _Manifest()
    pieces: Iterable[bytes] = manifest.read_in(session.client.backup(storage=storage))
    if secret is not None:
        from dynod.sealed_file import sealed  # noqa: PLC0415 - `cryptography`, which no other verb is to pay for

        pieces = sealed(pieces, secret)
    if file == "-":
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        manifest.tell_storage()
        manifest.check()
        return
    target = Path(file)
    with action(f"Backing up to {target}") as outcome:
        size = _write(pieces, target)
        outcome.text = f"done, {size:,} bytes"
    manifest.tell_storage()
    if session.as_json:
        session.show_json({"file": file, "size": size, "storage": manifest.storage})
    manifest.check()


class _Manifest:
    """What a backup begins with, read as it passes: its first file says what is in it (`backup_file`)."""

    def __init__(self) -> None:
        self._opener = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # gzip
        self._begin = bytearray()
        self._size: int | None = None
        self.storage: list[dict[str, Any]] = []

    def read_in(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces."""
        for piece in pieces:
            if self._size is None or len(self._begin) < self._size:
                self._look(piece)
            yield piece

    def tell_storage(self) -> None:
        """What there is of it, folder by folder."""
        for each in self.storage:
            left_out = f"; {each['left_out']:,} left out (no files, or too deep)" if each["left_out"] else ""
            files = f"{each['files']:,} file{'' if each['files'] == 1 else 's'}"
            tell(f"Storage of {each['app']}: {each['name']}, {files}, {each['size']:,} bytes{left_out}")

    def check(self) -> None:
        """Raises UnreadStorageError."""
        unread = [
            f"{each['name']} of {each['app']} ({', '.join(each['unread_names'])}{more})"
            for each in self.storage
            if (count := each.get("unread", 0))
            for more in [", …" if count > len(each["unread_names"]) else ""]
        ]
        if unread:
            raise UnreadStorageError(
                f"The backup is made, without what dynod may not read of storage: {'; '.join(unread)}. "
                "Have the app's own user let dynod read it, such as by `dynod run chmod`, and back up again."
            )

    def _look(self, piece: bytes) -> None:
        self._begin += self._opener.decompress(piece)
        if self._size is None and len(self._begin) >= tarfile.BLOCKSIZE:
            member = tarfile.TarInfo.frombuf(bytes(self._begin[: tarfile.BLOCKSIZE]), "utf-8", "strict")
            self._size = tarfile.BLOCKSIZE + member.size
        if self._size is not None and len(self._begin) >= self._size:
            self.storage = json.loads(self._begin[tarfile.BLOCKSIZE : self._size]).get("storage", [])


def _write(pieces: Iterable[bytes], target: Path) -> int:
    """Beside its place, then renamed: what is there is whole. Raises UsageError, ApiError."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)  # 0600
    except OSError as error:
        raise UsageError(f"{target}: {error.strerror or error}") from error
    size = 0
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                size += file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        Path(name).rename(target)
    except OSError as error:
        raise UsageError(f"{target}: {error.strerror or error}") from error
    finally:
        Path(name).unlink(missing_ok=True)
    return size
