"""Where a source may be fetched from: a URL of whoever may deploy, asked for from inside a network. Pure.

So only addresses that everybody reaches are asked, at each step of a redirect, and after names were resolved: another
one, such as this machine's own or a cloud's metadata service, would answer dynod what it answers nobody outside.
"""

import ipaddress
from typing import Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from dynod.errors import DynodError

SCHEMES: Final = frozenset({"http", "https"})
MOST_REDIRECTS: Final = 5
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
LONGEST: Final = 2000  # characters
# Addresses that hold an IPv4 address, which is where a packet to them ends: RFC 6052 and RFC 8215.
_TRANSLATED: Final = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


class SourceUrlError(DynodError):
    """Nothing is fetched from there."""

    code = "invalid_params"


class Place(NamedTuple):
    """Who is asked, without anything secret that the URL may have."""

    scheme: str
    host: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}"


def place_of(url: str, *, private: bool) -> Place:
    """Check a URL before it is asked for; `private`: the operator allows every address. Raises SourceUrlError."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError as error:
        raise SourceUrlError("source_blob.url: this is no URL.") from error
    if parts.scheme not in SCHEMES or not host or len(url) > LONGEST or not (url.isascii() and url.isprintable()):
        raise SourceUrlError(
            "source_blob.url: expected the get_url that POST /sources has answered, or an http:// or https:// URL."
        )
    place = Place(parts.scheme, host)
    if not private and is_address(host) and not is_public(host):
        raise SourceUrlError(refusal(place))
    return place


def next_url(url: str, location: str) -> str:
    """Where a redirect leads. Raises SourceUrlError for one that leaves TLS."""
    there = urljoin(url, location)
    if url.startswith("https:") and not there.startswith("https:"):
        raise SourceUrlError("The source's address leads from https to something else.")
    return there


def refusal(place: Place) -> str:
    """Why it is not asked, and who can change that."""
    return (
        f"{place} is not an address that everybody reaches: upload the source instead (`dynod deploy`), or set "
        "private_sources = true below [builds] in dynod's settings."
    )


def is_address(host: str) -> bool:
    """Whether it needs no resolving."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_public(address: str) -> bool:
    """Whether the address is everybody's to reach, and so is the one that it may hold."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id is not None:
            return False
        if any(ip in network for network in _TRANSLATED):
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)))
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo is not None else None)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast
