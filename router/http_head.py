"""Request and response heads, as the relay reads them: the plain ones fast, all others thoroughly. On the hot path.

Flow: bytes of a head → `RequestReader` or `AnswerReader` (compiled, or plain_head.py), which know plain heads →
`judge_request` or `judge_answer` (head_judge.py) for all others → what the relay decides on, and the bytes that go on.

Each plain head costs, read and written anew, 0.6 µs compiled, 4.5 in Python; judged, 9.
"""

from typing import Final

from router import plain_head
from router.head_grammar import KEEP_ALIVE_TIMEOUT
from router.head_judge import judge_answer, judge_request
from router.head_values import ResponseHead

try:
    from router._http_head import AnswerReader, RequestReader
except ImportError:  # optional at build; everything works without it
    from router.plain_head import AnswerReader, RequestReader  # type: ignore[assignment]  # twins, not subclasses

COMPILED: Final = RequestReader.__module__ != plain_head.__name__

__all__ = [
    "COMPILED",
    "AnswerReader",
    "RequestReader",
    "answer_of",
    "client_head",
    "host_key",
    "idle_limit",
    "judge_answer",
    "judge_request",
]


def idle_limit(keep_alive: bytes | None) -> float | None:
    """How long a backend keeps an idle connection, in seconds, by its Keep-Alive field."""
    seconds = KEEP_ALIVE_TIMEOUT.search(keep_alive) if keep_alive is not None else None
    return float(seconds.group(1)) if seconds is not None else None


def answer_of(plain: plain_head.PlainAnswer) -> ResponseHead:
    """A plain answer as the value that stands for any answer."""
    answer = ResponseHead()
    answer.status, out, before, size, answer.length, answer.chunked, answer.persistent, answer.dated, keep, _, _ = plain
    answer.upgrade = b""
    answer.idle_limit_s = idle_limit(keep)
    answer.before_framing = out[:before]
    answer.framing = out[before : size - 2]
    answer.ready = out[:size]
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


def host_key(host: bytes) -> str:
    """A Host value as routing knows it: no port, lower case, no trailing dot (contracts.md section 4)."""
    text = host.decode("ascii").lower()
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.partition(":")[0].removesuffix(".")
