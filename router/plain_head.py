"""Plain heads, which nearly all are: judged, understood, cut and written anew by one expression. Hot.

The twin of _http_head.c where that is not built. Plain means: HTTP/1.1, a path, every field that matters at most once
and in its usual form, no hop-by-hop field but `Connection: keep-alive` or `close`, nothing over a limit. What is not
plain gives None, and head_judge.py judges and says what is wrong. So nothing is accepted here that is not accepted
there: tests/unit/router/head_fuzz.py holds all three equal on mutated heads.

One expression that judges and finds, a browser's head of 13 fields: 2.1 µs. Before, the grammar alone 1.0, llhttp 0.8,
the scan for fields that matter 1.6, and with the lists made of that 8.8; now 4.3 with the head written.
"""

import re
from collections.abc import Callable
from typing import Final

from router.core.request_record import printable
from router.head_grammar import REQUEST_ID, TOKEN, VALUE
from router.head_judge import client_port
from router.head_values import FINAL, NO_CONTENT, NOT_MODIFIED, Forwarding, HeadLimits

PlainRequest = tuple[bytes, bytes, bytes, bytes, bytes, str, bytes, int, bool, int]
"""Method, target, host, request id, fwd, protocol, the head for the backend, length, persistent, the head's end."""

PlainAnswer = tuple[int, bytes, int, int, int, bool, bool, bool, bytes | None, int, bool]
"""Status, the head for the client, how much of that is before the framing fields, how much is head, length, chunked,
persistent, dated, the value of Keep-Alive, the head's end; and whether the whole body is there and follows the head in
the second value.
"""

_LEAST_FIELD: Final = 4  # bytes of the shortest field line: a letter, a colon, CRLF


def _any_case(text: bytes) -> bytes:
    return b"".join(b"[%c%c]" % (byte ^ 0x20, byte) if chr(byte).isalpha() else b"%c" % byte for byte in text)


def _other_names(first_letters: bytes, but: bytes) -> bytes:
    """Fields that do not matter: by their first letter alone, or by what does not follow it."""
    free = bytes(c for c in range(0x21, 0x7F) if re.fullmatch(TOKEN, bytes([c])) and c | 0x20 not in first_letters)
    return rb"(?:[" + re.escape(free) + rb"]|" + but + rb")" + TOKEN + rb"{0,990}+:" + VALUE + rb"*+\r"


def _once(group: int, name: bytes, value: bytes) -> bytes:
    """A field that matters, the first time. Two groups: the line up to its CR, and the value."""
    return rb"(?(%d)(?!))(" % group + _any_case(name) + rb":[ \t]*+(" + value + rb")[ \t]*+\r)"


_HOST: Final = rb"[A-Za-z0-9._~!$&'()*+;=%-]++(?::[0-9]{0,5}+)?"
_VISIBLE: Final = rb"[\x21\x23-\x7e]*+"
_WORDS: Final = rb"(?>(?:[\x21-\x7e\x80-\xff]++(?:[ \t]++(?!\r))?)*)"
_CONNECTION: Final = rb"(?i:keep-alive|close)"
_LENGTH: Final = rb"[0-9]{1,18}+"
_REQUEST: Final = re.compile(
    rb"("
    + TOKEN
    + rb"{1,127}+) (/[\x21\x22\x24-\x7e]*+) HTTP/1\.1\r(?>(?:\n(?:"
    + _other_names(
        b"cefhkptuvx",
        rb"[Cc](?![Oo][Nn][NnTt])|[Cc]ontent-(?![Ll])|[Uu](?![Pp][Gg][Rr][Aa][Dd][Ee]:)|[Pp](?![Rr][Oo])"
        rb"|[Xx](?!_|-[Ff]|-[Rr][Ee][Qq][Uu][Ee][Ss][Tt][-_])|[Tt](?![Ee]:|[Rr][Aa][Nn])|[Ee](?![Xx][Pp])"
        rb"|[Ff](?![Oo])|[Hh](?![Oo]|[Tt])|[Kk](?![Ee])|[Vv](?![Ii])",
    )
    + b"|"
    + b"|".join(
        _once(number, name, value)
        for number, name, value in (
            (3, b"host", _HOST),
            (5, b"connection", _CONNECTION),
            (7, b"content-length", _LENGTH),
            (9, b"x-request-id", _VISIBLE),
            (11, b"x-forwarded-for", _WORDS),
            (13, b"x-forwarded-proto", _VISIBLE),
            (15, b"x-forwarded-port", _VISIBLE),
        )
    )
    + rb"))*)\n\r\n"
)
_ANSWER: Final = re.compile(
    rb"HTTP/1\.1 ([1-5][0-9][0-9]) ("
    + VALUE
    + rb"*+)\r(?>(?:\n(?:"
    + _other_names(
        b"cdkptuv",
        rb"[Cc](?![Oo][Nn][NnTt])|[Cc]ontent-(?![Ll])|[Dd](?![Aa][Tt][Ee]:)|[Kk](?![Ee])|[Pp](?![Rr][Oo])"
        rb"|[Tt](?![Ee]:|[Rr][Aa][Nn])|[Uu](?![Pp][Gg])|[Vv](?![Ii])",
    )
    + b"|"
    + b"|".join(
        _once(number, name, value)
        for number, name, value in (
            (3, b"date", VALUE + rb"*+"),
            (5, b"content-length", _LENGTH),
            (7, b"connection", _CONNECTION),
            (9, b"transfer-encoding", rb"(?i:chunked)"),
            (11, b"via", _WORDS),
            (13, b"keep-alive", _WORDS),
        )
    )
    + rb"))*)\n\r\n"
)


