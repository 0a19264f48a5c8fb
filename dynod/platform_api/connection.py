"""One connection to the API, and how many there may be: what is answered before any request exists.

aiohttp parses and keeps the time limits; here malformed heads get an answer in Heroku's form and no traceback in a log
(somebody else's garbage is no event of ours), and a connection above the limit is told so at once.
"""

import asyncio
from http import HTTPStatus
from typing import Final, cast

from aiohttp import web

from dynod.platform_api.errors import UNEXPECTED, answer_to, error_response
from dynod.platform_api.peer import Caller

LONGEST_LINE: Final = 8190  # bytes: request line, and one field of a head
MOST_FIELDS: Final = 100
KEEP_ALIVE_S: Final = 60.0  # also how long a first head may take
LINGER_S: Final = 2.0  # reading on, after an answer, what a client still sends
MOST_CONNECTIONS: Final = 256  # of each kind: strangers who fill up the TCP listener leave the control socket free


class Connection(web.RequestHandler):
    """aiohttp's protocol with this API's limits."""

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop, *, tcp: bool = False) -> None:
        self.tcp = tcp
        self._handled = self._answered = 0  # requests
        self._has_ended = False  # the client's half
        self.caller: Caller | None = None  # for whom its client speaks, not for itself (`on_behalf`)
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=KEEP_ALIVE_S,
            tcp_keepalive=False,
            access_log=None,  # type: ignore[arg-type]  # aiohttp takes None for "no access log", its signature does not
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            max_headers=MOST_FIELDS,
            lingering_time=LINGER_S,
            auto_decompress=False,  # a compressed body is refused: it could be any size
        )

    def eof_received(self) -> bool:  # type: ignore[override]  # what asyncio asks for it; aiohttp's gives none
        """The client sends no more. True, which leaves it the other direction, while an answer is owed and not begun.

        RFC 9112 9.6: a client that has closed its half still reads (`nc -N`). One that goes away looks the same, and a
        stream is for nobody then.
        """
        super().eof_received()
        owed, current = self._request_count - self._answered, self._current_request
        if owed == 0 or (owed == 1 and current is not None and current.writer.output_size > 0):
            return False
        self._has_ended = True
        self._let_go_of_bodies()
        return True

    def _let_go_of_bodies(self) -> None:
        bodies = [body for _, body in self._messages]
        if self._current_request is not None:
            bodies.append(self._current_request.content)
        if self.transport is None:
            return
        if self._request_count - self._handled > len(bodies):
            self._loop.call_soon(self._let_go_of_bodies)  # aiohttp is about to take one up
        elif not all(body.is_eof() for body in bodies):
            self.transport.close()  # what has ended too early is nobody's request

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a head that could not be parsed. (What handlers raise is answered before it gets here.)"""
        del exc, message  # aiohttp's message quotes the bytes
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        malformed = status < HTTPStatus.INTERNAL_SERVER_ERROR
        response = error_response(status, "The request is no well-formed HTTP." if malformed else UNEXPECTED)
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Put into Heroku's form what aiohttp refuses before any middleware: an `Expect` that is not understood."""
        if isinstance(resp, web.HTTPException):
            resp = answer_to(resp) or resp
        self._handled += 1
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._answered += 1
            if self._has_ended and self._answered == self._request_count:
                self.close()


class Refusal(asyncio.Protocol):
    """A connection too many: one answer, whatever it asks."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.WriteTransport", transport)  # uvloop's is one, and does not inherit from it
        body = b'{"id": "rate_limit", "message": "Too many connections to the API: close some, and try again."}'
        stream.write(
            b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        stream.close()


def open_connection(server: web.Server, loop: asyncio.AbstractEventLoop, *, tcp: bool = False) -> asyncio.BaseProtocol:
    """The protocol of a connection that was just accepted."""
    if sum(isinstance(each, Connection) and each.tcp is tcp for each in server.connections) >= MOST_CONNECTIONS:
        return Refusal()
    return Connection(server, loop, tcp=tcp)


def is_tcp(request: web.BaseRequest) -> bool:
    """Whether it has come over TCP, where nobody is vouched for by the kernel."""
    connection = request.protocol
    return not isinstance(connection, Connection) or connection.tcp


def spoken_for_on(request: web.BaseRequest) -> Caller | None:
    """For whom the client of this connection has said that it speaks."""
    connection = request.protocol
    return connection.caller if isinstance(connection, Connection) else None
