"""Every head there may be: judged, understood, cut and written anew, or refused. Pure but for llhttp.

Flow: what plain_head.py (or its compiled twin) does not take for plain comes here, and here alone a head is refused.
A head is never forwarded as it came: fields that belong to one hop, fields that a client may not set, and those whose
name differs from such a one only in `_` for `-` (WSGI and CGI read both alike) are cut.

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
from router.head_grammar import (
    FIELDS,
    HOST_VALUE,
    KEEP_ALIVE_TIMEOUT,
    REQUEST_ID,
    REQUEST_LINE,
    STATUS_LINE,
    check_sizes,
    connection_tokens,
    framing_of,
    without_named,
)
from router.head_values import FINAL, NO_CONTENT, Asks, Forwarding, HeadLimits, RequestHead, ResponseHead

_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?]+)(.*)", re.DOTALL)
_UPGRADE_REQUIRED: Final = 426  # RFC 9110 section 15.5.22


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
_FROM_TRUSTED_ONLY: Final = frozenset(
    {b"x-forwarded-host", b"x-forwarded-ssl", b"x-forwarded-scheme", b"x-forwarded-protocol", b"forwarded"}
)


class _Silent:
    """The protocol that llhttp is given: no callbacks, so it only judges."""


_SILENT: Final = _Silent()


def judge_request(head: bytes, *, by: Forwarding, limits: HeadLimits, fresh_id: bytes, at_ms: int) -> RequestHead:
    """Judge and understand a request's head, from its first byte to the empty line.

    `fresh_id` is the request's id if it brings none; `at_ms` the Unix time that the backend is told it began.

    Raises:
        HeadError: for whatever RFC 9112 calls invalid or ambiguous, and beyond `limits`.

    """
    if len(head) > limits.head:
        raise HeadError("oversized head")
    method, target, minor, lf = request_line(head, limits)
    block = head[lf:]
    _check_block(b"GET / HTTP/1.1\r" + block, block, limits, httptools.HttpRequestParser)
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
    request_id = b""
    expects_continue = False
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
            if REQUEST_ID.fullmatch(value):
                request_id = value
        elif name == b"via":
            vias.append(value)
        elif name == b"upgrade":
            upgrade.append(value)
        elif name == b"expect":
            if value.lower() == b"100-continue":
                expects_continue = minor == 1
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
    if len(hosts) != 1 or not HOST_VALUE.fullmatch(hosts[0]):
        raise HeadError("bad Host")
    host = hosts[0]
    if target[:1] != b"/" or method == b"CONNECT":
        target = origin_form(method, target, host)
    if replace_host:
        extra += b"\nX-Forwarded-Host: " + host + b"\r"
    length, chunked = framing_of(lengths, codings, minor=minor)
    has_body = chunked or length > 0
    tokens = connection_tokens(connection)
    protocols = b""
    if upgrade and minor and b"upgrade" in tokens:
        offered = b", ".join(upgrade)
        # h2c would turn the tunnel into requests that nobody checks; only what is one stream for one client passes.
        if not any(_name_of(item) == b"h2c" for item in offered.split(b",")):
            protocols = offered
    asks = Asks(
        length=length,
        chunked=chunked,
        persistent=b"close" not in tokens if minor else b"keep-alive" in tokens,
        http10=not minor,
        upgrade=protocols,
        expects_continue=expects_continue and has_body,
    )
    rest = b"".join(kept)
    if tokens:
        rest = without_named(rest, tokens)
    forwarded_for.append(by.peer)
    chain = b", ".join(forwarded_for)
    port = port or client_port(by, host, scheme)
    scheme = scheme or by.scheme
    vias.append(b"1.%d %b" % (minor, by.via))
    if chunked:
        extra += b"\nTransfer-Encoding: chunked\r"
    elif length >= 0:
        extra += b"\nContent-Length: %d\r" % length
    if protocols:
        extra += b"\nConnection: Upgrade\r\nUpgrade: " + protocols + b"\r"
    if asks.expects_continue:
        extra += b"\nExpect: 100-continue\r"
    request_id = request_id or fresh_id
    out = (
        b"%b %b HTTP/1.1\r%b%b\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Port: %b\r\nVia: %b\r\n"
        b"X-Request-Start: %d\r\nX-Request-Id: %b\r\n\r\n"
        % (method, target, rest, extra, chain, scheme, port, b", ".join(vias), at_ms, request_id)
    )
    protocol = "https" if scheme == b"https" else "http"
    return RequestHead(
        method=method,
        target=target,
        host=host,
        request_id=request_id,
        fwd=printable(chain),
        protocol=protocol,
        out=out,
        asks=asks,
    )


def judge_answer(head: bytes, *, via: bytes, limits: HeadLimits, date: bytes) -> ResponseHead:
    """Judge and understand a backend's head, status line included.

    `date` is used when the backend sends none (RFC 9110 section 6.6.1).

    Raises:
        HeadError: status 503 for what is not HTTP (H17), 502 for what is ambiguous or too large (H25).

    """
    match = STATUS_LINE.match(head)
    if match is None:
        raise HeadError("bad status line", 503)
    end = match.end()
    if end > limits.status_line:
        raise HeadError("oversized status line", 502)
    minor = match.group(1) == b"1"
    block = head[end:]
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
            seconds = KEEP_ALIVE_TIMEOUT.search(value)
            if seconds is not None:
                answer.idle_limit_s = float(seconds.group(1))
    kept.append(block[position:-3])
    try:
        answer.length, answer.chunked = framing_of(lengths, codings, minor=minor)
        tokens = connection_tokens(connection)
    except HeadError as error:
        raise HeadError("invalid content length" if lengths or codings else error.cause, 502) from error
    answer.persistent = b"close" not in tokens if minor else b"keep-alive" in tokens
    rest = b"".join(kept)
    if tokens:
        rest = without_named(rest, tokens)
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


def request_line(head: bytes, limits: HeadLimits) -> tuple[bytes, bytes, int, int]:
    """Method, target, minor version and the index of the line's LF, from where the block of fields starts.

    Raises:
        HeadError: for what is not a request line of HTTP/1.0 or 1.1.

    """
    match = REQUEST_LINE.match(head)
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


def client_port(by: Forwarding, host: bytes, scheme: bytes) -> bytes:
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
    if FIELDS.fullmatch(block) is None:
        raise HeadError("bad header")
    check_sizes(block, limits)
    try:
        parser(_SILENT).feed_data(message)
    except httptools.HttpParserUpgrade:
        pass  # how httptools says that an upgrade was asked for
    except httptools.HttpParserError as error:
        raise HeadError("bad header") from error


def _check_response_block(block: bytes, limits: HeadLimits) -> None:
    if FIELDS.fullmatch(block) is None:
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


def _name_of(item: bytes) -> bytes:
    return item.strip(b" \t").partition(b"/")[0].lower()
