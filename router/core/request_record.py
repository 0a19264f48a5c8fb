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
        "upgraded",
    )

    def __init__(self, app: str, method: bytes, path: bytes, host: bytes, started_at: float) -> None:
        self.app = app
        self.method = method
        self.path = path
        self.host = host
        self.started_at = started_at  # Unix time, seconds
        self.request_id = b""
        self.fwd = b""
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
        self.protocol = "http"
        self.upgraded = False

    def fail(self, code: Code, *, cause: str = "", status: int | None = None) -> None:
        """Stamp a code: its severity and status with it. The first one stays, as it is nearest to the cause."""
        if self.code is not None:
            return
        meaning = CODES[code]
        self.code = code
        self.at = meaning.at
        self.cause = cause
        self.status = status if status is not None else meaning.status


_STATUS: Final = tuple(b"%d" % status for status in range(1000))
_UNQUOTED: Final = bytes(c for c in range(256) if not 0x21 <= c <= 0x7E or c == 0x22)  # noqa: PLR2004  # ASCII


def format_line(record: RequestRecord) -> str:
    """The router log line, in the form of Heroku's Common Runtime router ("HTTP Routing", Heroku router log format).

    A double quote inside `path` becomes `%22`; nothing that ends or splits a line can be in any field.
    """
    return line_bytes(record).decode("latin-1")


def line_bytes(record: RequestRecord) -> bytes:
    """`format_line`, for a reader that wants bytes; all of it is ASCII."""
    connect, service, out, status = record.connect_ms, record.service_ms, record.bytes_out, record.status
    path = record.path
    if b'"' in path:
        path = path.replace(b'"', b"%22")
    return (
        b'%bmethod=%b path="%b" host=%b request_id=%b fwd="%b" dyno=%b connect=%b service=%b status=%b bytes=%b %b'
        % (
            b"at=info " if record.code is None else _coded(record, record.code),
            record.method,
            path,
            record.host,
            record.request_id,
            record.fwd,
            record.dyno,
            b"" if connect is None else b"%dms" % connect if connect else b"0ms",
            b"" if service is None else b"%dms" % service,
            b"" if status is None else _STATUS[status],
            b"" if out is None else b"%d" % out,
            b"protocol=http" if record.protocol == "http" else b"protocol=https",
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
    return f'{sock}at={meaning.at} code={code.value} desc="{desc}"{cause} '.encode()


def printable(value: bytes) -> bytes:
    """`value` in visible ASCII without quotes: nothing that ends a quoted field or, in any encoding, a line."""
    return value.translate(None, _UNQUOTED)
