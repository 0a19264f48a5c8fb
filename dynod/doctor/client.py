"""The doctor as a client: ordinary requests, slow ones, and ones that are in flight at a moment of its choosing.

Plain sockets, blocking, each with a deadline: what is asked is what a browser's first request would ask, GET /, and a
POST / whose body does not come. Every answer counts, whatever its status: a server that says 404 serves.
"""

import contextlib
import http.client
import io
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from dynod.core.boot import Address
from dynod.core.doctor_live import Hold

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

AGENT: Final = "dynod-doctor"
UPLOAD_BYTES: Final = 65_536  # announced; more than any server takes for granted, less than any refuses
LARGEST_ANSWER: Final = 16 << 20
LARGEST_READ: Final = 65_536
_AT_ONCE_S: Final = 0.001  # zero would mean without blocking


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that came whole."""

    status: int
    took_s: float


def ask(address: Address, *, mark: str = "", timeout_s: float) -> Answer | None:
    """GET / over a connection of its own; None where no whole answer came in time. `mark` shows in logs of requests."""
    began = time.monotonic()
    try:
        with socket.create_connection((address.host, address.port), timeout_s) as connection:
            connection.sendall(_get(mark, keep=False))
            return _answer(connection, began + timeout_s, began)
    except OSError:
        return None


class SlowClient:
    """`with SlowClient(…):` somebody who is slow in one of three ways; closed after it."""

    def __init__(self, address: Address, hold: Hold, *, timeout_s: float) -> None:
        self._connection = socket.create_connection((address.host, address.port), timeout_s)
        try:
            self._begin(hold, time.monotonic() + timeout_s)
        except OSError:  # the server has closed: such a client holds nothing
            pass
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def _begin(self, hold: Hold, deadline: float) -> None:
        match hold:
            case Hold.IDLE:
                self._connection.sendall(_get("", keep=True))
                _answer(self._connection, deadline, time.monotonic())
            case Hold.UPLOAD:
                head = f"POST / HTTP/1.1\r\n{_FIELDS}Content-Type: application/x-www-form-urlencoded\r\n"
                self._connection.sendall(f"{head}Content-Length: {UPLOAD_BYTES}\r\n\r\na=".encode())
            case Hold.READING:
                self._connection.sendall(_get("", keep=True))


class Burst:
    """`with Burst(…) as burst`: several requests at once, sent, and their answers for later."""

    def __init__(self, address: Address, count: int, *, timeout_s: float) -> None:
        self.port = address.port
        self._open: dict[int, socket.socket] = {}
        until = time.monotonic() + timeout_s  # for all of them together
        try:
            for _ in range(count):
                left = max(until - time.monotonic(), _AT_ONCE_S)
                connection = socket.create_connection((address.host, address.port), left)
                self._open[connection.getsockname()[1]] = connection
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def ports(self) -> set[int]:
        """By which the connections are told apart."""
        return set(self._open)

    def send(self) -> None:
        """All of them now."""
        for connection in self._open.values():
            connection.sendall(_get("", keep=False))

    def wait(self, seconds: float) -> None:
        """So long, or until all are answered; whoever has an answer leaves at once, as some servers wait for that."""
        until = time.monotonic() + seconds
        while self._open and (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select(list(self._open.values()), [], [], left)
            for connection in ready:
                with contextlib.suppress(OSError):
                    connection.recv(LARGEST_READ)
            self._hang_up({port for port, connection in self._open.items() if connection in ready})

    def unanswered(self) -> set[int]:
        """Those of which not a byte, nor an end, has come."""
        ready, _, _ = select.select(list(self._open.values()), [], [], 0)
        return {port for port, connection in self._open.items() if connection not in ready}

    def answered(self, ports: set[int], deadline: float) -> int:
        """How many of these have had a whole answer by the deadline; the others are given up at once."""
        self._hang_up(self.ports - ports)
        return sum(self._is_answered(port, deadline) for port in sorted(ports))

    def close(self) -> None:
        """Hang up."""
        for connection in self._open.values():
            connection.close()

    def _hang_up(self, ports: set[int]) -> None:
        for port in ports:
            self._open.pop(port).close()

    def _is_answered(self, port: int, deadline: float) -> bool:
        try:
            return _answer(self._open[port], deadline, time.monotonic()) is not None
        except OSError:
            return False
        finally:
            self._hang_up({port})


_FIELDS: Final = f"Host: localhost\r\nUser-Agent: {AGENT}\r\nAccept: */*\r\nX-Forwarded-Proto: https\r\n"


def _get(mark: str, *, keep: bool) -> bytes:
    query = f"/?doctor={mark}" if mark else "/"
    more = f"X-Request-Id: {mark}\r\n" if mark else ""
    return f"GET {query} HTTP/1.1\r\n{_FIELDS}{more}Connection: {'keep-alive' if keep else 'close'}\r\n\r\n".encode()


def _answer(connection: socket.socket, deadline: float, began: float) -> Answer | None:
    """The whole of one answer. Raises OSError where the connection breaks."""
    with contextlib.closing(http.client.HTTPResponse(connection)) as response:
        response.fp.close()
        response.fp = io.BufferedReader(_Until(connection, deadline), LARGEST_READ)
        try:
            response.begin()
            for _ in _pieces(response):
                pass
        except (http.client.HTTPException, ValueError):
            return None
        return Answer(status=response.status, took_s=time.monotonic() - began)


class _Until(io.RawIOBase):
    """What comes over a connection until a moment, however slowly: a timeout of its own would begin anew each time."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        super().__init__()
        self._connection = connection
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


def _pieces(response: http.client.HTTPResponse) -> Iterator[int]:
    read = 0
    while read < LARGEST_ANSWER and (piece := response.read(LARGEST_READ)):
        read += len(piece)
        yield read