_VERSION: Final = len(b" HTTP/1.1\r")
_LINE: Final = re.compile(rb"(" + TOKEN + rb"{1,127}+) (/[\x21\x22\x24-\x7e]*+) HTTP/1\.1\r(?=\n)").match


class RequestReader:
    """Reads the plain heads of one client connection. What it understood of the last one it uses again."""

    __slots__ = (
        "_block",
        "_by",
        "_fwd",
        "_host",
        "_length",
        "_limits",
        "_most",
        "_persistent",
        "_protocol",
        "_request_id",
        "_tail",
    )

    def __init__(self, by: Forwarding, limits: HeadLimits) -> None:
        self._by = by
        self._limits = limits
        self._most = min(limits.line, limits.request_line, limits.head)  # no line of a head this large is too long
        self._block: bytes | tuple[()] = ()  # which nothing ends with

    def read(self, data: bytes, fresh_id: bytes, at_ms: int) -> PlainRequest | None:
        """Judge and understand the head that `data` begins with; None unless it is whole and plain."""
        block = self._block
        if data.endswith(block):
            # The same fields again and nothing behind them, as nearly always on one connection: 1.4 µs instead of 4.3.
            # `block` ends with the only empty line there is, as its request line ends where it begins.
            match = _LINE(data)
            if match is not None and match.end() == len(data) - len(block):
                method, target = match.groups()
                if len(data) <= self._most and method != b"CONNECT":
                    request_id = self._request_id or fresh_id
                    out = b"%b %b HTTP/1.1\r%b%d\r\nX-Request-Id: %b\r\n\r\n" % (
                        method,
                        target,
                        self._tail,
                        at_ms,
                        request_id,
                    )
                    return (
                        method,
                        target,
                        self._host,
                        request_id,
                        self._fwd,
                        self._protocol,
                        out,
                        *(self._length, self._persistent, len(data)),
                    )
        return self._read(data, fresh_id, at_ms)

    def _read(self, data: bytes, fresh_id: bytes, at_ms: int) -> PlainRequest | None:
        match = _REQUEST.match(data)
        if match is None:
            return None
        (
            method,
            target,
            _,
            host,
            connection_line,
            connection,
            length_line,
            length_text,
            id_line,
            request_id,
            for_line,
            forwarded_for,
            proto_line,
            proto,
            port_line,
            port,
        ) = match.groups()
        end = match.end()
        if host is None or end > self._most or method == b"CONNECT":
            return None
        if end > self._limits.fields * _LEAST_FIELD and data.count(b"\n", 0, end) - 2 > self._limits.fields:
            return None
        by = self._by
        # A line that matters stands there once, or the head is not plain; so the first that is found is the line.
        tail = data[match.end(2) + _VERSION : end - 3]
        if connection_line is not None:
            tail = tail.replace(b"\n" + connection_line, b"", 1)
        length = -1
        if length_line is not None:
            length = int(length_text)
            tail = tail.replace(b"\n" + length_line, b"", 1) + b"\nContent-Length: %d\r" % length
        if id_line is not None:
            tail = tail.replace(b"\n" + id_line, b"", 1)
            if REQUEST_ID.fullmatch(request_id) is None:
                request_id = b""
        if for_line is proto_line is port_line is None:
            fwd, protocol = by.peer, by.protocol
            tail += by.common
        else:
            for line in (for_line, proto_line, port_line):
                if line is not None:
                    tail = tail.replace(b"\n" + line, b"", 1)
            told = proto if by.trusted and proto else b""
            scheme = told or by.scheme
            port = (port if by.trusted else b"") or client_port(by, host, told)
            chain = by.peer if forwarded_for is None else b"%b, %b" % (forwarded_for, by.peer)
            fwd = printable(chain)
            protocol = "https" if scheme == b"https" else "http"
            tail += (
                b"\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Port: %b\r\nVia: 1.1 %b"
                b"\r\nX-Request-Start: " % (chain, scheme, port, by.via)
            )
        persistent = connection is None or len(connection) != len(b"close")
        self._block = data[match.end(2) + _VERSION : end]
        self._host, self._fwd, self._protocol, self._tail = host, fwd, protocol, tail
        self._request_id, self._length, self._persistent = request_id, length, persistent
        request_id = request_id or fresh_id
        out = b"%b %b HTTP/1.1\r%b%d\r\nX-Request-Id: %b\r\n\r\n" % (method, target, tail, at_ms, request_id)
        return method, target, host, request_id, fwd, protocol, out, length, persistent, end


