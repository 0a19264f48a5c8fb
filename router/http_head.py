"""Request and response heads: validated, understood, cut and written anew. On the hot path; pure but for llhttp.

Flow: bytes of a head → `parse_request_line` + `parse_request_fields`, or `parse_response` → what the relay decides on,
and the bytes that go on. A head is never forwarded as it came: fields that belong to one hop, fields that a client may
not set, and those whose name differs from such a one only in `_` for `-` (WSGI and CGI read both alike) are cut.

Two judges must agree on a block of fields: llhttp (httptools), and one regular expression that is the grammar of RFC
9112 section 5 without obs-fold. What either refuses is refused. No callback per field: llhttp with a callback per field
costs 1.9 µs for a browser's head, without 1.0; the expression 1.0; the scan for the fields that matter 1.4.
(12 fields of 550 bytes, Python 3.11, one core of a 2-core x86-64 VM.)

Deliberately not here: bodies (core/chunked.py), routing, codes.
"""

import re
from typing import Final

import httptools

from router.core.request_record import printable
from router.errors import HeadError

try:
    from router import _http_head as _compiled
except ImportError:
    _compiled = None  # type: ignore[assignment]  # optional at build; everything works without it

COMPILED: Final = _compiled is not None
_scan_request = _compiled.scan_request if COMPILED else None
_scan_answer = _compiled.scan_answer if COMPILED else None

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]"

# Exactly one space between the parts, CRLF at the end, no fragment, no byte outside visible ASCII (RFC 9112 section 3).
_REQUEST_LINE: Final = re.compile(rb"(" + _TOKEN + rb"{1,127}) ([\x21\x22\x24-\x7e]+) HTTP/1\.([01])\r(?=\n)")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9]) (" + _VALUE + rb"*+)\r(?=\n)")

# A block runs from the LF of the first line to the empty line, so that every field is one unit `\nName: value\r`.
# Atomic rather than `*+` over the group, which CPython before 3.11.5 gets wrong (gh-106052).
_FIELDS: Final = re.compile(rb"(?>(?:\n" + _TOKEN + rb"++:" + _VALUE + rb"*+\r)*)\n\r\n")
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")  # below 2**63 by its length; no sign, blank or underscore
_TOKENS: Final = re.compile(_TOKEN + rb"+")
_TOKEN_LIST: Final = re.compile(rb"[ \t]*" + _TOKEN + rb"*[ \t]*(?:,[ \t]*" + _TOKEN + rb"*[ \t]*)*")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9+/=-]{20,200}")  # Heroku, "HTTP Request IDs"
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?]+)(.*)", re.DOTALL)
_KEEP_ALIVE_TIMEOUT: Final = re.compile(rb"(?i:timeout)=([0-9]{1,6})")


FINAL: Final = 200  # the lowest status of an answer that is not interim
CONTINUE: Final = 100
SWITCHING_PROTOCOLS: Final = 101
NO_CONTENT: Final = 204
_UPGRADE_REQUIRED: Final = 426  # RFC 9110 section 15.5.22
_CLOSE: Final = 1  # what the compiled scan calls `Connection: close`
_KEEP_ALIVE: Final = 2


def _scan(first_letters: bytes, names: bytes) -> re.Pattern[bytes]:
    # The look-ahead on the first letter is what makes it fast: without it, case-insensitive branches are tried at
    # every line and the scan costs 2.1 µs instead of 1.4.
    return re.compile(rb"\n(?=[" + first_letters + rb"])(?i:(" + names + rb")):[ \t]*([^\r]*)\r")


_REQUEST_SCAN: Final = _scan(
    b"CcEeFfHhKkPpTtUuVvXx",
    rb"Host|Connection|Content[-_]Length|Transfer[-_]Encoding|Upgrade|Expect|TE|Keep[-_]Alive|Proxy[-_]Connection"
    rb"|Proxy[-_]Authorization|HTTP2[-_]Settings|Forwarded|Via|X[-_]Request[-_](?:Id|Start)"
    rb"|X[-_]Forwarded[-_](?:For|Proto|Port|Host|Ssl|Scheme|Protocol)",
)
_RESPONSE_SCAN: Final = _scan(
    b"CcDdKkPpTtUuVv",
    rb"Connection|Content-Length|Transfer-Encoding|Upgrade|TE|Keep-Alive|Proxy-Connection|Proxy-Authorization|Via|Date",
)
# Fields that no `Connection` header may name away: they frame the message, route it, or are written by us.
_NOT_BY_CONNECTION: Final = frozenset({b"host", b"close", b"keep-alive", b"upgrade", b"date"})
_FROM_TRUSTED_ONLY: Final = frozenset(
    {b"x-forwarded-host", b"x-forwarded-ssl", b"x-forwarded-scheme", b"x-forwarded-protocol", b"forwarded"}
)
# Trailer fields may not frame, route, authenticate or describe the message (RFC 9110 section 6.5.1).
_NO_TRAILER: Final = re.compile(
    rb"(?i:transfer[-_]encoding|content[-_](?:length|encoding|type|range)|host|connection|keep[-_]alive|te|trailer|upgrade"
    rb"|proxy[-_].*|authorization|cookie|set[-_]cookie|cache[-_]control|expect|max[-_]forwards|range|if[-_].*|via|forwarded"
    rb"|x[-_]forwarded[-_].*|x[-_]request[-_].*)"
)


