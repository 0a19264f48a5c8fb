"""What is known about one request when it has ended, and Heroku's router log line made of it. Pure.

The relay stamps a record as the request goes and hands it on once, whole. It is a plain slotted class, not a frozen
dataclass: making it is part of every request (0.3 µs; a frozen dataclass of these fields 2.6, Python 3.11).
Text that came from the wire stays bytes: only who prints a record decodes it.
"""

from typing import Final

from router.core.codes import CODES, Code


class RequestRecord:
    """One request. Times are milliseconds from `time.perf_counter`; None where that stage was not reached.

    `app` is the name given to `set_app`, empty if no app matched. `bytes_out` counts what was sent to the client, head
    included, None if no backend was reached; `bytes_in` the request's body. `queue_ms` is the time spent waiting for a
    backend, `service_ms` from the connection to the end, `total_ms` from the whole head to the end.
    `status` is None only where the router itself cut the answer (H24).
    """

    __slots__ = (
        "app",
        "at",
        "attempts",
        "backend_id",
        "bytes_in",
        "bytes_out",
        "cause",
        "code",
        "connect_ms",
        "dyno",
        "first_byte_ms",
        "fwd",
        "host",
        "method",
        "path",
        "protocol",
        "queue_ms",
        "request_id",
        "service_ms",
        "started_at",
        "status",
        "total_ms",
        "traceparent",
        "upgraded",
    )

    def __init__(  # noqa: PLR0917  # every request makes one
        self,
        app: str,
        method: bytes,
        path: bytes,
        host: bytes,
        started_at: float,
        request_id: bytes = b"",
        fwd: bytes = b"",
        protocol: str = "http",
    ) -> None:
        self.app = app
        self.method = method
        self.path = path
        self.host = host
        self.started_at = started_at  # Unix time, seconds
        self.request_id = request_id
        self.fwd = fwd
        self.dyno = b""
        self.backend_id = ""
        self.at = "info"
        self.code: Code | None = None
        self.cause = ""
        self.status: int | None = None
        self.bytes_out: int | None = None
        self.bytes_in = 0
        self.attempts = 0
        self.queue_ms: float = 0.0
        self.connect_ms: float | None = None
        self.first_byte_ms: float | None = None
        self.service_ms: float | None = None
        self.total_ms: float = 0.0
        self.protocol = protocol
        self.upgraded = False
        self.traceparent = b""  # a sound one, where `log_traceparent` asks for it

    def fail(self, code: Code, *, cause: str = "", status: int | None = None) -> None:
        """Stamp a code: its severity and status with it. The first one stays, as it is nearest to the cause."""
        if self.code is not None:
            return
        meaning = CODES[code]
        self.code = code
        self.at = meaning.at
        self.cause = cause
        self.status = status if status is not None else meaning.status


_TABLED: Final = 1000
_STATUS: Final = tuple(b" status=%d" % status for status in range(_TABLED))
_SERVICE: Final = tuple(b" service=%dms" % ms for ms in range(_TABLED))
_UNQUOTED: Final = bytes(c for c in range(256) if not 0x21 <= c <= 0x7E or c == 0x22)  # noqa: PLR2004  # ASCII


def line_bytes(record: RequestRecord) -> bytes:
    """The line as record_lines.py gives it out, without LF; all of it is ASCII."""
    connect, service, out, status = record.connect_ms, record.service_ms, record.bytes_out, record.status
    path = record.path
    if b'"' in path:
        path = path.replace(b'"', b"%22")
    # Pieces joined, and small numbers looked up: 1.2 µs instead of 2.0 by one format.
    return b"".join(
        (
            b"at=info method=" if record.code is None else _coded(record, record.code),
            record.method,
            b' path="',
            path,
            b'" host=',
            record.host,
            b" request_id=",
            record.request_id,
            b' fwd="',
            record.fwd,
            b'" dyno=',
            record.dyno,
            b" connect=" if connect is None else b" connect=0ms" if not connect else b" connect=%dms" % connect,
            b" service="
            if service is None
            else _SERVICE[int(service)]
            if service < _TABLED
            else b" service=%dms" % service,
            b" status=" if status is None else _STATUS[status],
            b" bytes=" if out is None else b" bytes=%d" % out,
            b" protocol=http" if record.protocol == "http" else b" protocol=https",
            b" traceparent=" + record.traceparent if record.traceparent else b"",
        )
    )


def _coded(record: RequestRecord, code: Code) -> bytes:
    meaning = CODES[code]
    sock = f"sock={meaning.sock} " if meaning.sock else ""
    desc = meaning.desc
    cause = ""
    if code is Code.HTTP_RESTRICTION:
        desc = f"{desc}: {record.cause}"  # as Heroku words it: `HTTP restriction: oversized cookie`
    elif record.cause:
        cause = f' cause="{record.cause}"'
    return f'{sock}at={meaning.at} code={code.value} desc="{desc}"{cause} method='.encode()


def printable(value: bytes) -> bytes:
    """`value` in visible ASCII without quotes: nothing that ends a quoted field or, in any encoding, a line."""
    return value.translate(None, _UNQUOTED)
