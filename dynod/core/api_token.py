"""API tokens: who one stands for, and what it may do. Pure.

A token is 256 random bits, so that a plain SHA-256 of it is safe to keep: nobody goes through all of them. The token
itself is told once, to whoever has asked for it, and kept by nobody.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from dynod.errors import DynodError

SECRET_BYTES: Final = 32
PREFIX: Final = "dynod-"  # tells scanners of leaked secrets what they have found
NOTED_EVERY: Final = timedelta(minutes=1)  # how exactly the last use is known: a write for each request would cost more
MOST_TOKENS: Final = 1000
LONGEST_DESCRIPTION: Final = 200  # characters


class Scope(StrEnum):
    """What a token may do; each may all that the one before may. Decided for each route by `core/api_access`."""

    READ = "read"  # look, but at no config var's value and into no dyno
    DEPLOY = "deploy"  # change apps that there are: config, releases, formation, one-off dynos
    ADMIN = "admin"  # make and destroy apps and tokens

    def covers(self, needed: "Scope") -> bool:
        """Whether this scope is enough where another one is asked for."""
        return _RANK[self] >= _RANK[needed]


_RANK: Final[Mapping[Scope, int]] = {scope: rank for rank, scope in enumerate(Scope)}

# Heroku's names ("OAuth", Scopes). Its `read` excludes config vars too, its `write-protected` includes them.
HEROKU_SCOPES: Final[Mapping[Scope, str]] = {
    Scope.READ: "read",
    Scope.DEPLOY: "write-protected",
    Scope.ADMIN: "global",
}


class TokenRefusedError(DynodError):
    """A token that cannot be made."""

    code = "invalid_params"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A token as it is kept. `app_id`: the only app that it may see; None: every app.

    `purpose`: a new token takes the place of the one with the same purpose.
    """

    id: str  # a UUID
    hash: str
    description: str
    user: str
    scope: Scope
    app_id: str | None
    purpose: str | None
    created_at: datetime
    used_at: datetime | None = None

    def is_stale(self, now: datetime) -> bool:
        """Whether a use now is worth noting."""
        return self.used_at is None or now - self.used_at >= NOTED_EVERY


def hash_of(secret: str) -> str:
    """What is kept of a token, 64 hex digits. Any text has one."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def scope_named(names: str) -> Scope:
    """By dynod's name or Heroku's. Raises TokenRefusedError."""
    for scope, heroku in HEROKU_SCOPES.items():
        if names in {scope.value, heroku}:
            return scope
    raise TokenRefusedError(
        f"No such scope as {names[:100]}: expected read, deploy (write-protected) or admin (global)."
    )


def refuse_one_too_many(count: int) -> None:
    """For whoever is about to keep another one. Raises TokenRefusedError."""
    if count >= MOST_TOKENS:
        raise TokenRefusedError(f"There are {MOST_TOKENS} tokens already: revoke some with `dynod auth:revoke`.")
