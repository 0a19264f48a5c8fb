"""Requests to the API over the control socket. Standard library only, fast to import.

The socket is one of this machine, or of another one, which `over_ssh` reaches. What may be asked is client.py's.

A request that changes nothing is sent once more where the connection is cut: the core may have been replaced, and the
keeper holds the socket meanwhile. One that changes something is not: whether it was done is then unknown, and said so.
"""

import contextlib
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn, cast
from urllib.parse import quote, urlsplit, urlunsplit

from dynod.core.fault import quoted
from dynod.errors import DynodError, UsageError
from dynod.platform_api.finding import START_ONE, Daemon, NoDaemonError
from dynod.platform_api.http_connection import BrokenAnswerError, Fields, HttpConnection, UnixConnection, read_answer

if TYPE_CHECKING:  # imported where it is needed: it starts processes and threads
    from dynod.platform_api.over_ssh import Said

ACCEPT: Final = "application/vnd.heroku+json; version=3"
TIMEOUT_S: Final = 30.0  # everything that takes longer is answered as begun
UPLOAD_TIMEOUT_S: Final = 120.0  # between two steps of an upload; at its end the daemon writes all of it to disk
LONGEST_REFUSAL: Final = 65_536  # bytes to read at once
FIRST_REFUSAL: Final = 400  # status
CUT_SHORT: Final = "cut_short"  # of an ApiError: an answer began, or was under way, and did not come whole
STREAM_BYTES: Final = 64 * 1024
LONGEST_NAME: Final = 2048  # characters: a drain is named by its URL


