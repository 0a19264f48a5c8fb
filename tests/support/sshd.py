"""A real sshd on a loopback port, with keys of its own, and the user's side of it: a configuration, a key, known hosts.

    with Sshd(tmp_path, env={"DYNOD_SOCKET": str(serve.socket)}) as sshd:
        subprocess.run(["dynod", "ps"], env={..., **sshd.environment()})

It lets in the user of the test alone. As root it wants a user and a folder of its own to drop rights to: it gets both
in a mount namespace, which only it and what it starts can see.
"""

import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

from support import installed
from support.up import eventually

LOOPBACK: Final = "127.0.0.1"
# $1: a copy of /etc/passwd that has the user.
AS_ROOT: Final = (
    'mount --bind "$1" /etc/passwd && mount -t tmpfs -o mode=755 none /run && mkdir -m 755 /run/sshd && '
    'if [ -e "$2" ]; then install -m 755 "$2" /run/keys-command; fi && shift 2 && exec "$@"'
)


class Sshd:
    """One sshd. `kill` ends it in the middle; at the end nothing of it is left."""

    def __init__(self, folder: Path, *, env: Mapping[str, str], keys_command: Sequence[str] = ()) -> None:
        """`folder` is for its files. `env`: what those who log in find, PATH apart, on which dynod is.

        `keys_command`: is asked which keys may come in, in the place of a file; for root alone, since sshd runs only
        what nobody else could have written.
        """
        self._program = installed.program("sshd")
        self.folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)
        for name in ("host_key", "user_key", "other_key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True, capture_output=True
            )
        self.user = getpass.getuser()
        with socket.socket() as trial:
            trial.bind((LOOPBACK, 0))
            self.port: int = trial.getsockname()[1]
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        variables = " ".join(f"{name}={value}" for name, value in {"PATH": path, "HOME": folder, **env}.items())
        shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
        self._config = folder / "sshd_config"
        self._config.write_text(
            f"Port {self.port}\nListenAddress {LOOPBACK}\nHostKey {folder / 'host_key'}\nPidFile none\n"
            f"{self._who_may(keys_command)}StrictModes no\nUsePAM no\nPermitRootLogin yes\n"
            f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nSetEnv {variables}\n"
        )
        self.log = folder / "log"
        self._child: subprocess.Popen[bytes] | None = None
        self.client_config()

    def _who_may(self, keys_command: Sequence[str]) -> str:
        if not keys_command:
            return f"AuthorizedKeysFile {self.folder / 'authorized_keys'}\n"
        (self.folder / "keys-command").write_text(f'#!/bin/sh\nexec {shlex.join(keys_command)} "$@"\n')
        return (
            "AuthorizedKeysFile none\nAuthorizedKeysCommand /run/keys-command %f\n"
            f"AuthorizedKeysCommandUser {self.user}\n"
        )

    @property
    def url(self) -> str:
        return f"ssh://{self.user}@{LOOPBACK}:{self.port}"

    def client_config(self, *, key: str = "user_key", host_key: str = "host_key", more: str = "") -> str:
        """What DYNOD_SSH is for a user with that key, who expects that one of the host."""
        known = self.folder / f"known_{host_key}"
        known.write_text(f"[{LOOPBACK}]:{self.port} {(self.folder / f'{host_key}.pub').read_text()}")
        config = self.folder / f"ssh_config_{key}_{host_key}"
        config.write_text(
            f"{more}\nHost *\n  IdentityFile {self.folder / key}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
            f"  UserKnownHostsFile {known}\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n"
            "  PreferredAuthentications publickey\n  ConnectTimeout 30\n"
        )
        return shlex.join(["ssh", "-F", str(config)])

    def environment(self, **more: str) -> dict[str, str]:
        """Of somebody who works from there."""
        return {"DYNOD_HOST": self.url, "DYNOD_SSH": self.client_config(), **more}

    def __enter__(self) -> Self:
        command = [self._program, "-D", "-f", str(self._config), "-E", str(self.log)]
        if os.getuid() == 0:
            users = self.folder / "passwd"
            lines = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("sshd:")]
            users.write_text("\n".join([*lines, "sshd:x:64999:65534::/run/sshd:/usr/sbin/nologin", ""]))
            trial = ["unshare", "--mount", "sh", "-c", AS_ROOT, "sh", str(users)]
            trial += [str(self.folder / "keys-command"), "true"]
            if subprocess.run(trial, capture_output=True, check=False).returncode:
                pytest.skip("NOT TESTED: root may have no mount namespace here (unshare --mount)")
            command = [*trial[:-1], *command]
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        eventually(self._listens, what=f"sshd on port {self.port}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            print(self.log.read_text())
        self.kill()

    def sessions(self) -> list[int]:
        """The processes of sshd that carry one, and what they run."""
        assert self._child is not None
        return _descendants(self._child.pid) if self._child.poll() is None else []

    def kill_sessions(self) -> None:
        """As when the network goes: who listens for new ones stays."""
        for pid in self.sessions():
            _kill(pid)

    def kill(self) -> None:
        """All of it, at once."""
        assert self._child is not None
        sessions = self.sessions()
        self._child.kill()
        self._child.wait()
        for pid in sessions:
            _kill(pid)

    def _listens(self) -> bool:
        assert self._child is not None
        assert self._child.poll() is None, self.log.read_text()
        return self.log.exists() and "Server listening" in self.log.read_text()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            found += [int(child), *_descendants(int(child))]
        except OSError:
            continue  # it has ended meanwhile
    return found
