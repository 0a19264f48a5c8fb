"""`dynod restore`: a backup becomes the state of a daemon that does not run yet. Offline; nothing is written by half.

Flow: backup file → **restore** → a new state folder, which `dynod serve` holds down until `--start`. May import
backup_file, store, and of the command line its terminal. No module of `cli`, since it needs no daemon and the store.
"""

import os
import tempfile
from pathlib import Path
from typing import IO, Final

import click

from dynod.backup_file import SETTINGS, BackupError, Manifest, Part, read_manifest, read_parts
from dynod.cli.terminal import action, tell
from dynod.store.store import NEWEST_SCHEMA, Store

HELD: Final = "held"  # of the state folder: while it is there, no dyno starts by itself


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--state", required=True, type=click.Path(path_type=Path), help="The new state folder; empty, or none.")
def command(file: Path, state: Path) -> None:
    """Make the state folder of a new daemon from a backup.

    Everything in it is verified before anything is written. Dynos stay down until `dynod serve --start`.
    """
    with action(f"Restoring {state}") as outcome:
        manifest = restore(file, state)
        outcome.text = f"done, as of {manifest.made_at} (dynod {manifest.dynod})"
    tell(f"Run it with: dynod serve --state {state} [--start]; without --start no dyno starts")
    if (state / SETTINGS).exists():
        tell(f"Its settings are in {state / SETTINGS}: look at their addresses, then put them into place or --config")
    for checksum in manifest.missing:
        tell(f"The archive {checksum} was not there when the backup was made: its release cannot start")


def restore(file: Path, state: Path) -> Manifest:
    """Raises BackupError, StoreError, and then nothing was written."""
    try:
        if state.is_symlink() or (state.exists() and (not state.is_dir() or any(state.iterdir()))):
            raise BackupError(f"{state} is not empty: a backup is restored into a new folder")
        manifest = read_manifest(file)
        if manifest.schema > NEWEST_SCHEMA:
            raise BackupError(
                f"{file} was made by a newer dynod (schema {manifest.schema}, this one knows up to {NEWEST_SCHEMA}): "
                f"restore it with dynod {manifest.dynod}"
            )
        state.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{state.name}-", dir=state.parent) as beside:
            whole = Path(beside) / "state"
            whole.mkdir(mode=0o700)
            read_parts(file, lambda part: _new_file(whole, part))
            Store.open(whole).close()  # which brings an older schema up to date
            (whole / HELD).touch(mode=0o600)
            os.sync()
            whole.rename(state)
    except OSError as error:
        raise BackupError(f"{error.filename or file}: {error.strerror or error}") from error
    return manifest


def _new_file(folder: Path, part: Part) -> IO[bytes]:
    path = folder / part.name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    return open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")  # noqa: PTH123 (a descriptor; its caller closes it)


def is_held(state: Path, *, start: bool) -> bool:
    """Whether dynos of this state are to stay down; `start` ends that. Raises OSError."""
    if start:
        (state / HELD).unlink(missing_ok=True)
    return (state / HELD).exists()