class AnswerReader:
    """Reads the plain heads of one backend connection. What it understood of the last one it uses again.

    `date` gives the current Date; it is asked where the backend says none.
    """

    __slots__ = ("_date", "_date_used", "_dated", "_head", "_last", "_most", "_via")

    def __init__(self, via: bytes, limits: HeadLimits, date: Callable[[], bytes]) -> None:
        self._via = via
        self._date = date
        self._most = min(limits.line, limits.set_cookie, limits.status_line, limits.head)
        self._head: bytes | tuple[()] = ()  # which nothing starts with
        self._dated = True
        self._date_used = b""
        self._last: PlainAnswer

    def read(self, data: bytes) -> PlainAnswer | None:
        """Judge and understand the head that `data` begins with; None unless it is whole and plain."""
        head = self._head
        if data.startswith(head) and (self._dated or self._date() is self._date_used):
            # The same head again, as most answers of one second are on one connection: 0.5 µs instead of 4.5.
            status, ready, before, size, length, chunked, persistent, dated, keep_alive, end, can_be_whole = self._last
            whole = can_be_whole and len(data) - end == length
            out = ready + data[end:] if whole and length else ready
            return status, out, before, size, length, chunked, persistent, dated, keep_alive, end, whole
        return self._read(data)

    def _read(self, data: bytes) -> PlainAnswer | None:
        match = _ANSWER.match(data)
        if match is None:
            return None
        end = match.end()
        if end > self._most:
            return None
        (
            code,
            reason,
            date_line,
            _,
            length_line,
            length_text,
            connection_line,
            connection,
            coding_line,
            _,
            via_line,
            via_before,
            keep_line,
            keep_alive,
        ) = match.groups()
        if length_line is not None and coding_line is not None:
            return None
        rest = data[match.end(2) + 1 : end - 3]
        for line in (length_line, connection_line, coding_line, via_line, keep_line):
            if line is not None:
                rest = rest.replace(b"\n" + line, b"", 1)
        status = int(code)
        if status >= FINAL and date_line is None:
            self._date_used = self._date()
            rest += b"\nDate: " + self._date_used + b"\r"
        before = b"HTTP/1.1 %b %b\r%b\nVia: %b1.1 %b\r\n" % (
            code,
            reason,
            rest,
            b"" if via_before is None else via_before + b", ",
            self._via,
        )
        length = int(length_text) if length_line is not None else -1
        can_be_whole = chunked = False
        if status < FINAL or status == NO_CONTENT:
            length = 0
            ready = before + b"\r\n"
        elif coding_line is not None:
            chunked = True
            ready = before + b"Transfer-Encoding: chunked\r\n\r\n"
        elif length >= 0:
            ready = before + b"Content-Length: %d\r\n\r\n" % length
            can_be_whole = status != NOT_MODIFIED
        else:
            ready = before + b"\r\n"
        persistent = connection is None or len(connection) != len(b"close")
        dated = date_line is not None
        size = len(ready)
        self._head = data[:end]
        self._dated = dated or status < FINAL
        self._last = (
            status,
            ready,
            len(before),
            size,
            length,
            chunked,
            persistent,
            dated,
            keep_alive,
            end,
            can_be_whole,
        )
        whole = can_be_whole and len(data) - end == length
        out = ready + data[end:] if whole and length else ready
        return status, out, len(before), size, length, chunked, persistent, dated, keep_alive, end, whole
