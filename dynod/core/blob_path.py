"""Addresses of archives and outputs that open for whoever was told them, for some time: signed, and kept nowhere. Pure.

    /blobs/slug-put/ID/EXPIRES/EXTRA/SIGNATURE

They survive a crash of dynod's core, as the key does. EXTRA is `-`, or the checksum that an upload must have.
"""

import hashlib
import hmac
from enum import StrEnum
from typing import Final, NamedTuple

PREFIX: Final = "/blobs/"
KEY_BYTES: Final = 32
VALID_S: Final = 3600  # Heroku's for slugs
NOTHING: Final = "-"


class Purpose(StrEnum):
    """What may be done there."""

    SLUG_PUT = "slug-put"
    SLUG_GET = "slug-get"
    SOURCE_PUT = "source-put"
    SOURCE_GET = "source-get"
    BUILD_OUTPUT = "build-output"
    RELEASE_OUTPUT = "release-output"


class BlobPath(NamedTuple):
    """What an address says."""

    purpose: Purpose
    id: str
    expires: int  # seconds since the epoch
    extra: str = NOTHING


def write(path: BlobPath, key: bytes) -> str:
    """The address, to be put after scheme and host."""
    return f"{PREFIX}{path.purpose}/{path.id}/{path.expires}/{path.extra}/{_signature(path, key)}"


def read(text: str, key: bytes, *, now: float) -> BlobPath | None:
    """What an address says; None for one that nobody was told, or that is over."""
    parts = text.removeprefix(PREFIX).split("/")
    if not text.startswith(PREFIX) or len(parts) != 5 or not parts[2].isascii() or not parts[2].isdigit():  # noqa: PLR2004 (as above)
        return None
    purpose, id_, expires, extra, signature = parts
    if purpose not in set(Purpose) or len(expires) > 12:  # noqa: PLR2004 (digits, until the year 33658)
        return None
    path = BlobPath(Purpose(purpose), id_, int(expires), extra)
    known = hmac.compare_digest(_signature(path, key).encode(), signature.encode("utf-8", "surrogateescape"))
    return path if known and path.expires > now else None


def _signature(path: BlobPath, key: bytes) -> str:
    said = "\n".join((path.purpose.value, path.id, str(path.expires), path.extra))
    return hmac.new(key, said.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()
