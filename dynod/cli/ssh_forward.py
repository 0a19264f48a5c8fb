"""A port of this machine's loopback that ssh forwards to the API of a dynod elsewhere, for Heroku's command line.

ssh goes on in the background, as a ControlMaster of its own whose socket is named by what it forwards: so the next
`dynod heroku:env` finds and uses it, and whoever wants can end it.
"""

import hashlib
import os
import shlex
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from dynod.cli.terminal import tell
from dynod.core.ssh_host import SshHost
from dynod.errors import DynodError

LOOPBACK: Final = "127.0.0.1"
FIRST_PORT: Final = 5080  # where dynod's own API begins to look
PORTS: Final = 100
CHECK_S: Final = 10.0
OPTIONS: Final = (
    *("-f", "-N", "-T", "-M"),
    *("-o", "ControlPersist=no", "-o", "ExitOnForwardFailure=yes", "-o", "RemoteCommand=none"),
    # Nobody looks at it: it has to notice by itself that the other machine has gone.
    *("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3"),
)


class ForwardError(DynodError):
    """There is no way to the API of that machine."""

    code = "no_forward"


def forward(host: SshHost, ssh: Sequence[str], url: str) -> str:
    """The address by which `url` of that machine is reached on this one. Raises ForwardError."""
    target = urlsplit(url).netloc
    try:
        folder = _folder()
        key = hashlib.sha256("\0".join((*ssh, str(host), target)).encode()).hexdigest()[:12]
        for path in sorted(folder.glob(f"ssh-{key}-*")):
            if _is_alive(host, ssh, path):
                return _told(host, ssh, path, "is still")
            path.unlink(missing_ok=True)
        port = _free_port()
        path = folder / f"ssh-{key}-{port}"
        options = (*OPTIONS, "-S", _quoted(path), "-L", f"{LOOPBACK}:{port}:{target}")
        # Not to our stdout: a shell that reads it would wait for the end of ssh.
        done = subprocess.run(  # noqa: S603 (a list of checked words, and no shell)
            host.command(ssh, options), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False
        )
    except OSError as error:
        raise ForwardError(f"{host}: no port can be forwarded: {error}") from error
    if done.returncode != 0:
        raise ForwardError(f"{host}: no port was forwarded: ssh has ended with status {done.returncode}")
    return _told(host, ssh, path, "is")


def _told(host: SshHost, ssh: Sequence[str], path: Path, verb: str) -> str:
    url = f"http://{LOOPBACK}:{path.name.rpartition('-')[2]}"
    end = shlex.join(host.command(ssh, ("-S", _quoted(path), "-O", "exit")))
    tell(f"dynod: {url} {verb} forwarded to {host}; end that with: {end}")
    return url


def _is_alive(host: SshHost, ssh: Sequence[str], path: Path) -> bool:
    try:
        checked = subprocess.run(  # noqa: S603 (as above)
            host.command(ssh, ("-S", _quoted(path), "-O", "check")),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHECK_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return checked.returncode == 0


def _folder() -> Path:
    """The user's own, and short: a unix socket's path ends at 108 bytes, of which ssh wants 17 for itself."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) / "dynod" if runtime else Path.home() / ".cache" / "dynod"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    return folder


def _quoted(path: Path) -> str:
    """As ssh reads a ControlPath, in which `%` begins a token."""
    return str(path).replace("%", "%%")


def _free_port() -> int:
    for port in range(FIRST_PORT, FIRST_PORT + PORTS):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise OSError(f"none of the ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1} is free")
