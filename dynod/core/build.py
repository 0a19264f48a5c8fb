"""A build: what became of a source. Values alone."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
SHORT: Final = 8  # characters of a commit, as Heroku has them now

PENDING: Final = "pending"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
BUILD_S: Final = 15 * 60.0  # Heroku: "Limits", build time
SLUG_BYTES: Final = 500 * 1024 * 1024  # Heroku: "Limits", slug size
MOST_WAITING: Final = 10  # builds of one app that wait for the one under way; more are refused


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


def shown_version(version: str) -> str:
    """As a release's description has it: a commit short, any other text as it is."""
    return version[:SHORT] if _COMMIT.fullmatch(version) else version