class HeadLimits:
    """How large a head may be, in bytes (Heroku, "HTTP Routing", Request buffering / HTTP validation)."""

    __slots__ = ("fields", "line", "name", "request_line", "set_cookie", "status_line")

    def __init__(
        self,
        *,
        request_line: int,
        line: int,
        fields: int,
        name: int = 1000,
        set_cookie: int = 8192,
        status_line: int = 8192,
    ) -> None:
        self.request_line = request_line
        self.line = line
        self.fields = fields
        self.name = name
        self.set_cookie = set_cookie
        self.status_line = status_line


class Forwarding:
    """What a request's head is told about the connection it came by. One per client connection."""

    __slots__ = ("common", "peer", "port", "scheme", "trusted", "via")

    def __init__(self, *, peer: bytes, port: bytes, scheme: bytes, trusted: bool, via: bytes) -> None:
        self.peer = peer
        self.port = port
        self.scheme = scheme
        self.trusted = trusted
        self.via = via
        # What ends the head of a request that says nothing of where it comes from, as most do.
        self.common = (
            b"\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Port: %b\r\nVia: 1.1 %b"
            b"\r\nX-Request-Start: " % (peer, scheme, port, via)
        )


class RequestFields:
    """A request's fields, understood. Made once per different block on a connection, then reused.

    `length` is -1 without Content-Length. `tail` is everything that goes to the backend after the request line, up to
    the value of X-Request-Start. `persistent` says whether the client wants to send more on this connection.
    """

    __slots__ = (
        "chunked",
        "expects_continue",
        "fwd",
        "has_body",
        "host",
        "length",
        "persistent",
        "protocol",
        "request_id",
        "tail",
        "upgrade",
    )

    host: bytes
    length: int
    chunked: bool
    has_body: bool
    persistent: bool
    upgrade: bytes
    expects_continue: bool
    request_id: bytes
    fwd: bytes
    protocol: str
    tail: bytes


class ResponseHead:
    """A backend's answer, understood. Made once per different head on a backend connection, then reused.

    `before_framing` is the head to the client up to where the framing fields belong; `ready` the whole head for the
    usual case: an HTTP/1.1 client whose connection stays open and a body with a length or in chunks (or none).
    `dated`: the Date is the backend's own, and so does not age. `idle_limit_s` is the backend's own word on how long
    it keeps an idle connection.
    """

    __slots__ = (
        "before_framing",
        "chunked",
        "dated",
        "framing",
        "idle_limit_s",
        "length",
        "persistent",
        "ready",
        "status",
        "upgrade",
    )

    status: int
    dated: bool
    length: int
    chunked: bool
    persistent: bool
    upgrade: bytes
    idle_limit_s: float | None
    before_framing: bytes
    framing: bytes
    ready: bytes


class _Silent:
    """The protocol that llhttp is given: no callbacks, so it only judges."""


_SILENT: Final = _Silent()


match_request_line: Final = _REQUEST_LINE.match
"""The request line at the start of a head, up to its LF; groups are method, target, minor version."""


def request_line(head: bytes, limits: HeadLimits) -> tuple[bytes, bytes, int, int]:
    """Method, target, minor version and the index of the line's LF, from where the block of fields starts.

    Raises:
        HeadError: for what is not a request line of HTTP/1.0 or 1.1.

    """
    match = _REQUEST_LINE.match(head)
    if match is None:
        raise HeadError("bad request line")
    end = match.end()
    if end > limits.request_line:
        raise HeadError("oversized request line")
    method, target, minor = match.groups()
    return method, target, minor == b"1", end


