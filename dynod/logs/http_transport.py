"""Posts frames over HTTP and HTTPS as logplex does (heroku-semantics 6.7).

One keep-alive connection, one request under way, no redirect ever followed, answers' bodies not read. A frame carries
the same id whenever it is posted again.
"""

import asyncio
import base64
import ssl
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import aiohttp
from yarl import URL

from dynod.core.drain_policy import Outcome
from dynod.core.drain_url import DrainUrl
from dynod.core.syslog_frame import frame_id
from dynod.logs.drain_transport import DELIVERED, Delivery, Frame, describe

CONNECT_S: Final = 3.0
REQUEST_S: Final = 5.0
IDLE_S: Final = 144.0  # a connection that has been silent for so long is made anew
CONTENT_TYPE: Final = "application/logplex-1"
USER_AGENT: Final = "Logplex/dynod"  # receivers know logplex by the word before the slash

CUT_SHORT: Final = Delivery(outcome=Outcome.FAILED, error="connection closed before an answer came")

MakeContext = Callable[[], ssl.SSLContext]


class HttpTransport:
    """Made without a loop; connects when there is something to send."""

    def __init__(
        self,
        url: DrainUrl,
        *,
        token: str,
        make_context: MakeContext = ssl.create_default_context,
        connect_s: float = CONNECT_S,
        request_s: float = REQUEST_S,
    ) -> None:
        self._url = URL(url.target, encoded=True)
        self._tls = url.tls
        self._make_context = make_context
        self._connect_s = connect_s
        self._request_s = request_s
        self._token = token
        self._headers = {
            "Content-Type": CONTENT_TYPE,
            "Logplex-Drain-Token": token,
            "User-Agent": USER_AGENT,
        }
        if url.user or url.password:
            self._headers["Authorization"] = f"Basic {base64.b64encode(f'{url.user}:{url.password}'.encode()).decode()}"
        self._session: aiohttp.ClientSession | None = None

    async def send(self, frame: Frame) -> Delivery:
        is_used = self._session is not None
        delivery = await self._try(frame)
        if is_used and delivery is CUT_SHORT:  # closed by the receiver while it was idle, most likely
            await self._let_go()
            delivery = await self._try(frame)
        return delivery

    async def close(self) -> None:
        await self._let_go()

    async def _try(self, frame: Frame) -> Delivery:
        try:
            session = self._session or await self._open()
            return await self._post(session, frame)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else TimeoutError()
            if isinstance(error, aiohttp.ClientConnectorCertificateError):
                inner = error.certificate_error  # type: ignore[assignment]  # aiohttp says Exception; it is the TLS one
            distrusted = isinstance(inner, ssl.SSLCertVerificationError)
            return Delivery(outcome=Outcome.UNREACHABLE, error=describe(inner), distrusted=distrusted)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError):
            return CUT_SHORT
        except TimeoutError:
            await self._let_go()
            return Delivery(outcome=Outcome.FAILED, error="no answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            await self._let_go()
            # aiohttp's messages quote the URL, with its query and all.
            shown = "no HTTP in the answer" if isinstance(error, aiohttp.ClientError) else describe(error)
            return Delivery(outcome=Outcome.FAILED, error=shown)

    async def _open(self) -> aiohttp.ClientSession:
        # Certificates are read from the disk.
        context = await asyncio.to_thread(self._make_context) if self._tls else False
        connector = aiohttp.TCPConnector(limit=1, ssl=context, keepalive_timeout=IDLE_S)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._connect_s + self._request_s, connect=self._connect_s),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self._session

    async def _post(self, session: aiohttp.ClientSession, frame: Frame) -> Delivery:
        headers = {
            **self._headers,
            "Logplex-Msg-Count": str(frame.messages),
            "Logplex-Frame-Id": frame_id(self._token, frame.body),
        }
        async with session.post(
            self._url,
            data=frame.body,
            headers=headers,
            allow_redirects=False,
            skip_auto_headers=("Accept", "Accept-Encoding"),
        ) as response:
            status = response.status
            if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
                return DELIVERED
            error = f"answered {status}"
            if (
                HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
                and status != HTTPStatus.TOO_MANY_REQUESTS
            ):
                return Delivery(outcome=Outcome.REFUSED, error=error)
            asked_s = _seconds(response.headers.get("Retry-After", ""))
        await self._let_go()  # logplex makes a new connection after a temporary failure
        return Delivery(outcome=Outcome.FAILED, error=error, asked_s=asked_s)

    async def _let_go(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _seconds(retry_after: str) -> float:
    """Retry-After in seconds; a date, which few send, is not looked at."""
    return float(retry_after) if retry_after.isdecimal() and len(retry_after) < 10 else 0.0  # noqa: PLR2004 (9 digits)
