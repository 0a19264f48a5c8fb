"""What a core keeps with the keeper for the next one, as text: msgspec's types, in JSON that carries any string.

msgspec's own JSON refuses the surrogate escapes by which Python holds a path or a variable that is no UTF-8.
Used by the composition roots alone; imports nothing of dynod.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

SIGNING_KEY: Final = "signing-key"
SIGNING_KEY_BYTES: Final = 32

Kept = TypeVar("Kept", bound=msgspec.Struct)


def to_note(value: msgspec.Struct) -> str:
    """The value as ASCII text."""
    return json.dumps(msgspec.to_builtins(value))


def from_note(note: str, kind: type[Kept]) -> Kept:
    """What `to_note` was given. Raises msgspec.ValidationError if it is of another kind."""
    return msgspec.convert(json.loads(note), type=kind)


def kept_secret(stored: Mapping[str, str], put: Callable[[str, str], None]) -> bytes:
    """What signs the API's own URLs: as old as the keeper, so that no core's end spoils one."""
    kept = stored.get(SIGNING_KEY)
    if kept is None:
        kept = secrets.token_hex(SIGNING_KEY_BYTES)
        put(SIGNING_KEY, kept)
    return bytes.fromhex(kept)
