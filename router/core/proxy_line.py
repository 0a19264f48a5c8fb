"""The PROXY protocol, version 1: one line before the first request that says who the client is. Pure.

Source: HAProxy's proxy-protocol.txt, section 2.1. Believed only from trusted peers, and required of them once it is on:
a listener that took either would let a client choose.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from router.errors import HeadError

LONGEST: Final = 107  # with its CRLF, as the specification computes it
_LINE: Final = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]{2,45}) ([0-9A-Fa-f.:]{2,45}) ([0-9]{1,5}) ([0-9]{1,5})")
_TOP_PORT: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxiedClient:
    """The client's address, and the port it connected to."""

    address: str
    port: int


def parse(line: bytes) -> ProxiedClient | None:
    """A line without its CRLF; None for UNKNOWN (a health check of the proxy itself, say).

    Raises:
        HeadError: for anything else.

    """
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return None
    match = _LINE.fullmatch(line)
    if match is None:
        raise HeadError("bad PROXY line")
    family, source, target, source_port, port = match.groups()
    wanted = ipaddress.IPv4Address if family == b"TCP4" else ipaddress.IPv6Address
    try:
        address = wanted(source.decode())
        wanted(target.decode())
    except ValueError as error:
        raise HeadError("bad PROXY line") from error
    if int(port) > _TOP_PORT or int(source_port) > _TOP_PORT:
        raise HeadError("bad PROXY line")
    return ProxiedClient(address=str(address), port=int(port))