def origin_form(method: bytes, target: bytes, host: bytes) -> bytes:
    """The target as it goes to the backend: a path, or `*`.

    Raises:
        HeadError: for a form that this method may not have, or an authority that the Host field contradicts.

    """
    if method == b"CONNECT":
        raise HeadError("CONNECT is not served", 405)
    if target[:1] == b"/" or (target == b"*" and method == b"OPTIONS"):
        return target
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise HeadError("bad request target")
    authority, rest = match.groups()
    if authority.lower() != host.lower():
        # RFC 9112 section 3.2.2 lets the target win; a backend might listen to the other one. Refused instead.
        raise HeadError("target and Host differ")
    return rest if rest[:1] == b"/" else b"/" + rest


def parse_request_fields(block: bytes, *, minor: int, by: Forwarding, limits: HeadLimits) -> RequestFields:
    """Judge and understand the fields of a request (from the LF of the request line to the empty line).

    Raises:
        HeadError: for whatever RFC 9112 calls invalid or ambiguous, and beyond `limits`.

    """
    if _scan_request is not None:
        # 2.3 µs with the compiled scan, 8.5 without.
        plain = _scan_request(block, limits.fields, limits.line, limits.name)
        if plain is not None:
            return _plain_request(plain, minor, by)
    return judge_request_fields(block, minor=minor, by=by, limits=limits)


def _plain_request(
    plain: tuple[bytes, bytes, int, int, bytes | None, bytes | None, bytes | None, bytes | None, bytes | None],
    minor: int,
    by: Forwarding,
) -> RequestFields:
    rest, host, length, connection, request_id, forwarded_for, proto, port, via = plain
    fields = RequestFields()
    fields.host = host
    fields.length = length
    fields.chunked = False
    fields.has_body = length > 0
    fields.persistent = connection != _CLOSE if minor else connection == _KEEP_ALIVE
    fields.upgrade = b""
    fields.expects_continue = False
    fields.request_id = request_id or b""
    if length >= 0:
        rest += b"\nContent-Length: %d\r" % length
    if minor and forwarded_for is proto is port is via is None:
        fields.fwd = by.peer
        fields.protocol = "https" if by.scheme == b"https" else "http"
        fields.tail = rest + by.common
        return fields
    told = printable(proto) if by.trusted and proto else b""
    scheme = told or by.scheme
    port = (printable(port) if by.trusted and port else b"") or _port(by, host, told)
    chain = by.peer if forwarded_for is None else b"%b, %b" % (forwarded_for, by.peer)
    fields.fwd = printable(chain)
    fields.protocol = "https" if scheme == b"https" else "http"
    own = b"1.%d %b" % (minor, by.via)
    fields.tail = (
        b"%b\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Port: %b\r\nVia: %b\r\nX-Request-Start: "
        % (rest, chain, scheme, port, own if via is None else b"%b, %b" % (via, own))
    )
    return fields


