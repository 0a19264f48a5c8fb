"""A slug: code in an archive that is named by its content, and the process types that it declares. Values alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSlug:
    """What is said of a slug when it is made. `checksum` and `size`: None until its archive is here."""

    process_types: Mapping[str, str]
    stack: str
    commit: str | None = None
    commit_description: str | None = None
    buildpack_description: str | None = None
    checksum: str | None = None  # SHA-256 in hex
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slug(NewSlug):
    """A slug of an app."""

    id: str
    app_id: str
    created_at: datetime
    updated_at: datetime
