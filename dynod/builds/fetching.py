"""A source fetched from the URL that a build was asked for: piece by piece, and from nowhere that it may not be.

What may be asked is decided by `core/source_url`; here each name is resolved once, its addresses are looked at, and
the connection is made to one of them and no other. No proxy, no cookies, nothing of dynod's own is sent.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from dynod.core.source_url import (
    MOST_REDIRECTS,
    REDIRECTS,
    SourceUrlError,
    is_public,
    next_url,
    place_of,
    refusal,
)

TOTAL_S: Final = 600.0
SILENCE_S: Final = 30.0  # between two pieces, and to connect
PIECE_BYTES: Final = 256 * 1024


class PublicResolver(AbstractResolver):
    """Addresses of a name that everybody reaches."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError where there is none: aiohttp takes nothing else for a failure."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        results = [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _type, protocol, _name, address in found
            if is_public(str(address[0]))
        ]
        if not results:
            raise OSError(0, "none of its addresses is one that everybody reaches")
        return results

    async def close(self) -> None:
        """There is nothing to let go of."""


async def fetched(url: str, *, private: bool) -> AsyncGenerator[bytes, None]:
    """The source, in pieces as they come. Raises SourceUrlError."""
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(
            resolver=None if private else PublicResolver(),
            force_close=True,
            ssl=await asyncio.to_thread(ssl.create_default_context),
        )
        timeout = aiohttp.ClientTimeout(total=TOTAL_S, sock_connect=SILENCE_S, sock_read=SILENCE_S)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=connector,
                timeout=timeout,
                auto_decompress=False,  # it is an archive, whatever the server calls it
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "dynod", "Accept-Encoding": "identity"},
            )
        )
        place = place_of(url, private=private)
        try:
            for _ in range(MOST_REDIRECTS + 1):
                place = place_of(url, private=private)
                response = await session.get(URL(url, encoded=True), allow_redirects=False)
                stack.callback(response.close)
                if response.status not in REDIRECTS or "Location" not in response.headers:
                    break
                url = next_url(url, response.headers["Location"])
            else:
                raise SourceUrlError(f"{place} leads on and on: {MOST_REDIRECTS} redirects are followed.")
            if response.status != 200:  # noqa: PLR2004 (all of it, and nothing else will do)
                raise SourceUrlError(f"{place} answers with status {response.status}.")
            async for piece in response.content.iter_chunked(PIECE_BYTES):
                yield piece
        except aiohttp.ClientConnectorDNSError as error:
            raise SourceUrlError(f"{place}: {error.os_error.strerror or 'no such name'}. {refusal(place)}") from error
        except TimeoutError as error:
            raise SourceUrlError(f"{place} does not go on answering.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise SourceUrlError(f"{place} cannot be fetched from: {type(error).__name__}.") from error
