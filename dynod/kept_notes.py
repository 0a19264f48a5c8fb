"""What a core keeps with the keeper for the next one, as text: msgspec's types, in JSON that carries any string.

msgspec's own JSON refuses the surrogate escapes by which Python holds a path or a variable that is no UTF-8.
Used by the composition roots alone; imports nothing of dynod.
"""

import json
from typing import TypeVar

import msgspec

Kept = TypeVar("Kept", bound=msgspec.Struct)


def to_note(value: msgspec.Struct) -> str:
    """The value as ASCII text."""
    return json.dumps(msgspec.to_builtins(value))


def from_note(note: str, kind: type[Kept]) -> Kept:
    """What `to_note` was given. Raises msgspec.ValidationError if it is of another kind."""
    return msgspec.convert(json.loads(note), type=kind)
