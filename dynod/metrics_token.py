"""The token by which Prometheus is known to the metrics listener: read from its file, and kept as a hash alone.

May import `errors`.
"""

import hashlib
from pathlib import Path
from typing import Final

from dynod.errors import SettingsError

SHORTEST_TOKEN: Final = 16  # characters


def token_hash(file: Path | None) -> str:
    """Of the token in the file; "" without one. Raises SettingsError."""
    if file is None:
        return ""
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not ASCII"
        raise SettingsError(f"metrics_token_file: {file}: {reason}") from error
    if len(token) < SHORTEST_TOKEN:
        raise SettingsError(f"metrics_token_file: {file}: a token has at least {SHORTEST_TOKEN} characters")
    return hash_of(token)


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