def judge_request_fields(block: bytes, *, minor: int, by: Forwarding, limits: HeadLimits) -> RequestFields:
    """`parse_request_fields` in plain Python, for every head there may be.

    Raises:
        HeadError: as there.

    """
    _check_block(b"GET / HTTP/1.1\r" + block, block, limits, httptools.HttpRequestParser)
    fields = RequestFields()
    kept: list[bytes] = []
    position = 0
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    forwarded_for: list[bytes] = []
    vias: list[bytes] = []
    upgrade: list[bytes] = []
    scheme, port = b"", b""
    fields.request_id = b""
    fields.expects_continue = False
    extra = b""
    replace_host = False
    for match in _REQUEST_SCAN.finditer(block):
        name, value = match.groups()
        if value[-1:] in (b" ", b"\t"):
            value = value.rstrip(b" \t")
        name = name.lower()
        if name == b"host":
            hosts.append(value)
            continue
        start = match.start()
        if start > position:
            kept.append(block[position:start])
        position = match.end()
        if name == b"connection":
            connection.append(value)
        elif name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
        elif name == b"x-forwarded-for":
            forwarded_for.append(value)
        elif name == b"x-request-id":
            if _REQUEST_ID.fullmatch(value):
                fields.request_id = value
        elif name == b"via":
            vias.append(value)
        elif name == b"upgrade":
            upgrade.append(value)
        elif name == b"expect":
            if value.lower() == b"100-continue":
                fields.expects_continue = minor == 1
            elif value:
                raise HeadError("unsupported expect header value", 417)
        elif by.trusted and name == b"x-forwarded-proto":
            scheme = printable(value) or scheme
        elif by.trusted and name == b"x-forwarded-port":
            port = printable(value) or port
        elif name in _FROM_TRUSTED_ONLY:
            if by.trusted:
                extra += match.group()
            elif name == b"x-forwarded-host":
                replace_host = True
    kept.append(block[position:-3])
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise HeadError("bad Host")
    host = hosts[0]
    if replace_host:
        extra += b"\nX-Forwarded-Host: " + host + b"\r"
    fields.host = host
    fields.length, fields.chunked = _framing(lengths, codings, minor=minor)
    fields.has_body = fields.chunked or fields.length > 0
    tokens = _connection_tokens(connection)
    fields.persistent = b"close" not in tokens if minor else b"keep-alive" in tokens
    fields.upgrade = b""
    if upgrade and minor and b"upgrade" in tokens:
        offered = b", ".join(upgrade)
        # h2c would turn the tunnel into requests that nobody checks; only what is one stream for one client passes.
        if not any(_name_of(item) == b"h2c" for item in offered.split(b",")):
            fields.upgrade = offered
    if not fields.has_body:
        fields.expects_continue = False
    rest = b"".join(kept)
    if tokens:
        rest = _without_named(rest, tokens)
    forwarded_for.append(by.peer)
    chain = b", ".join(forwarded_for)
    fields.fwd = printable(chain)
    port = port or _port(by, host, scheme)
    scheme = scheme or by.scheme
    fields.protocol = "https" if scheme == b"https" else "http"
    vias.append(b"1.%d %b" % (minor, by.via))
    if fields.chunked:
        extra += b"\nTransfer-Encoding: chunked\r"
    elif fields.length >= 0:
        extra += b"\nContent-Length: %d\r" % fields.length
    if fields.upgrade:
        extra += b"\nConnection: Upgrade\r\nUpgrade: " + fields.upgrade + b"\r"
    if fields.expects_continue:
        extra += b"\nExpect: 100-continue\r"
    fields.tail = (
        b"%b%b\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Port: %b\r\nVia: %b\r\nX-Request-Start: "
        % (rest, extra, chain, scheme, port, b", ".join(vias))
    )
    return fields


def parse_response(head: bytes, *, via: bytes, limits: HeadLimits, date: bytes) -> ResponseHead:
    """Judge and understand a backend's head, status line included.

    `date` is used when the backend sends none (RFC 9110 section 6.6.1).

    Raises:
        HeadError: status 503 for what is not HTTP (H17), 502 for what is ambiguous or too large (H25).

    """
    match = _STATUS_LINE.match(head)
    if match is None:
        raise HeadError("bad status line", 503)
    end = match.end()
    if end > limits.status_line:
        raise HeadError("oversized status line", 502)
    minor = match.group(1) == b"1"
    block = head[end:]
    if _scan_answer is not None and end + len(block) <= limits.set_cookie:
        plain = _scan_answer(block, limits.line)
        if plain is not None:
            return _plain_answer(match, plain, minor=minor, via=via, date=date)
    answer = ResponseHead()
    status = answer.status = int(match.group(2))
    _check_response_block(block, limits)
    kept: list[bytes] = []
    position = 0
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    vias: list[bytes] = []
    answer.upgrade = b""
    answer.idle_limit_s = None
    for field in _RESPONSE_SCAN.finditer(block):
        name, value = field.groups()
        if value[-1:] in (b" ", b"\t"):
            value = value.rstrip(b" \t")
        name = name.lower()
        if name == b"date":
            date = b""
            continue
        start = field.start()
        if start > position:
            kept.append(block[position:start])
        position = field.end()
        if name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
        elif name == b"connection":
            connection.append(value)
        elif name == b"via":
            vias.append(value)
        elif name == b"upgrade":
            answer.upgrade = value
        elif name == b"keep-alive":
            seconds = _KEEP_ALIVE_TIMEOUT.search(value)
            if seconds is not None:
                answer.idle_limit_s = float(seconds.group(1))
    kept.append(block[position:-3])
    try:
        answer.length, answer.chunked = _framing(lengths, codings, minor=minor)
        tokens = _connection_tokens(connection)
    except HeadError as error:
        raise HeadError("invalid content length" if lengths or codings else error.cause, 502) from error
    answer.persistent = b"close" not in tokens if minor else b"keep-alive" in tokens
    rest = b"".join(kept)
    if tokens:
        rest = _without_named(rest, tokens)
    if status == _UPGRADE_REQUIRED and answer.upgrade:
        rest += b"\nConnection: Upgrade\r\nUpgrade: " + answer.upgrade + b"\r"  # the one answer that must name it
    answer.dated = not date
    if date and status >= FINAL:
        rest += b"\nDate: " + date + b"\r"
    vias.append(b"1.%d %b" % (minor, via))
    answer.before_framing = b"HTTP/1.1 %b %b\r%b\nVia: %b\r\n" % (
        match.group(2),
        match.group(3),
        rest,
        b", ".join(vias),
    )
    if status < FINAL or status == NO_CONTENT:
        answer.length, answer.chunked = 0, False
        answer.framing = b""
    elif answer.chunked:
        answer.framing = b"Transfer-Encoding: chunked\r\n"
    elif answer.length >= 0:
        answer.framing = b"Content-Length: %d\r\n" % answer.length
    else:
        answer.framing = b""
    answer.ready = answer.before_framing + answer.framing + b"\r\n"
    return answer


