"""What can go wrong in a way that a user can act on. Anything else is a bug and shows as one."""

from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit statuses of every `dynod` command (README, "Exit statuses")."""

    DONE = 0
    REFUSED = 1  # refused input, or an error answered by the API
    USAGE = 2
    SOFTWARE = 70  # a bug, or a core that cannot stay up (EX_SOFTWARE of sysexits(3))


class DynodError(Exception):
    """A refusal: `code` is stable and can be searched for, the message says what, where and what to do."""

    code: str = "error"
    exit_status: ExitStatus = ExitStatus.REFUSED


class UsageError(DynodError):
    """The command line itself is wrong: an unknown option or verb, a malformed argument."""

    code = "usage"
    exit_status = ExitStatus.USAGE


class AppFolderError(DynodError):
    """A Procfile, app.json or .env file that cannot be used; lists every fault, each with file and line."""

    code = "app_folder"


class SettingsError(DynodError):
    """A setting that is unknown or out of range, with the place it came from."""

    code = "settings"


class SpawnError(DynodError):
    """A dyno that could not be started at all: command not found, permission denied, no such folder."""

    code = "spawn"
