"""How far an upload is, as a bar on a terminal; elsewhere a line before and a word after, as every action has."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO

from dynod.cli.terminal import action, wants_colour


@contextlib.contextmanager
def uploading(file: BinaryIO, message: str) -> Iterator[BinaryIO]:
    """The file to upload in its place: what is read of it counts as sent."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        with action(message):
            yield file
        return
    # Who has no terminal does not pay for it: importing it takes longer than most verbs.
    from rich.console import Console  # noqa: PLC0415 (as above)
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn  # noqa: PLC0415

    console = Console(file=sys.stderr, no_color=not wants_colour(sys.stderr), highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(message, total=size)
        yield progress.wrap_file(file, total=size, task_id=task)
