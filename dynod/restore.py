"""`dynod restore`: a backup becomes the state of a daemon that does not run yet. Offline; nothing is written by half.

Flow: (sealed file →) backup file → **restore** → a new state folder, which `dynod serve` holds down until `--start`.
May import backup_file, sealed_file, storage_archive, store, and of the command line what talks to the terminal. No
module of `cli`, since it needs no daemon and the store.
"""

import io
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import click
import msgspec

from dynod.backup_file import SETTINGS, BackupError, Manifest, Part, as_it_is, read_manifest, read_parts
from dynod.cli.passphrase import asked_for, by_file
from dynod.cli.terminal import action, show, tell
from dynod.storage_archive import StorageArchiveError, unpack
from dynod.store.store import NEWEST_SCHEMA, Store

STORAGE: Final = "storage/"  # of the names of parts
HELD: Final = "held"  # of the state folder: while it is there, no dyno starts by itself


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--state", required=True, type=click.Path(path_type=Path), help="The new state folder; empty, or none.")
@by_file
@click.option("--json", "as_json", is_flag=True, help="Print what was in it as JSON.")
def command(file: Path, state: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Make the state folder of a new daemon from a backup.

    Everything in it is verified before anything is written. Dynos stay down until `dynod serve --start`.
    """
    opened = _opening(file, passphrase_file)
    with action(f"Restoring {state}") as outcome:
        manifest = restore(file, state, opened)
        outcome.text = f"done, as of {manifest.made_at} (dynod {manifest.dynod})"
    tell(f"Run it with: dynod serve --state {state} [--start]; without --start no dyno starts")
    if (state / SETTINGS).exists():
        tell(f"Its settings are in {state / SETTINGS}: look at their addresses, then put them into place or --config")
    for folder in manifest.storage:
        tell(f"S{str(folder)[1:]}")
    for checksum in manifest.missing:
        tell(f"The archive {checksum} was not there when the backup was made: its release cannot start")
    if as_json:
        show(json.dumps(msgspec.to_builtins(manifest), indent=2))


def _opening(file: Path, passphrase_file: Path | None) -> Callable[[IO[bytes]], IO[bytes]]:
    """How the backup in the file is read: with a passphrase where it has one. Raises BackupError, UsageError."""
    from dynod.sealed_file import Unsealed, is_sealed  # noqa: PLC0415 - `cryptography`, which the daemon need not hold

    try:
        with file.open("rb") as begin:
            if not is_sealed(begin):
                return as_it_is
    except OSError as error:
        raise BackupError(f"{file}: {error.strerror or error}") from error
    passphrase = asked_for(passphrase_file, f"Passphrase of {file}", twice=False)
    return lambda sealed: io.BufferedReader(Unsealed(sealed, passphrase))


def restore(file: Path, state: Path, opened: Callable[[IO[bytes]], IO[bytes]] = as_it_is) -> Manifest:
    """Raises BackupError, StoreError, and then nothing was written. `opened`: see `read_parts`."""
    try:
        if state.is_symlink() or (state.exists() and (not state.is_dir() or any(state.iterdir()))):
            raise BackupError(f"{state} is not empty: a backup is restored into a new folder")
        manifest = read_manifest(file, opened)
        if manifest.schema > NEWEST_SCHEMA:
            raise BackupError(
                f"{file} was made by a newer dynod (schema {manifest.schema}, this one knows up to {NEWEST_SCHEMA}): "
                f"restore it with dynod {manifest.dynod}"
            )
        state.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{state.name}-", dir=state.parent) as beside:
            whole = Path(beside) / "state"
            whole.mkdir(mode=0o700)
            read_parts(file, lambda part: _new_file(whole, part), opened)
            for part in manifest.parts:
                if part.name.startswith(STORAGE):
                    _unpack(file, whole / part.name)
            Store.open(whole).close()  # which brings an older schema up to date
            (whole / HELD).touch(mode=0o600)
            os.sync()
            whole.rename(state)
    except OSError as error:
        raise BackupError(f"{error.filename or file}: {error.strerror or error}") from error
    return manifest


def _unpack(file: Path, archive: Path) -> None:
    """A folder in place of its archive. Raises BackupError, OSError."""
    try:
        with archive.open("rb") as packed:
            unpack(packed, archive.with_name(archive.name.removesuffix(".tgz")))
    except StorageArchiveError as error:
        raise BackupError(f"{file} is no whole backup: {archive.name}: {error}; nothing was restored") from error
    archive.unlink()


def _new_file(folder: Path, part: Part) -> IO[bytes]:
    path = folder / part.name
    for above in reversed(path.relative_to(folder).parents[:-1]):
        (folder / above).mkdir(mode=0o700, exist_ok=True)
    return open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")  # noqa: PTH123 (a descriptor; its caller closes it)


def is_held(state: Path, *, start: bool) -> bool:
    """Whether dynos of this state are to stay down; `start` ends that. Raises OSError."""
    if start:
        (state / HELD).unlink(missing_ok=True)
    return (state / HELD).exists()
