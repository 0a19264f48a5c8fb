"""Which daemon a verb talks to, and to which app of it (contracts 4). Standard library, core and errors only.

The nearest word wins: `--socket`, `DYNOD_SOCKET`, `DYNOD_HOST`, the `.dynod/` of this folder or of one above it, the
system's daemon, the user's. A place that was found and does not answer is an error, never a reason to try the next
one: a verb that was meant for `dynod up` would otherwise scale the production app of the same name.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dynod.core.ssh_host import SSH, SshHost, parse_ssh_command, parse_ssh_host
from dynod.errors import DynodError

MARK: Final = Path(".dynod") / "up.json"  # written by dynod.folder_claim
SYSTEM_SOCKET: Final = "/run/dynod/dynod.sock"
START_ONE: Final = "start one with `dynod up` in the app's folder"


class NoDaemonError(DynodError):
    """There is no daemon to talk to, or this user may not."""

    code = "no_daemon"


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """Where a daemon listens. `app`: the one that its mark names. `folder`: where that mark lies.

    `host`: the machine that it is reached on by `ssh`, a program and its options; `socket` only names it then.
    """

    socket: str
    source: str
    app: str | None = None
    folder: Path | None = None
    host: SshHost | None = None
    ssh: tuple[str, ...] = (SSH,)


def find_daemon(
    option: str | None, environ: Mapping[str, str], folder: Path, *, system_socket: str = SYSTEM_SOCKET
) -> Daemon:
    """The daemon to talk to. Raises NoDaemonError, UsageError."""
    for value, source in ((option, "--socket"), (environ.get("DYNOD_SOCKET"), "DYNOD_SOCKET")):
        if value:
            return Daemon(socket=value, source=source)
    if environ.get("DYNOD_HOST"):
        return daemon_at(environ["DYNOD_HOST"], environ, source="DYNOD_HOST")
    marked = nearest_mark(folder)
    if marked is not None:
        return marked
    candidates = [system_socket]
    if environ.get("XDG_RUNTIME_DIR"):
        candidates.append(os.path.join(environ["XDG_RUNTIME_DIR"], "dynod", "dynod.sock"))  # noqa: PTH118 (a str)
    for path in candidates:
        if _is_there(path):
            return Daemon(socket=path, source=path)
    raise NoDaemonError(f"no dynod runs here: {START_ONE}, or name the socket of another with --socket")


def daemon_at(place: str, environ: Mapping[str, str], *, source: str) -> Daemon:
    """The daemon of another machine, `ssh://USER@HOST[:PORT]`. Raises UsageError."""
    host = parse_ssh_host(place, source=source)
    return Daemon(socket=str(host), source=source, host=host, ssh=parse_ssh_command(environ.get("DYNOD_SSH")))


def nearest_mark(folder: Path) -> Daemon | None:
    """The `dynod up` of this folder, or of the nearest one above that has one. Raises NoDaemonError."""
    for above in (folder, *folder.parents):
        path = above / MARK
        try:
            owner = path.stat().st_uid
            # Whoever can write to a folder above this one (/tmp!) must not choose whom we talk to.
            if owner not in {os.getuid(), 0}:
                raise NoDaemonError(f"{path} belongs to another user: use --socket if you mean that dynod")
            mark = json.loads(path.read_text(encoding="utf-8"))
            return Daemon(socket=str(mark["socket"]), source=str(path), app=str(mark["app"]), folder=above)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            continue  # a folder above that we may not look into is not ours
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NoDaemonError(f"{path} cannot be read ({error}): {START_ONE}, or use --socket") from error
    return None


def _is_there(path: str) -> bool:
    try:
        os.stat(path)  # noqa: PTH116 (of a str; Path.exists hides what is asked for here)
    except PermissionError:
        return True  # it cannot be entered, and the message about that is the client's
    except OSError:
        return False
    return True
