"""One HTTP probe of a dyno. The only user of aiohttp's client in `process`; imported by the first such probe.

Flow: probes → **HTTP probe** → `core.probe_answer` says what the answer means. May import `core` and `errors`.
"""

import asyncio
import errno
from typing import Final

import aiohttp
from yarl import URL

from dynod.core.app_manifest import Healthcheck
from dynod.core.boot import Address
from dynod.core.healthcheck import Failed, Outcome, Target, port_of
from dynod.core.probe_answer import FAILURES_FROM, Answer, judge_answer

READ_LIMIT: Final = 1024 * 1024  # of a body that is searched for `content`
ERROR_PAGE_LIMIT: Final = 65_536  # of a body that explains a failure
PROXY_HEADERS: Final = {
    "User-Agent": "dynod-healthcheck",
    "Accept": "*/*",
    "Accept-Encoding": "identity",  # `content` is looked for in plain text
    "X-Forwarded-Proto": "https",  # apps that insist on https answer as they would behind a router with TLS
}


class HttpProbe:
    """Made inside the running loop; `close` when done, with no probe under way."""

    def __init__(self, host: str) -> None:
        """`host`: the Host header, where a check names none."""
        self._host = host
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True, ssl=False),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),  # each probe has its own, over everything
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close what is open."""
        await self._session.close()

    async def ask(self, check: Healthcheck, target: Target) -> Outcome:
        """Within the check's own timeout."""
        port = port_of(check, target.port)
        where = Address(target.address.host if target.address is not None else "127.0.0.1", port)
        given = {name.lower(): (name, value) for name, value in check.headers}
        headers = {name: value for name, value in PROXY_HEADERS.items() if name.lower() not in given}
        headers |= dict(given.values())
        _, host = given.get("host", ("", self._host))
        headers["Host"] = host
        answered: list[int] = []  # the status, once there is a head
        try:
            async with asyncio.timeout(check.timeout_s):
                answer = await self._get(check, where, headers, answered)
        except TimeoutError:
            if answered:
                return Failed(f"answered {answered[0]}, but its body did not end within {check.timeout_s} s")
            return Failed(f"gave no answer within {check.timeout_s} s (asked {where})")
        except aiohttp.ClientConnectorError as error:
            return Failed(_refused(error, where, target))
        except aiohttp.ServerDisconnectedError:
            return Failed(f"closed the connection without an answer (asked {where})")
        except aiohttp.ClientResponseError as error:
            return Failed(f"answered something that is not HTTP ({error.message.splitlines()[0]})")
        except ValueError as error:  # a path or header of app.json that no request can hold
            return Failed(f"cannot be asked: {error}")
        except (aiohttp.ClientError, OSError) as error:
            return Failed(f"broke off its answer ({error})")
        return judge_answer(check, answer, host=host, secure=check.scheme.lower() == "https")

    async def _get(self, check: Healthcheck, where: Address, headers: dict[str, str], answered: list[int]) -> Answer:
        scheme, path = check.scheme.lower(), check.path or "/"
        if scheme not in {"http", "https"}:
            raise ValueError(f'its scheme is "{check.scheme}", and only http and https are spoken')
        url = URL(f"{scheme}://{where}{path if path.startswith('/') else f'/{path}'}", encoded=True)
        # ssl=False: a dyno's own certificate is nobody's business but the app's.
        async with self._session.get(url, headers=headers, allow_redirects=False, ssl=False) as response:
            answered.append(response.status)
            return Answer(
                status=response.status,
                location=response.headers.get("Location", ""),
                content_type=response.headers.get("Content-Type", ""),
                body=await _read(response, check.content),
            )


async def _read(response: aiohttp.ClientResponse, wanted: str | None) -> bytes:
    """As much of the body as decides: none of a good answer, unless `wanted` is to be found in it.

    So a page that never ends (server-sent events) can be probed.
    """
    failed = response.status >= FAILURES_FROM
    if not failed and not wanted:
        return b""
    body = bytearray()
    limit = ERROR_PAGE_LIMIT if failed else READ_LIMIT
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= limit or (wanted and not failed and wanted.encode() in body):
            break
    return bytes(body)


def _refused(error: aiohttp.ClientConnectorError, where: Address, target: Target) -> str:
    if error.os_error.errno != errno.ECONNREFUSED:
        return f"could not be reached at {where} ({error.os_error.strerror or error.os_error})"
    other = f"; the dyno's PORT is {target.port}" if where.port != target.port else ""
    return f"was refused: nothing listens on {where}{other}"
