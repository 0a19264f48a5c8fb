"""A build: what became of a source. Values alone."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

PENDING: Final = "pending"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A build; `status` is Heroku's word."""

    id: str
    app_id: str
    status: str
    source_version: str | None
    slug_id: str | None
    release_version: int | None
    user: str
    created_at: datetime
    updated_at: datetime
