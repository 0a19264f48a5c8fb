"""`ssh://USER@VM:PORT`: a machine whose dynod is reached by ssh, and the arguments by which ssh is told so.

What is accepted here is all that ever reaches ssh's command line, as arguments of their own: no shell reads them on
this side, nothing that could be taken for an option gets through, and what runs there is fixed (`REMOTE`).
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dynod.errors import UsageError

SCHEME: Final = "ssh://"
REMOTE: Final = "dynod api-stdio"  # sshd hands it to the login shell there; no word of it comes from anybody
SSH: Final = "ssh"
HIGHEST_PORT: Final = 65_535

# Narrower than what systems allow: none begins with "-", and none means anything to a shell or in ssh's own %-tokens.
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_ADDRESS: Final = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\]")
_PLACE: Final = re.compile(r"(?:(?P<user>[^@]*)@)?(?P<host>\[[^\]]*\]|[^@:\[\]]*)(?::(?P<port>[^:]*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SshHost:
    """`host`: a name, an address, or an alias of the user's ssh_config(5), which has what is None here."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user is not None else ""
        return f"{SCHEME}{user}{host}{f':{self.port}' if self.port is not None else ''}"

    def command(self, ssh: Sequence[str], options: Sequence[str], *remote: str) -> list[str]:
        """The command line of ssh with these options. `--` ends them, whatever the host looks like."""
        port = ("-p", str(self.port)) if self.port is not None else ()
        user = ("-l", self.user) if self.user is not None else ()
        return [*ssh, *options, *port, *user, "--", self.host, *remote]


def parse_ssh_host(text: str, *, source: str) -> SshHost:
    """`ssh://[USER@]HOST[:PORT]`. `source`: what the message names. Raises UsageError."""
    expected = f'{source}: expected ssh://USER@HOST[:PORT], found "{text}"'
    if not text.startswith(SCHEME):
        raise UsageError(expected)
    place = _PLACE.fullmatch(text.removeprefix(SCHEME).removesuffix("/"))
    if place is None:
        raise UsageError(expected)
    user, host, port = place["user"], place["host"], place["port"]
    if user is not None and not _USER.fullmatch(user):
        raise UsageError(f'{expected}: "{user}" is no user name')
    address = _ADDRESS.fullmatch(host)
    if address is None and not _NAME.fullmatch(host):
        raise UsageError(f'{expected}: "{host}" is no host name')
    if port is not None and not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) <= HIGHEST_PORT):
        raise UsageError(f'{expected}: "{port}" is no port')
    return SshHost(
        host=address[1] if address is not None else host,
        user=user,
        port=int(port) if port is not None else None,
    )


def parse_ssh_command(text: str | None) -> tuple[str, ...]:
    """DYNOD_SSH: the program and options of its own, as `ssh -F FILE`, quoted as for a shell. Raises UsageError."""
    try:
        words = tuple(shlex.split(text or SSH))
    except ValueError as error:
        raise UsageError(f"DYNOD_SSH: {error} in {text}") from error
    if not words:
        raise UsageError("DYNOD_SSH names no program")
    return words
