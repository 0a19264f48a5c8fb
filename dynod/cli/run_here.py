"""`dynod run` in a folder whose app does not run: the command in the folder's own environment, as `heroku local:run`.

May import app_folder and core. Ends by becoming the command; nothing supervises it.
"""

import os
import random
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from dynod.app_folder import folder_bins, inspect_app_folder
from dynod.core.command import analyse
from dynod.core.environment import manifest_values, missing_variables, up_environment
from dynod.errors import AppFolderError, DynodError
from dynod.listeners import DEFAULT_PORT

LARGEST_NUMBER: Final = 9999
NOT_FOUND: Final = 127  # as shells have it
NOT_EXECUTABLE: Final = 126


class NotStartedError(DynodError):
    """The command could not be started."""

    code = "not_started"


def become(folder: Path, words: Sequence[str], *, extra: Mapping[str, str]) -> NoReturn:
    """Execute the command line in place of this process. Raises AppFolderError; SystemExit as a shell would."""
    app, faults = inspect_app_folder(folder)
    elsewhere = frozenset(os.environ).union(*app.env_values, extra)
    faults = (*faults, *missing_variables(app.manifest, elsewhere=elsewhere))
    if faults:
        raise AppFolderError("\n".join(str(fault) for fault in faults))
    commands = {declared.name: declared.command for declared in app.types}
    first, *rest = words[0].split(maxsplit=1)
    command = " ".join([commands.get(first, first), *rest, *words[1:]])
    ports = [values["PORT"] for values in app.env_values if values.get("PORT", "").isdecimal()]
    environment = up_environment(
        caller=os.environ,
        dynod_prefix=sys.prefix,
        manifest_env=manifest_values(app.manifest, elsewhere=elsewhere, secret=lambda: secrets.token_hex(32)),
        dotenv=app.env_values,
        folder_bins=folder_bins(app.folder),
        dyno=f"run.{random.randint(1, LARGEST_NUMBER)}",  # noqa: S311 (a name)
        port=int(ports[-1]) if ports else DEFAULT_PORT,
    )
    own = {name: environment[name] for name in ("DYNO", "PORT")}
    environment.update(extra)
    environment.update(own)
    argv = analyse(command, shell=shutil.which("bash") or "/bin/sh").argv
    os.chdir(app.folder)
    try:
        os.execvpe(argv[0], argv, environment)  # noqa: S606 (as a dyno is started)
    except OSError as error:
        sys.stderr.write(f"dynod: {argv[0]}: {error.strerror}\n")
        raise SystemExit(
            NOT_FOUND if isinstance(error, FileNotFoundError | NotADirectoryError) else NOT_EXECUTABLE
        ) from error
