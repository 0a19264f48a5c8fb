"""Session affinity by Heroku's cookie: a signed name of the backend that has served a client before. Pure.

Source: Dev Center "Session Affinity". Heroku's value is opaque to clients and so is ours: the backend's id and a MAC,
so that nobody can choose a backend. The cookie is tied to the host by having no Domain (Heroku names the host itself
there, which browsers refuse for `localhost` and for addresses).
"""

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Final

COOKIE: Final = b"heroku-session-affinity"
LIFE_S: Final = 86400
_IN_HEAD: Final = re.compile(rb"\n(?i:cookie):[^\r]*?[ ;:]" + COOKIE + rb"=([A-Za-z0-9_-]{22,1000})")
_MAC_BYTES: Final = 16


def set_cookie(key: bytes, backend_id: str) -> bytes:
    """The field that pins a client to a backend, with its CRLF."""
    name = backend_id.encode()
    value = urlsafe_b64encode(_mac(key, name) + name).rstrip(b"=")
    return b"Set-Cookie: %b=%b; Max-Age=%d; Path=/; HttpOnly\r\n" % (COOKIE, value, LIFE_S)


def pinned(key: bytes, head: bytes) -> str | None:
    """The backend id that a request's cookie names, if we have signed it."""
    match = _IN_HEAD.search(head)
    if match is None:
        return None
    value = match.group(1)
    try:
        raw = urlsafe_b64decode(value + b"=" * (-len(value) % 4))
        mac, name = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        return name.decode() if hmac.compare_digest(mac, _mac(key, name)) else None
    except ValueError:
        return None


def _mac(key: bytes, name: bytes) -> bytes:
    return hmac.digest(key, name, sha256)[:_MAC_BYTES]