def _plain_answer(
    match: re.Match[bytes],
    plain: tuple[bytes, int, int, int, int, bytes | None, bytes | None],
    *,
    minor: int,
    via: bytes,
    date: bytes,
) -> ResponseHead:
    rest, length, chunked, connection, has_date, via_before, keep_alive = plain
    if chunked and not minor:
        raise HeadError("invalid content length", 502)
    _, code, reason = match.groups()
    answer = ResponseHead()
    status = answer.status = int(code)
    answer.persistent = connection != _CLOSE if minor else connection == _KEEP_ALIVE
    answer.upgrade = b""
    answer.idle_limit_s = None
    if keep_alive is not None:
        seconds = _KEEP_ALIVE_TIMEOUT.search(keep_alive)
        if seconds is not None:
            answer.idle_limit_s = float(seconds.group(1))
    answer.dated = bool(has_date)
    if status >= FINAL and not has_date:
        rest += b"\nDate: " + date + b"\r"
    own = b"1.%d %b" % (minor, via)
    if via_before is not None:
        own = b"%b, %b" % (via_before, own)
    before = answer.before_framing = b"HTTP/1.1 %b %b\r%b\nVia: %b\r\n" % (code, reason, rest, own)
    if status < FINAL or status == NO_CONTENT:
        length, chunked, framing = 0, False, b""
    elif chunked:
        framing = b"Transfer-Encoding: chunked\r\n"
    elif length >= 0:
        framing = b"Content-Length: %d\r\n" % length
    else:
        framing = b""
    answer.length = length
    answer.chunked = bool(chunked)
    answer.framing = framing
    answer.ready = before + framing + b"\r\n"
    return answer


def client_head(
    answer: ResponseHead, *, http10: bool, close: bool, framed: bool, bodyless: bool, extra: bytes
) -> tuple[bytes, bool, bool, bool]:
    """The head to the client where `answer.ready` does not fit.

    `framed`: the backend's framing says where the body ends. `extra`: fields to add, each with its CRLF.
    Returns the head; whether the connection ends after this answer; whether the body is to be chunked by us, because
    only the backend's connection ends it; whether the client can see from its framing that the answer is whole.
    """
    framing = answer.framing
    chunk_it = False
    whole = True
    if not framed:
        if http10:
            close = True
            whole = False
        else:
            framing = b"Transfer-Encoding: chunked\r\n"
            chunk_it = True
    elif http10 and answer.chunked:
        framing = b""  # HTTP/1.0 knows no chunks: the connection's end is the body's
        close = close or not bodyless
        whole = bodyless
    connection = b""
    if close:
        connection = b"Connection: close\r\n"
    elif http10:
        connection = b"Connection: keep-alive\r\n"
    return answer.before_framing + extra + framing + connection + b"\r\n", close, chunk_it, whole


def allowed_trailers(block: bytes, limits: HeadLimits) -> bytes:
    """The trailer fields of `block` (`Name: value` lines, each with its CRLF) that may be passed on.

    Raises:
        HeadError: for what is no field line.

    """
    if not block:
        return b""
    if _FIELDS.fullmatch(b"\n" + block + b"\r\n") is None or block.count(b"\n") > limits.fields:
        raise HeadError("bad trailer")
    lines = block[:-2].split(b"\r\n")
    return b"".join(line + b"\r\n" for line in lines if not _NO_TRAILER.fullmatch(line.partition(b":")[0]))


