"""`dynod backup`: what has to be kept of a daemon, into one file, while it runs; sealed here, where it is asked for."""

import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import click

from dynod.cli.passphrase import asked_for, by_file
from dynod.cli.session import Session, with_session
from dynod.cli.terminal import action
from dynod.errors import UsageError


@click.command("backup")
@click.argument("file", metavar="FILE|-")
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase, without which nobody can read it.")
@by_file
@with_session
def command(session: Session, file: str, passphrase: bool, passphrase_file: Path | None) -> None:
    """Write a backup: apps, config, releases, settings, and the current and the previous slug of each app.

    It holds every secret of every app; the file is its owner's alone. `dynod restore` reads it.
    """
    if file == "-" and sys.stdout.isatty():
        raise UsageError("a backup is nothing to look at: name a file, or send it on")
    secret = None
    if passphrase or passphrase_file is not None:
        secret = asked_for(passphrase_file, "Passphrase of the backup", twice=True)
    pieces: Iterable[bytes] = session.client.backup()
    if secret is not None:
        from dynod.sealed_file import sealed  # noqa: PLC0415 - `cryptography`, which no other verb is to pay for

        pieces = sealed(pieces, secret)
    if file == "-":
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    target = Path(file)
    with action(f"Backing up to {target}") as outcome:
        size = _write(pieces, target)
        outcome.text = f"done, {size:,} bytes"
    if session.as_json:
        session.show_json({"file": file, "size": size})


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
