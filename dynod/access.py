"""Who may use the API over TCP: tokens made, listed, revoked and recognised.

Flow: `auth:create` → platform_api → **access** → store (`serve`) or keeper's note (`up`); and for each request its
token → who asks. What a token may do is decided by `core/api_access`; over the control socket nobody needs one.
"""

import contextlib
import secrets
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from dynod.core.api_token import LONGEST_DESCRIPTION, PREFIX, SECRET_BYTES, ApiToken, Scope, TokenRefusedError, hash_of
from dynod.errors import DynodError


class TokenKeeper(Protocol):
    """Where tokens last. All raise DynodError, with nothing changed; `by` is who asks."""

    async def all(self) -> tuple[ApiToken, ...]: ...
    async def add(self, token: ApiToken, by: str) -> None: ...
    async def remove(self, token: ApiToken, by: str) -> None: ...
    async def find(self, hash_: str) -> ApiToken | None: ...
    async def note_use(self, token: ApiToken, at: datetime) -> None: ...


class NewToken(NamedTuple):
    """A token, and what opens with it: told this once."""

    token: ApiToken
    secret: str


class Access:
    """The tokens of one daemon."""

    def __init__(self, keeper: TokenKeeper, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._keeper = keeper
        self._clock = clock

    async def tokens(self) -> tuple[ApiToken, ...]:
        """All of them, oldest first. Raises DynodError."""
        return await self._keeper.all()

    async def create(
        self,
        *,
        by: str,
        scope: Scope = Scope.ADMIN,
        app_id: str | None = None,
        description: str = "",
        purpose: str | None = None,
    ) -> NewToken:
        """A new token on behalf of whoever asks, in the place of the one of its purpose.

        Raises TokenRefusedError, DynodError.
        """
        if len(description) > LONGEST_DESCRIPTION or not description.isprintable():
            raise TokenRefusedError(f"The description must be one line of at most {LONGEST_DESCRIPTION} characters.")
        if app_id is not None and scope is Scope.ADMIN:
            raise TokenRefusedError("A token of one app cannot be an admin's: expected read or deploy.")
        secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        token = ApiToken(
            id=str(uuid.uuid4()),
            hash=hash_of(secret),
            description=description or "Long-lived user authorization",  # Heroku's own
            user=str(by),
            scope=scope,
            app_id=app_id,
            purpose=purpose,
            created_at=self._clock(),
        )
        await self._keeper.add(token, by)
        return NewToken(token, secret)

    async def revoke(self, ref: str, *, by: str) -> ApiToken | None:
        """Remove the token of this id; None: there is none. Raises DynodError."""
        for token in await self._keeper.all():
            if token.id == ref:
                await self._keeper.remove(token, by)
                return token
        return None

    async def recognise(self, secret: str) -> ApiToken | None:
        """The token that somebody shows. Raises DynodError where the store cannot be read."""
        token = await self._keeper.find(hash_of(secret))
        if token is not None and token.is_stale(now := self._clock()):
            with contextlib.suppress(DynodError):  # a full disk is no reason to let nobody in who could free it
                await self._keeper.note_use(token, now)
        return token
