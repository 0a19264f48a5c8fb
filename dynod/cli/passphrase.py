"""Where a passphrase comes from: a file, or a question at the terminal; never the command line or the environment."""

import os
import sys
from pathlib import Path

import click

from dynod.errors import UsageError

by_file = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The passphrase is the first line of this file.",
)


def asked_for(file: Path | None, question: str, *, twice: bool) -> str:
    """That of the file, else what is typed; `twice` where it is a new one. Raises UsageError."""
    if file is not None:
        return _first_line(file)
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask for the passphrase: name a file with --passphrase-file")
    return str(click.prompt(question, hide_input=True, confirmation_prompt=twice, err=True))


def _first_line(file: Path) -> str:
    try:
        content = file.read_bytes()
        line = content.split(b"\n", 1)[0].removesuffix(b"\r").decode()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no text: a passphrase is its first line") from error
    if not line:
        raise UsageError(f"{os.fspath(file)} begins with an empty line: a passphrase is its first line")
    return line
