"""What is known about heads: limits, where a request came from, what a request asks, what an answer is. Values only.

Plain slotted classes, not frozen dataclasses: a head that is not plain makes one on the hot path. http_head.py says who
makes them.
"""

from typing import Final

FINAL: Final = 200  # the lowest status of an answer that is not interim
CONTINUE: Final = 100
SWITCHING_PROTOCOLS: Final = 101
NO_CONTENT: Final = 204
NOT_MODIFIED: Final = 304


class HeadLimits:
    """How large a head may be, in bytes (Heroku, "HTTP Routing", Request buffering / HTTP validation)."""

    __slots__ = ("fields", "head", "line", "name", "request_line", "set_cookie", "status_line")

    def __init__(
        self,
        *,
        request_line: int,
        line: int,
        fields: int,
        head: int = 1 << 40,
        name: int = 1000,
        set_cookie: int = 8192,
        status_line: int = 8192,
    ) -> None:
        self.request_line = request_line
        self.line = line
        self.fields = fields
        self.head = head
        self.name = name
        self.set_cookie = set_cookie
        self.status_line = status_line


class Forwarding:
    """What a request's head is told about the connection it came by. One per client connection."""

    __slots__ = ("common", "peer", "port", "protocol", "scheme", "trusted", "via")

    def __init__(self, *, peer: bytes, port: bytes, scheme: bytes, trusted: bool, via: bytes) -> None:
        self.peer = peer
        self.port = port
        self.scheme = scheme
        self.protocol = "https" if scheme == b"https" else "http"
        self.trusted = trusted
        self.via = via
        # What ends the head of a request that says nothing of where it comes from, as most do.
        self.common = (
            b"\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Port: %b\r\nVia: 1.1 %b"
            b"\r\nX-Request-Start: " % (peer, scheme, port, via)
        )


class Asks:
    """What a request asks of the connections that it passes.

    `length` is -1 without Content-Length. `persistent` says whether the client wants to send more on this connection.
    """

    __slots__ = ("chunked", "expects_continue", "has_body", "http10", "length", "persistent", "upgrade")

    def __init__(
        self,
        *,
        length: int = -1,
        chunked: bool = False,
        persistent: bool = True,
        http10: bool = False,
        upgrade: bytes = b"",
        expects_continue: bool = False,
    ) -> None:
        self.length = length
        self.chunked = chunked
        self.has_body = chunked or length > 0
        self.persistent = persistent
        self.http10 = http10
        self.upgrade = upgrade
        self.expects_continue = expects_continue


NOTHING_SPECIAL: Final = Asks()
"""HTTP/1.1, no body, more to come: what nearly every GET asks."""


class RequestHead:
    """A request's head, understood. `out` is the head as it goes to the backend, whole.

    `host` is its Host as sent, `fwd` the chain of addresses it came by, `protocol` http or https.
    """

    __slots__ = ("asks", "fwd", "host", "method", "out", "protocol", "request_id", "target")

    def __init__(
        self,
        *,
        method: bytes,
        target: bytes,
        host: bytes,
        request_id: bytes,
        fwd: bytes,
        protocol: str,
        out: bytes,
        asks: Asks,
    ) -> None:
        self.method = method
        self.target = target
        self.host = host
        self.request_id = request_id
        self.fwd = fwd
        self.protocol = protocol
        self.out = out
        self.asks = asks


class ResponseHead:
    """A backend's answer, understood.

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
