"""dynod's own certificate authority, for TLS on loopback alone: Heroku's command line wants a rendezvous it can verify.

Made once, in one file that only its owner may read. Its certificate says for which names it may sign (localhost and
loopback addresses), so that whoever trusts it trusts nothing else with it. What it signs is renewed by itself, long
before its end. Knows nothing of the API.
"""

import asyncio
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

RENEW_BEFORE: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Current:
    """A server's context, until when it serves, and the certificate that it goes back to."""

    context: ssl.SSLContext
    until: datetime
    authority: str


class LocalAuthority:
    """In a folder, which is made when it is first needed."""

    def __init__(self, folder: Path, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._folder = folder
        self._clock = clock
        self._making = asyncio.Lock()
        self._issued: _Current | None = None

    async def context(self) -> ssl.SSLContext:
        """For a server that calls itself localhost. Raises OSError."""
        return (await self._current()).context

    async def certificate(self) -> str:
        """The authority's own certificate, PEM: what a client has to trust. Raises OSError."""
        return (await self._current()).authority

    async def _current(self) -> _Current:
        async with self._making:
            if self._issued is None or self._issued.until - self._clock() < RENEW_BEFORE:
                self._issued = await asyncio.to_thread(self._issue)
            return self._issued

    def _issue(self) -> _Current:
        from dynod.local_certificates import issue  # noqa: PLC0415 (its library is megabytes, for who needs it)

        issued = issue(self._folder, self._clock())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix="server-") as file:  # 0600; `ssl` reads files alone
            file.write(issued.server)
            file.flush()
            context.load_cert_chain(file.name)
        return _Current(context=context, until=issued.until, authority=issued.authority)