class ApiError(DynodError):
    """The daemon has refused: `code` is the id of Heroku's table, `status` that of HTTP."""

    def __init__(self, message: str, *, code: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class _Speaking(UnixConnection):
    """A connection on which all is asked on behalf of somebody else."""

    def __init__(self, path: str, timeout_s: float, somebody: Mapping[str, str]) -> None:
        super().__init__(path, timeout_s)
        self._somebody = somebody

    def _introduce(self, opening: socket.socket) -> None:
        """Nothing else is asked before the daemon has agreed. Raises OSError, ApiError."""
        body = json.dumps(dict(self._somebody)).encode()
        opening.sendall(
            f"POST /dynod/on-behalf HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        with opening.makefile("rb") as file:
            answer = read_answer(file)
            _understood(answer.status, answer.read())


class Requests:
    """To one daemon. Opens a connection when it is first needed, and keeps it."""

    def __init__(
        self, daemon: Daemon, *, timeout_s: float = TIMEOUT_S, on_behalf: Mapping[str, str] | None = None
    ) -> None:
        """`on_behalf`: all is asked for somebody else (`/dynod/on-behalf`), over the control socket of this machine."""
        self.daemon = daemon
        self._on_behalf = on_behalf
        self._said: Said | None = None
        self._connection = self._new_connection(timeout_s)
        self._session: HttpConnection | None = None  # the newest that `attach` has opened

    def close(self) -> None:
        """Let go of the connections."""
        self._connection.close()
        if self._session is not None:
            self._session.close()

    def open_socket(self) -> socket.socket:
        """A connection of its own, for whoever talks the API by other means. Raises NoDaemonError, ApiError."""
        return self._opened(self._unix_connection(TIMEOUT_S))

    def stream(self, url: str, *, opened: Callable[[socket.socket], None] | None = None) -> Iterator[bytes]:
        """What is at an address that the API has told, in pieces as they come. Raises ApiError.

        It has a connection of its own and may be read in another thread; `opened` is given that, to cut it by.
        """
        path = urlunsplit(("", "", *urlsplit(url)[2:4], ""))
        connection = self._new_connection(TIMEOUT_S)  # its own: it stays open as long as what it reads
        with contextlib.closing(connection):
            try:
                connection.request("GET", path, headers={"User-Agent": "dynod"})
                response = connection.getresponse()
                if response.status >= FIRST_REFUSAL:
                    _understood(response.status, response.read())
                reading = self._opened(connection)
                reading.settimeout(None)
                if opened is not None:
                    opened(reading)
                while piece := response.read1(STREAM_BYTES):
                    yield piece
            except OSError as error:
                raise ApiError("what was read was cut short", code=CUT_SHORT, status=0) from error

    def upload(self, url: str, file: BinaryIO) -> None:
        """Put a file's content at an address that the API has told. Raises ApiError, NoDaemonError."""
        size = file.seek(0, 2)
        file.seek(0)
        connection = self._new_connection(UPLOAD_TIMEOUT_S)
        with contextlib.closing(connection):
            try:
                connection.request("PUT", urlsplit(url).path, body=file, headers={"Content-Length": str(size)})
                response = connection.getresponse()
                content = response.read()
            except OSError as error:
                raise ApiError("the upload was cut short", code=CUT_SHORT, status=0) from error
            if response.status >= FIRST_REFUSAL:
                _understood(response.status, content)

    def upgrade(self, path: str, protocol: str, more: str = "") -> tuple[socket.socket, bytes]:
        """A connection of its own, switched to another protocol. `more`: fields of the head, each with its end."""
        if self._session is not None:
            self._session.close()
        self._session = opening = self._new_connection(TIMEOUT_S)
        connection = self._opened(opening)
        try:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
                f"Upgrade: {protocol}\r\n{more}\r\n".encode("ascii")
            )
            head, rest = _head(connection)
            if head.startswith(b"HTTP/1.1 101 "):
                connection.settimeout(None)
                return connection, rest
            while not _is_whole(rest) and (data := connection.recv(LONGEST_REFUSAL)):
                rest += data
            _refuse_session(int(head.split(b" ", 2)[1]), rest)
        except TimeoutError as error:
            connection.close()
            raise NoDaemonError(f"dynod does not answer on {self.daemon.socket} ({TIMEOUT_S:.0f} s)") from error
        except (OSError, ValueError, IndexError) as error:
            connection.close()
            raise ApiError("the connection was cut before the session began", code=CUT_SHORT, status=0) from error
        except BaseException:
            connection.close()
            raise

    def all_of(self, path: str) -> list[object]:
        """All pages of a list."""
        found: list[object] = []
        headers: dict[str, str] = {}
        while True:
            page, answered = self.exchange("GET", path, headers, None)
            found += cast("list[object]", page)
            if "Next-Range" not in answered:
                return found
            headers = {"Range": answered["Next-Range"]}

    def send(self, method: str, path: str, body: object = None) -> object:
        return self.exchange(method, path, {}, body)[0]

    def exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: object,
        timeout_s: float | None = None,
    ) -> tuple[object, Fields]:
        sent = {"Accept": ACCEPT, "User-Agent": "dynod", **headers}
        encoded = None
        if body is not None:
            encoded = _as_json(body)
            sent["Content-Type"] = "application/json"
        for attempt in (1, 2):
            self._opened(self._connection).settimeout(timeout_s or self._connection.timeout)
            try:
                self._connection.request(method, path, body=encoded, headers=sent)
                response = self._connection.getresponse()
                content = response.read()
                if "Content-Length" not in response.headers:  # which dynod always sends: the head was cut short
                    raise BrokenAnswerError("an answer without its length")
            except TimeoutError as error:
                self._connection.close()
                raise NoDaemonError(f"dynod does not answer on {self.daemon.socket} ({TIMEOUT_S:.0f} s)") from error
            except OSError as error:
                self._connection.close()
                if method == "GET" and attempt == 1:
                    continue
                raise ApiError(
                    "the connection was cut before an answer came; look with `dynod ps` whether it was done",
                    code=CUT_SHORT,
                    status=0,
                ) from error
            if response.headers.get("Connection").lower() == "close":
                self._connection.close()
            return _understood(response.status, content), response.headers
        raise AssertionError("unreachable")

    def _new_connection(self, timeout_s: float) -> HttpConnection:
        if self.daemon.host is None:
            return self._unix_connection(timeout_s)
        from dynod.platform_api.over_ssh import Said, SshConnection  # noqa: PLC0415 (who stays here does not pay)

        self._said = self._said or Said()
        return SshConnection(self.daemon, timeout_s, self._said)

    def _unix_connection(self, timeout_s: float) -> UnixConnection:
        if self._on_behalf is None:
            return UnixConnection(self.daemon.socket, timeout_s)
        return _Speaking(self.daemon.socket, timeout_s, self._on_behalf)

    def _opened(self, connection: HttpConnection) -> socket.socket:
        if connection.sock is None:
            try:
                connection.connect()
            except OSError as error:
                raise _unreachable(self.daemon, error) from error
        assert connection.sock is not None  # noqa: S101 - connect has set it
        return connection.sock


