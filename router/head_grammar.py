"""The grammar of heads, as patterns and checks that every reader of heads shares. Pure.

RFC 9112 without obs-fold: CRLF only, one space where one is meant, no byte that any reader might take for a line's end.
"""

import re
from typing import Final

from router.errors import HeadError
from router.head_values import HeadLimits

TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]"

# Exactly one space between the parts, CRLF at the end, no fragment, no byte outside visible ASCII (RFC 9112 section 3).
REQUEST_LINE: Final = re.compile(rb"(" + TOKEN + rb"{1,127}) ([\x21\x22\x24-\x7e]+) HTTP/1\.([01])\r(?=\n)")
STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9]) (" + VALUE + rb"*+)\r(?=\n)")

# A block runs from the LF of the first line to the empty line, so that every field is one unit `\nName: value\r`.
# Atomic rather than `*+` over the group, which CPython before 3.11.5 gets wrong (gh-106052).
FIELDS: Final = re.compile(rb"(?>(?:\n" + TOKEN + rb"++:" + VALUE + rb"*+\r)*)\n\r\n")
HOST_VALUE: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9+/=-]{20,200}")  # Heroku, "HTTP Request IDs"
KEEP_ALIVE_TIMEOUT: Final = re.compile(rb"(?i:timeout)=([0-9]{1,6})")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")  # below 2**63 by its length; no sign, blank or underscore
_TOKENS: Final = re.compile(TOKEN + rb"+")
_TOKEN_LIST: Final = re.compile(rb"[ \t]*" + TOKEN + rb"*[ \t]*(?:,[ \t]*" + TOKEN + rb"*[ \t]*)*")

# Fields that no `Connection` header may name away: they frame the message, route it, or are written by us.
_NOT_BY_CONNECTION: Final = frozenset({b"host", b"close", b"keep-alive", b"upgrade", b"date"})
# Trailer fields may not frame, route, authenticate or describe the message (RFC 9110 section 6.5.1).
_NO_TRAILER: Final = re.compile(
    rb"(?i:transfer[-_]encoding|content[-_](?:length|encoding|type|range)|host|connection|keep[-_]alive|te|trailer|upgrade"
    rb"|proxy[-_].*|authorization|cookie|set[-_]cookie|cache[-_]control|expect|max[-_]forwards|range|if[-_].*|via|forwarded"
    rb"|x[-_]forwarded[-_].*|x[-_]request[-_].*)"
)


def allowed_trailers(block: bytes, limits: HeadLimits) -> bytes:
    """The trailer fields of `block` (`Name: value` lines, each with its CRLF) that may be passed on.

    Raises:
        HeadError: for what is no field line.

    """
    if not block:
        return b""
    if FIELDS.fullmatch(b"\n" + block + b"\r\n") is None or block.count(b"\n") > limits.fields:
        raise HeadError("bad trailer")
    lines = block[:-2].split(b"\r\n")
    return b"".join(line + b"\r\n" for line in lines if not _NO_TRAILER.fullmatch(line.partition(b":")[0]))


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


def check_sizes(block: bytes, limits: HeadLimits) -> None:
    """A request's fields: not too many, none too long. Raises HeadError."""
    if block.count(b"\n") - 2 > limits.fields:
        raise HeadError("too many header fields")
    if len(block) <= min(limits.line, limits.name):
        return
    for line in block[1:-4].split(b"\r\n"):
        if len(line) > limits.line:
            raise HeadError("oversized header")
        if len(line) > limits.name and line.find(b":", 0, limits.name + 1) < 0:
            raise HeadError("oversized header name")


def framing_of(lengths: list[bytes], codings: list[bytes], *, minor: int) -> tuple[int, bool]:
    """The body's length (-1: not said) and whether it is chunked, from the values of the framing fields.

    Raises:
        HeadError: for whatever two readers could understand differently (RFC 9112 section 6.3).

    """
    if codings:
        if lengths or len(codings) != 1 or codings[0].lower() != b"chunked" or not minor:
            raise HeadError("bad message framing")
        return -1, True
    if not lengths:
        return -1, False
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
        raise HeadError("bad message framing")
    return int(lengths[0]), False


def connection_tokens(values: list[bytes]) -> frozenset[bytes]:
    """What the Connection fields name, in lower case. Raises HeadError."""
    if not values:
        return frozenset()
    joined = b",".join(values)
    if not _TOKEN_LIST.fullmatch(joined):
        raise HeadError("bad header")
    tokens = frozenset(_TOKENS.findall(joined.lower()))
    if not tokens:
        raise HeadError("bad header")  # Heroku's example: `Connection: ,`
    return tokens


def without_named(units: bytes, tokens: frozenset[bytes]) -> bytes:
    r"""`units` (each `\nName: value\r`) without the fields that Connection names."""
    named = tokens - _NOT_BY_CONNECTION
    if not named or not units:
        return units
    kept = [unit for unit in units[1:-1].split(b"\r\n") if unit.partition(b":")[0].lower() not in named]
    return b"".join(b"\n" + unit + b"\r" for unit in kept)
