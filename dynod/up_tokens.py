"""The API tokens of `dynod up`: kept with the keeper, so that they last as long as it does and survive a core."""

import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import msgspec

from dynod.core.api_token import ApiToken, Scope, refuse_one_too_many

NOTE: Final = "tokens"  # the key under which the keeper has them


class _KeptToken(msgspec.Struct, frozen=True, kw_only=True):
    """One token, in a note. Times are seconds since the epoch."""

    id: str
    hash: str
    description: str
    user: str
    scope: Scope
    app_id: str | None
    purpose: str | None
    created_at: float


class KeptTokens:
    """Made by each core from what the keeper has; `put` leaves a note with the keeper. A token keeper of `access`."""

    def __init__(self, note: str | None, put: Callable[[str, str], None]) -> None:
        kept = msgspec.json.decode(note, type=list[_KeptToken]) if note is not None else []
        self._put = put
        self._tokens = tuple(
            ApiToken(
                id=each.id,
                hash=each.hash,
                description=each.description,
                user=each.user,
                scope=each.scope,
                app_id=each.app_id,
                purpose=each.purpose,
                created_at=datetime.fromtimestamp(each.created_at, UTC),
            )
            for each in kept
        )

    async def all(self) -> tuple[ApiToken, ...]:
        """Every token, oldest first."""
        return self._tokens

    async def add(self, token: ApiToken, by: str) -> None:
        """Keep a new one, in the place of the one of its purpose. Raises TokenRefusedError."""
        del by  # there is no audit trail
        others = [each for each in self._tokens if token.purpose is None or each.purpose != token.purpose]
        refuse_one_too_many(len(others))
        self._set((*others, token))

    async def remove(self, token: ApiToken, by: str) -> None:
        """It opens nothing any more."""
        del by
        self._set(tuple(each for each in self._tokens if each.id != token.id))

    async def find(self, hash_: str) -> ApiToken | None:
        """The token of this hash."""
        found = [each for each in self._tokens if hmac.compare_digest(each.hash, hash_)]
        return found[0] if found else None

    async def note_use(self, token: ApiToken, at: datetime) -> None:
        """It was used then; the next core need not know."""
        self._tokens = tuple(replace(each, used_at=at) if each.id == token.id else each for each in self._tokens)

    def _set(self, tokens: tuple[ApiToken, ...]) -> None:
        self._tokens = tokens
        kept = [
            _KeptToken(
                id=each.id,
                hash=each.hash,
                description=each.description,
                user=each.user,
                scope=each.scope,
                app_id=each.app_id,
                purpose=each.purpose,
                created_at=each.created_at.timestamp(),
            )
            for each in tokens
        ]
        self._put(NOTE, msgspec.json.encode(kept).decode("ascii"))
