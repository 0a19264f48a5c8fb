"""Public keys of ssh: read from what people paste, and written as a line that opens dynod and nothing else. Pure.

Forms: authorized_keys in sshd(8), RFC 4253 section 6.6 for what the base64 holds, RFC 4648 for that itself.
"""

import base64
import binascii
import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dynod.core.api_token import Scope
from dynod.errors import DynodError

TYPES: Final = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
LEAST_RSA_BITS: Final = 2048
LONGEST: Final = 16_384  # characters of a whole line
LONGEST_COMMENT: Final = 200
_LENGTH: Final = 4  # bytes before each field of a key
_LINE: Final = re.compile(r"(?P<type>\S+)\s+(?P<blob>\S+)(?:\s+(?P<comment>.*))?")


class KeyRefusedError(DynodError):
    """No key that is taken."""

    code = "invalid_params"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A key. `blob`: base64, which is what counts; `comment`: what its owner calls it."""

    type: str
    blob: str
    comment: str = ""

    def __str__(self) -> str:
        return f"{self.type} {self.blob} {self.comment}".rstrip()

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it, and sshd's `%f`."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


@dataclass(frozen=True, slots=True, kw_only=True)
class SshKey:
    """A key that somebody has added: whose it is, and what it is held to. `app_id`: the only app; None: every app."""

    id: str  # a UUID
    key: PublicKey
    user: str
    scope: Scope
    app_id: str | None
    created_at: datetime


def parse_public_key(text: str) -> PublicKey:
    """The line of a `.pub` file. Raises KeyRefusedError."""
    if "PRIVATE KEY" in text:
        raise KeyRefusedError("This is a private key: keep it to yourself, and add the file that ends in .pub.")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) != 1 or len(lines[0]) > LONGEST:
        raise KeyRefusedError(f"Expected one line such as `ssh-ed25519 AAAA… me@laptop`, found {len(lines)} lines.")
    line = _LINE.fullmatch(lines[0])
    if line is None or line["type"] not in TYPES:
        raise KeyRefusedError(f"Expected a public key of ssh, which begins with one of {', '.join(TYPES)}.")
    comment = "".join(each for each in line["comment"] or "" if each.isprintable()).strip()[:LONGEST_COMMENT]
    try:
        content = base64.b64decode(line["blob"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeyRefusedError("The key is cut short, or no base64: copy the whole line.") from error
    fields = _fields(content)
    if not fields or fields[0] != line["type"].encode("ascii") or len(fields) < 2:  # noqa: PLR2004 (its type, and itself)
        raise KeyRefusedError(f"The key is cut short, or is no {line['type']}: copy the whole line.")
    if line["type"] == "ssh-rsa" and int.from_bytes(fields[-1], "big").bit_length() < LEAST_RSA_BITS:
        raise KeyRefusedError(f"An RSA key must have at least {LEAST_RSA_BITS} bits: `ssh-keygen -t ed25519`.")
    return PublicKey(type=line["type"], blob=base64.b64encode(content).decode("ascii"), comment=comment)


def authorized_line(key: PublicKey, key_id: str, serve: Sequence[str]) -> str:
    """A line of authorized_keys: whoever has the key runs `serve` with its id, and can do nothing else there.

    `restrict` is every `no-…` that sshd knows, and those of later ones: no terminal, no forwarding, no agent.
    """
    command = shlex.join([*serve, key_id])
    if '"' in command or "\n" in command or "\\" in command:  # which sshd and the shell would read in their own ways
        raise KeyRefusedError(f"This path cannot stand in authorized_keys: {command}")
    return f'restrict,command="{command}" {key.type} {key.blob} {key_id}'


def _fields(content: bytes) -> list[bytes] | None:
    """What a key consists of, each field after its length; None where they do not fill it exactly."""
    fields = []
    rest = content
    while rest:
        length = int.from_bytes(rest[:_LENGTH], "big")
        field, rest = rest[_LENGTH : _LENGTH + length], rest[_LENGTH + length :]
        if len(field) != length or not field:
            return None
        fields.append(field)
    return fields
