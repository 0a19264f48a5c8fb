"""Which daemon a verb talks to, and to which app of it (contracts 4). Standard library, core and errors only.

The nearest word wins: `--socket`, `DYNOD_SOCKET`, `DYNOD_HOST`, the `.dynod/` of this folder or of one above it, the
git remote `dynod`, the system's daemon, the user's. A place that was found and does not answer is an error, never a
reason to try the next one: a verb that was meant for `dynod up` would otherwise scale the production app of that name.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dynod.core.git_remote import GitRemote
from dynod.core.ssh_host import SSH, SshHost, parse_ssh_command, parse_ssh_host
from dynod.errors import DynodError
from dynod.platform_api.git_folder import nearest_remote

MARK: Final = Path(".dynod") / "up.json"  # written by dynod.folder_claim, as are
NOTES: Final = "up-*.json"  # of folders that cannot be written to, in the user's runtime folder
SYSTEM_SOCKET: Final = "/run/dynod/dynod.sock"
START_ONE: Final = "start one with `dynod up` in the app's folder, or `dynod serve`"


class NoDaemonError(DynodError):
    """There is no daemon to talk to, or this user may not."""

    code = "no_daemon"


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """Where a daemon listens. `app`: the one that its mark or the git remote names. `folder`: where that mark lies.

    `host`: the machine that it is reached on by `ssh`, a program and its options; `socket` only names it then.
    """

    socket: str
    source: str
    app: str | None = None
    folder: Path | None = None
    host: SshHost | None = None
    ssh: tuple[str, ...] = (SSH,)


def find_daemon(
    option: str | None,
    environ: Mapping[str, str],
    folder: Path,
    *,
    system_socket: str = SYSTEM_SOCKET,
    here: bool = False,
) -> Daemon:
    """The daemon to talk to; `here`: of this machine, whoever names another one. Raises NoDaemonError, UsageError."""
    for value, source in ((option, "--socket"), (environ.get("DYNOD_SOCKET"), "DYNOD_SOCKET")):
        if value:
            return Daemon(socket=value, source=source)
    if environ.get("DYNOD_HOST") and not here:
        return daemon_at(environ["DYNOD_HOST"], environ, source="DYNOD_HOST")
    marked = nearest_mark(folder, environ)
    if marked is not None:
        return marked
    remote = nearest_remote(folder) if not here else None
    if remote is not None and (remote[0].host is not None or remote[0].socket is not None):
        return _of_remote(remote[0], remote[1], environ)
    app = remote[0].app if remote is not None else None
    candidates = [system_socket]
    if environ.get("XDG_RUNTIME_DIR"):
        candidates.append(os.path.join(environ["XDG_RUNTIME_DIR"], "dynod", "dynod.sock"))  # noqa: PTH118 (a str)
    for path in candidates:
        if _is_there(path):
            return Daemon(socket=path, source=path, app=app)
    raise NoDaemonError(f"no dynod runs here: {START_ONE}, or name the socket of another with --socket")


def daemon_at(place: str, environ: Mapping[str, str], *, source: str) -> Daemon:
    """The daemon of another machine, `ssh://USER@HOST[:PORT]`. Raises UsageError."""
    host = parse_ssh_host(place, source=source)
    return Daemon(socket=str(host), source=source, host=host, ssh=parse_ssh_command(environ.get("DYNOD_SSH")))


def names_app_of(remote: GitRemote, daemon: Daemon) -> bool:
    """Whether the app of this remote is one of this daemon: it says nothing about apps of the same name elsewhere."""
    if remote.host is not None or daemon.host is not None:
        return remote.host == daemon.host
    return remote.socket in {None, daemon.socket} and daemon.folder is None


def _of_remote(remote: GitRemote, source: str, environ: Mapping[str, str]) -> Daemon:
    if remote.host is None:
        return Daemon(socket=str(remote.socket), source=source, app=remote.app)
    ssh = parse_ssh_command(environ.get("DYNOD_SSH"))
    return Daemon(socket=str(remote.host), source=source, app=remote.app, host=remote.host, ssh=ssh)


def daemon_of(
    remote: GitRemote, environ: Mapping[str, str], *, source: str, system_socket: str = SYSTEM_SOCKET
) -> Daemon:
    """The daemon of a remote; where it names none, the one that is found from no folder. Raises NoDaemonError."""
    if remote.host is None and remote.socket is None:
        return find_daemon(None, environ, Path("/"), system_socket=system_socket)
    return _of_remote(remote, source, environ)


def nearest_mark(folder: Path, environ: Mapping[str, str]) -> Daemon | None:
    """The `dynod up` of this folder, or of the nearest one above that has one. Raises NoDaemonError."""
    noted = _noted(environ)
    for above in (folder, *folder.parents):
        path = above / MARK
        try:
            owner = path.stat().st_uid
            # Whoever can write to a folder above this one (/tmp!) must not choose whom we talk to.
            if owner not in {os.getuid(), 0}:
                raise NoDaemonError(f"{path} belongs to another user: use --socket if you mean that dynod")
            mark = json.loads(path.read_text(encoding="utf-8"))
            return Daemon(socket=str(mark["socket"]), source=str(path), app=str(mark["app"]), folder=above)
        except (FileNotFoundError, NotADirectoryError, PermissionError):  # the last: what is not ours to look into
            if (note := noted.get(os.fspath(above))) is not None:
                return note
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NoDaemonError(f"{path} cannot be read ({error}): {START_ONE}, or use --socket") from error
    return None


def _noted(environ: Mapping[str, str]) -> dict[str, Daemon]:
    """By their folders: each `dynod up` of this user whose folder cannot be written to."""
    runtime = [environ["XDG_RUNTIME_DIR"] + "/dynod"] if environ.get("XDG_RUNTIME_DIR") else []
    found = {}
    for place in (*runtime, f"/tmp/dynod-{os.getuid()}"):  # noqa: S108 (whose files are looked at is checked)
        for path in Path(place).glob(NOTES):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                if path.lstat().st_uid == os.getuid():
                    note = json.loads(path.read_text(encoding="utf-8"))
                    folder = str(note["folder"])
                    found[folder] = Daemon(
                        socket=str(note["socket"]), source=str(path), app=str(note["app"]), folder=Path(folder)
                    )
    return found


def _is_there(path: str) -> bool:
    try:
        os.stat(path)  # noqa: PTH116 (of a str; Path.exists hides what is asked for here)
    except PermissionError:
        return True  # it cannot be entered, and the message about that is the client's
    except OSError:
        return False
    return True