def _understood(status: int, content: bytes) -> object:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ApiError(f"dynod answered {status} and no JSON: is it dynod?", code="no_json", status=status) from error
    if status < FIRST_REFUSAL:
        return document
    refused = document if isinstance(document, dict) else {}
    message = str(refused.get("message", f"refused with status {status}"))
    raise ApiError(message, code=str(refused.get("id", "unknown")), status=status)


def _refuse_session(status: int, content: bytes) -> NoReturn:
    _understood(status, content)
    raise ApiError("dynod speaks another language: is it dynod?", code="no_session", status=status)


def _is_whole(document: bytes) -> bool:
    try:
        json.loads(document)
    except ValueError:
        return False
    return True


def _head(connection: socket.socket) -> tuple[bytes, bytes]:
    """The head of an answer, and what came with it."""
    seen = b""
    while b"\r\n\r\n" not in seen:
        data = connection.recv(LONGEST_REFUSAL)
        if not data:
            raise ConnectionResetError("cut short")
        seen += data
    head, _, rest = seen.partition(b"\r\n\r\n")
    return head, rest


def path_of(*parts: str) -> str:
    """The address of what is called so. Raises UsageError for what nothing can be called: no part is ever left out."""
    for part in parts:
        if not part:
            raise UsageError("an empty name was given: a variable of a script that is not set, perhaps")
        if len(part) > LONGEST_NAME:
            raise UsageError(f"{quoted(part)}: no name has {len(part)} characters")
    try:
        return "".join(f"/{quote(part, safe='')}" for part in parts)
    except UnicodeEncodeError as error:
        raise _no_text(error) from error


def _as_json(body: object) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise _no_text(error) from error


def _no_text(error: UnicodeEncodeError) -> UsageError:
    """Arguments that are no text come from the system as lone surrogates."""
    return UsageError(f"{quoted(error.object)}: is no text in UTF-8")


def _unreachable(daemon: Daemon, error: OSError) -> NoDaemonError:
    path, named = daemon.socket, f" (from {daemon.source})" if daemon.source != daemon.socket else ""
    match error:
        case PermissionError():
            return NoDaemonError(
                f"you may not talk to the dynod at {path}{named}: it lets in its own user and the group dynod "
                "(`sudo usermod -aG dynod $USER`, then log in again)"
            )
        case FileNotFoundError() | ConnectionRefusedError() if daemon.folder is not None:
            return NoDaemonError(
                f"the dynod of {daemon.folder} has ended without clearing up: start it again with `dynod up` there, "
                f"or remove {daemon.source}"
            )
        case FileNotFoundError():
            return NoDaemonError(f"there is no socket {path}{named}: {START_ONE}")
        case ConnectionRefusedError() if not Path(path).is_socket():
            return NoDaemonError(f"{path}{named} is no socket: {START_ONE}")
        case ConnectionRefusedError():
            return NoDaemonError(f"nothing listens on {path}{named} any more: that dynod has ended; {START_ONE}")
        case _:
            return NoDaemonError(f"no connection to {path}{named}: {error}")