def host_key(host: bytes) -> str:
    """A Host value as routing knows it: no port, lower case, no trailing dot (contracts.md section 4)."""
    text = host.decode("ascii").lower()
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.partition(":")[0].removesuffix(".")


def bare_line_end(part: bytes, *, first: bool) -> bool:
    """Whether a piece of a head has an LF without CR before it, or a CR without LF after it (the last may get one).

    Unless `first`, the piece starts with the last byte of the piece before.
    """
    if b"\n" not in part and b"\r" not in part:
        return False
    rest = part.replace(b"\r\n", b"")
    if rest.endswith(b"\r") and part.endswith(b"\r"):
        rest = rest[:-1]
    if not first and part[:1] == b"\n":
        rest = rest[1:]  # its CR was judged with the piece before
    return b"\n" in rest or b"\r" in rest


def _port(by: Forwarding, host: bytes, scheme: bytes) -> bytes:
    """The port that the client connected to, where nobody names it; `scheme` is what a trusted proxy says, if any.

    A proxy that names the scheme and no port (Caddy, cloudflared) listens where the Host says, else on the scheme's own
    port: ours would make an app build links to a port that no client can reach.
    """
    if not scheme:
        return by.port
    _, colon, port = host.rpartition(b":")
    if colon and port.isdigit():
        return port
    return b"443" if scheme == b"https" else b"80"


def _check_block(message: bytes, block: bytes, limits: HeadLimits, parser: type[httptools.HttpRequestParser]) -> None:
    if _FIELDS.fullmatch(block) is None:
        raise HeadError("bad header")
    _check_sizes(block, limits)
    try:
        parser(_SILENT).feed_data(message)
    except httptools.HttpParserUpgrade:
        pass  # how httptools says that an upgrade was asked for
    except httptools.HttpParserError as error:
        raise HeadError("bad header") from error


def _check_sizes(block: bytes, limits: HeadLimits) -> None:
    if block.count(b"\n") - 2 > limits.fields:
        raise HeadError("too many header fields")
    if len(block) <= min(limits.line, limits.name):
        return
    for line in block[1:-4].split(b"\r\n"):
        if len(line) > limits.line:
            raise HeadError("oversized header")
        if len(line) > limits.name and line.find(b":", 0, limits.name + 1) < 0:
            raise HeadError("oversized header name")


def _check_response_block(block: bytes, limits: HeadLimits) -> None:
    if _FIELDS.fullmatch(block) is None:
        raise HeadError("bad header", 503)
    if len(block) > min(limits.line, limits.set_cookie):
        for line in block[1:-4].split(b"\r\n"):
            if line[:11].lower() == b"set-cookie:" and len(line) > limits.set_cookie:
                raise HeadError("oversized cookie", 502)
            if len(line) > limits.line:
                raise HeadError("oversized header", 502)
    try:
        # A fixed status line: llhttp is asked about the fields only, and so never waits for a body.
        httptools.HttpResponseParser(_SILENT).feed_data(b"HTTP/1.1 200 OK\r" + block)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        text = str(error)
        if "Content-Length" in text or "Transfer-Encoding" in text:
            raise HeadError("invalid content length", 502) from error
        raise HeadError("bad header", 503) from error


def _framing(lengths: list[bytes], codings: list[bytes], *, minor: int) -> tuple[int, bool]:
    if codings:
        if lengths or len(codings) != 1 or codings[0].lower() != b"chunked" or not minor:
            raise HeadError("bad message framing")
        return -1, True
    if not lengths:
        return -1, False
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
        raise HeadError("bad message framing")
    return int(lengths[0]), False


def _connection_tokens(values: list[bytes]) -> frozenset[bytes]:
    if not values:
        return frozenset()
    joined = b",".join(values)
    if not _TOKEN_LIST.fullmatch(joined):
        raise HeadError("bad header")
    tokens = frozenset(_TOKENS.findall(joined.lower()))
    if not tokens:
        raise HeadError("bad header")  # Heroku's example: `Connection: ,`
    return tokens


def _without_named(units: bytes, tokens: frozenset[bytes]) -> bytes:
    named = tokens - _NOT_BY_CONNECTION
    if not named or not units:
        return units
    kept = [unit for unit in units[1:-1].split(b"\r\n") if unit.partition(b":")[0].lower() not in named]
    return b"".join(b"\n" + unit + b"\r" for unit in kept)


def _name_of(item: bytes) -> bytes:
    return item.strip(b" \t").partition(b"/")[0].lower()
