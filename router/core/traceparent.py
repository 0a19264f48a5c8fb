"""The `traceparent` of a request, where it is one that W3C's Trace Context would have anybody act on. Pure.

Flow: head for the backend → **traceparent** → request record → router log line. It goes on to the backend as it came,
whatever it is; only what is sound may stand in a log line, where it is matched with traces.
"""

import re
from typing import Final

_FIELD: Final = re.compile(rb"\r\ntraceparent:[ \t]*([^\r\n]*)", re.IGNORECASE)
# Trace Context, 3.2: lower case, no id of zeros alone, no version ff; versions after 00 may have more behind a hyphen.
_SOUND: Final = re.compile(
    rb"(?!ff)(?:00|((?!00)[0-9a-f]{2}))-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    rb"(?(1)(-[\x21-\x7e]*)?)[ \t]*"
)
LENGTH: Final = 55  # bytes of the four parts that every version has


def traceparent(head: bytes) -> bytes:
    """What a head says, without what later versions may add; b"" where it says none, several, or an unsound one."""
    found: list[bytes] = _FIELD.findall(head)
    if len(found) != 1 or _SOUND.fullmatch(found[0]) is None:
        return b""
    return found[0][:LENGTH]
