"""Whether a request's Host names the server that it has reached. Pure.

A web page can make a browser believe that its own name is 127.0.0.1 (DNS rebinding), and the browser then lets it read
what the API answers. It cannot make the browser send another Host than the page's own name.
"""

import ipaddress
import re
from collections.abc import Collection
from typing import Final

_HOST: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]/?#@\s]+))(?::[0-9]{0,5})?", re.ASCII)


def host_of(header: str) -> str | None:
    """The name or address in a Host field, lower case, without port, brackets and trailing dot; None: malformed."""
    match = _HOST.fullmatch(header.strip())
    if match is None:
        return None
    return (match["six"] or match["name"]).lower().removesuffix(".")


def names_this_server(header: str, *, reached_at: str, names: Collection[str]) -> bool:
    """`reached_at`: the address at this end of the connection; `names`: what the listeners were given."""
    host = host_of(header)
    if host is None:
        return False
    return host == "localhost" or host in names or _same(host, reached_at) or _is_loopback(host)


def is_own_origin(origin: str, host: str) -> bool:
    """Whether a page of this origin came from where this request, by its Host, has gone."""
    scheme, separator, place = origin.partition("://")
    return bool(separator) and scheme in {"http", "https"} and place.lower() == host.strip().lower()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener there."""
    return host == "localhost" or _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _same(host: str, address: str) -> bool:
    try:
        return ipaddress.ip_address(host) == ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
