"""Heroku's H codes: what the router could not do, its severity, its status. Pure data.

Source: Dev Center "Heroku Error Codes" and contracts.md section 8 (H17 is 503, H25 is 502). Codes that cannot occur on
one machine without Heroku's fleet (H16, H23, H31-H33, H82, H83) are left out; nothing may emit what is not here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Code(StrEnum):
    """An H code. `CODES` says what it means."""

    APP_CRASHED = "H10"
    BACKLOG_TOO_DEEP = "H11"
    REQUEST_TIMEOUT = "H12"
    NO_RESPONSE = "H13"
    NO_WEB_PROCESSES = "H14"
    IDLE_CONNECTION = "H15"
    POOR_RESPONSE = "H17"
    SERVER_INTERRUPTED = "H18"
    CONNECT_TIMEOUT = "H19"
    BOOT_TIMEOUT = "H20"
    CONNECT_REFUSED = "H21"
    CONNECTION_LIMIT = "H22"
    FORCED_CLOSE = "H24"
    HTTP_RESTRICTION = "H25"
    REQUEST_ERROR = "H26"
    CLIENT_INTERRUPTED = "H27"
    CLIENT_IDLE = "H28"
    ALL_QUARANTINED = "H34"
    MAINTENANCE = "H80"
    BLANK_APP = "H81"
    PLATFORM_ERROR = "H99"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeMeaning:
    """How a code looks in the log line and to the client.

    `at` is the severity field; `status` the status logged and, while nothing has been answered yet, sent;
    `sock` the side whose socket broke, printed before `at=`; `trigger` is for people.
    """

    desc: str
    at: str
    status: int | None
    sock: str = ""
    trigger: str


CODES: Final[Mapping[Code, CodeMeaning]] = {
    Code.APP_CRASHED: CodeMeaning(desc="App crashed", at="error", status=503, trigger="every web dyno has crashed"),
    Code.BACKLOG_TOO_DEEP: CodeMeaning(
        desc="Backlog too deep", at="error", status=503, trigger="every dyno at its cap and the queue full or too slow"
    ),
    Code.REQUEST_TIMEOUT: CodeMeaning(
        desc="Request timeout", at="error", status=503, trigger="no byte of an answer in first_byte_timeout_s"
    ),
    Code.NO_RESPONSE: CodeMeaning(
        desc="Connection closed without response", at="error", status=503, trigger="dyno closed before its first byte"
    ),
    Code.NO_WEB_PROCESSES: CodeMeaning(
        desc="No web processes running", at="error", status=503, trigger="web scaled to 0"
    ),
    Code.IDLE_CONNECTION: CodeMeaning(
        desc="Idle connection", at="error", status=503, trigger="dyno silent for idle_timeout_s inside an answer"
    ),
    Code.POOR_RESPONSE: CodeMeaning(
        desc="Poorly formatted HTTP response", at="error", status=503, trigger="dyno's answer is not HTTP"
    ),
    Code.SERVER_INTERRUPTED: CodeMeaning(
        desc="Server Request Interrupted",
        at="error",
        status=503,
        sock="backend",
        trigger="dyno's connection broke inside a request or an answer",
    ),
    Code.CONNECT_TIMEOUT: CodeMeaning(
        desc="Backend connection timeout", at="error", status=503, trigger="no connection in connect_timeout_s"
    ),
    Code.BOOT_TIMEOUT: CodeMeaning(
        desc="App boot timeout", at="error", status=503, trigger="held boot_hold_s, no web dyno came up"
    ),
    Code.CONNECT_REFUSED: CodeMeaning(
        desc="Backend connection refused", at="error", status=503, trigger="every attempt to connect was refused"
    ),
    Code.CONNECTION_LIMIT: CodeMeaning(
        desc="Connection limit reached", at="error", status=503, trigger="more requests and tunnels than max_open"
    ),
    Code.FORCED_CLOSE: CodeMeaning(
        desc="Forced close", at="error", status=None, trigger="router or dyno removed before the answer's end"
    ),
    Code.HTTP_RESTRICTION: CodeMeaning(
        desc="HTTP restriction", at="error", status=502, trigger="dyno's answer is ambiguous or over a limit"
    ),
    Code.REQUEST_ERROR: CodeMeaning(
        desc="Request Error", at="error", status=400, trigger="client's request is malformed, ambiguous or too large"
    ),
    Code.CLIENT_INTERRUPTED: CodeMeaning(
        desc="Client Request Interrupted",
        at="warning",
        status=499,
        sock="client",
        trigger="client went away before the answer's end",
    ),
    Code.CLIENT_IDLE: CodeMeaning(
        desc="Client Connection Idle", at="warning", status=499, trigger="client neither sent nor took bytes"
    ),
    Code.ALL_QUARANTINED: CodeMeaning(
        desc="All up dynos are quarantined", at="error", status=503, trigger="every dyno ejected for boot_hold_s"
    ),
    Code.MAINTENANCE: CodeMeaning(desc="Maintenance mode", at="info", status=503, trigger="maintenance is on"),
    Code.BLANK_APP: CodeMeaning(desc="Blank app", at="info", status=502, trigger="never deployed"),
    Code.PLATFORM_ERROR: CodeMeaning(desc="Platform error", at="error", status=503, trigger="a fault of the router"),
}
