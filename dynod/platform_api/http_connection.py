"""HTTP/1.1 on one connection to the API, as much of it as its client needs. Standard library only.

The daemon at the other end is dynod's own, so neither TLS nor redirects nor a lenient parser is wanted: whatever is not
an answer of HTTP/1.1 is a connection that was cut. The standard library's client can do all of this; it imports the
parsers of e-mail and TLS for it, which took a fifth of the time of `dynod ps`.
"""

import io
import re
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import BinaryIO, Final

LONGEST_LINE: Final = 65_536  # bytes of a line of a head
MOST_FIELDS: Final = 200
PIECE_BYTES: Final = 64 * 1024
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_NOT_IN_TARGET: Final = re.compile(r"[^!-~]")
_NOT_IN_FIELD: Final = re.compile(r"[^\t -~\x80-\xff]")
_WITHOUT_BODY: Final = (204, 304)
_FIRST_FINAL: Final = 200  # status; those below announce another answer
_WITH_BODY: Final = ("PATCH", "POST", "PUT")  # methods


class BrokenAnswerError(ConnectionError):
    """The answer did not come whole, or is no HTTP."""


class Fields:
    """The fields of a head, by names in any case; of several of one name the first."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def add(self, name: str, value: str) -> None:
        """One more line."""
        self._values.setdefault(name.lower(), value)

    def get(self, name: str, default: str = "") -> str:
        """Its value."""
        return self._values.get(name.lower(), default)

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._values


class Answer:
    """An answer whose head has come. The connection is its own until its body is read, or closed."""

    def __init__(self, file: io.BufferedReader, status: int, fields: Fields) -> None:
        self.status = status
        self.headers = fields
        self._file = file
        self._chunked = fields.get("Transfer-Encoding").lower() == "chunked"
        self._in_chunk = False
        self._left: int | None = None  # bytes of the body, or of its present chunk; None: as many as come
        if status in _WITHOUT_BODY:
            self._chunked, self._left = False, 0
        elif self._chunked:
            self._left = 0
        elif "Content-Length" in fields:
            self._left = _decimal(fields["Content-Length"])
        self._over = not self._chunked and self._left == 0

    def read(self) -> bytes:
        """All that is left of the body. Raises BrokenAnswerError, OSError."""
        return b"".join(iter(self.read1, b""))

    def read1(self, most: int = PIECE_BYTES) -> bytes:
        """What has come of the body, at least a byte; nothing at its end. Raises BrokenAnswerError, OSError."""
        if self._chunked and not self._left and not self._over:
            self._begin_chunk()
        if self._over:
            return b""
        data = self._file.read1(most if self._left is None else min(most, self._left))
        if self._left is None:
            self._over = not data
        elif not data:
            raise BrokenAnswerError("the answer was cut short")
        else:
            self._left -= len(data)
            self._over = not self._left and not self._chunked
        return data

    def _begin_chunk(self) -> None:
        if self._in_chunk and _line(self._file) not in (b"\r\n", b"\n"):
            raise BrokenAnswerError("a chunk is longer than it said")
        found = _CHUNK_LINE.fullmatch(_line(self._file))
        if found is None:
            raise BrokenAnswerError("a chunk without its length")
        self._left, self._in_chunk = int(found[1], 16), True
        if not self._left:
            _fields(self._file)  # the trailer
            self._over = True


class HttpConnection(ABC):
    """Requests one after the other over what `connect` opens: at the first of them, and again after a `close`."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout = timeout_s
        self.sock: socket.socket | None = None
        self._file: io.BufferedReader | None = None

    @abstractmethod
    def connect(self) -> None:
        """Set `sock`, or leave it None. Raises OSError."""

    def close(self) -> None:
        """Let go of it."""
        file, sock, self._file, self.sock = self._file, self.sock, None, None
        if file is not None:
            file.close()
        if sock is not None:
            sock.close()

    def request(
        self,
        method: str,
        target: str,
        *,
        body: bytes | BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send it; a body that is a file comes with its Content-Length. Raises OSError, ValueError (no HTTP)."""
        if _NOT_IN_TARGET.search(target):
            raise ValueError(f"not the target of a request: {target!r}")
        fields = {"Host": "localhost", **(headers or {})}
        if isinstance(body, bytes) or (body is None and method in _WITH_BODY):
            fields["Content-Length"] = str(len(body or b""))
        if any(_NOT_IN_FIELD.search(value) for value in fields.values()):
            raise ValueError("a field of a request with a control character")
        head = "".join((f"{method} {target} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in fields.items())))
        if self.sock is None:
            self.connect()
        assert self.sock is not None  # noqa: S101 - connect has set it
        first = body if isinstance(body, bytes) else b""
        self.sock.sendall(f"{head}\r\n".encode("latin-1") + first)
        if body is not None and not isinstance(body, bytes):
            while piece := body.read(PIECE_BYTES):
                self.sock.sendall(piece)

    def getresponse(self) -> Answer:
        """The answer's head. Raises BrokenAnswerError, OSError."""
        if self.sock is None:
            raise BrokenAnswerError("the connection is closed")
        if self._file is None:
            self._file = self.sock.makefile("rb")
        return read_answer(self._file)


class UnixConnection(HttpConnection):
    """To a unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__(timeout_s)
        self._path = path

    def connect(self) -> None:
        """Open it; `sock` is None until that has succeeded. Raises OSError."""
        opening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            opening.settimeout(self.timeout)
            opening.connect(self._path)
            self._introduce(opening)
        except BaseException:
            opening.close()
            raise
        self.sock = opening

    def _introduce(self, opening: socket.socket) -> None:
        """What is to be said before anything is asked."""


def read_answer(file: io.BufferedReader) -> Answer:
    """The next answer that is final. Raises BrokenAnswerError, OSError."""
    while True:
        found = _STATUS_LINE.fullmatch(_line(file))
        if found is None:
            raise BrokenAnswerError("no answer of HTTP/1.1")
        fields = _fields(file)
        status = int(found[1])
        if status >= _FIRST_FINAL:
            return Answer(file, status, fields)


def _fields(file: io.BufferedReader) -> Fields:
    fields = Fields()
    for _ in range(MOST_FIELDS):
        line = _line(file).decode("latin-1").rstrip("\r\n")
        if not line:
            return fields
        name, colon, value = line.partition(":")
        if not colon:
            raise BrokenAnswerError("a field without a colon")
        fields.add(name, value.strip(" \t"))
    raise BrokenAnswerError(f"more than {MOST_FIELDS} fields")


def _line(file: io.BufferedReader) -> bytes:
    line = file.readline(LONGEST_LINE)
    if not line.endswith(b"\n"):
        raise BrokenAnswerError("the answer was cut short" if len(line) < LONGEST_LINE else "a line without an end")
    return line


def _decimal(value: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) <= len(str(2**63))):
        raise BrokenAnswerError(f"no length: {value!r}")
    return int(value)
