"""Who looks at the dashboard: a code that opens once becomes a session of the page, which may look and nothing else.

Flow: `dynod open --dashboard` → code → page → **session** → admission. A session is signed, not kept, so that the next
core knows it too; it ends with dynod, and after twelve hours. The page keeps it in the storage of its tab. It is no
cookie, because those go to all ports of a host: an app behind the router on 127.0.0.1 would be sent it.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec

PREFIX: Final = "dynod-page-"
CODE_S: Final = 60.0  # from the terminal to the browser
SESSION_S: Final = 12 * 3600.0
MOST_CODES: Final = 64  # not redeemed yet; the oldest gives way
CODE_BYTES: Final = 32


class Viewer(msgspec.Struct, frozen=True, kw_only=True):
    """On whose behalf the page looks. `app_id`: at that app alone. By which token or key, which must be there still."""

    user: str
    app_id: str | None = None
    token_id: str | None = None
    key_id: str | None = None


class _Code(msgspec.Struct, frozen=True, kw_only=True):
    viewer: Viewer
    uid: int
    expires_at: float


class PageSession(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed."""

    id: str
    viewer: Viewer
    expires_at: float  # monotonic seconds, which are the same for all cores of a machine's life


class PageSessions:
    """Of one server."""

    def __init__(self, secret: bytes, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`secret` is the same for every core, and signs other things, too."""
        self._key = hmac.digest(secret, b"page session", "sha256")
        self._clock = clock
        self._codes: dict[str, _Code] = {}

    def code(self, viewer: Viewer, *, uid: int) -> str:
        """What opens the page once, within a minute, for programs of the user `uid` of this machine."""
        while len(self._codes) >= MOST_CODES:
            del self._codes[next(iter(self._codes))]
        code = secrets.token_urlsafe(CODE_BYTES)
        self._codes[_hash(code)] = _Code(viewer=viewer, uid=uid, expires_at=self._clock() + CODE_S)
        return code

    def made_for(self, code: str) -> int | None:
        """The user of this machine whose programs may redeem it; None: there is no such code (any more)."""
        found = self._codes.get(_hash(code))
        return found.uid if found is not None and found.expires_at > self._clock() else None

    def redeem(self, code: str) -> Viewer | None:
        """Who has been given this code; None: nobody, or it has been used, or is too old."""
        found = self._codes.pop(_hash(code), None)
        return found.viewer if found is not None and found.expires_at > self._clock() else None

    def begin(self, viewer: Viewer) -> str:
        """A session."""
        session = PageSession(id=secrets.token_urlsafe(12), viewer=viewer, expires_at=self._clock() + SESSION_S)
        body = base64.urlsafe_b64encode(msgspec.json.encode(session)).rstrip(b"=").decode()
        return f"{PREFIX}{body}.{self._signature(body)}"

    def read(self, secret: str) -> PageSession | None:
        """The session that somebody shows; None: it is none of ours, or over."""
        body, _, signature = secret.removeprefix(PREFIX).partition(".")
        given = signature.encode("utf-8", "surrogateescape")
        if not secret.startswith(PREFIX) or not hmac.compare_digest(given, self._signature(body).encode()):
            return None
        session = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=PageSession)
        return session if session.expires_at > self._clock() else None

    def _signature(self, body: str) -> str:
        return hmac.new(self._key, body.encode("utf-8", "surrogateescape"), "sha256").hexdigest()


def _hash(code: str) -> str:
    """So that looking it up takes no time by which it could be guessed."""
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()
