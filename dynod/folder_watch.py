"""`dynod up --watch`: files of the app's folder change, and the dynos that they concern are restarted.

The web dynos of a folder whose new code does not come up go on with the old one, until the next change.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from watchfiles import Change, awatch

from dynod.core.watch import SETTINGS_FILES, concerned, is_ignored
from dynod.stderr import say

DEBOUNCE_MS: Final = 300  # an editor writes several times, a checkout many files
SHOWN: Final = 3


async def watch_folder(folder: Path, commands: Mapping[str, str], restart: Callable[[list[str], str], None]) -> None:
    """Until cancelled; `restart` gets the process types that a change concerns, and what has changed."""

    def is_source(_change: Change, path: str) -> bool:
        return not is_ignored(os.path.relpath(path, folder))

    async for changes in awatch(
        folder, watch_filter=is_source, debounce=DEBOUNCE_MS, step=50, recursive=True, raise_interrupt=False
    ):
        paths = sorted(Path(path).relative_to(folder).as_posix() for _change, path in changes)
        for name in SETTINGS_FILES:
            if name in paths:
                say(f"{name} has changed: it is read when dynod up starts, so start it again to apply that")
        if types := concerned(paths, commands):
            more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
            what = f"{', '.join(paths[:SHOWN])}{more} changed"
            say(f"{what}: restarting {', '.join(types)}")
            restart(types, what)
