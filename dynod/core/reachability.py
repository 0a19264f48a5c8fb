"""Whether other machines can reach a dyno past the router, and the one line that says so.

In `up` a dyno is a plain process: what it binds to 0.0.0.0 is open to the network it is in, without the router's limits
and log lines. Heroku's dynos must bind so, which is why programs do; on a laptop in a café it is worth a line.
"""

import ipaddress
from collections.abc import Iterable

from dynod.core.boot import Address


def reachable(addresses: Iterable[Address]) -> list[Address]:
    """Those that another machine can connect to (as far as no firewall stands between), sorted."""
    return sorted({address for address in addresses if not _stays_here(address.host)})


def reachability_line(process_type: str, addresses: Iterable[Address]) -> str | None:
    """One line about what a dyno of this type listens on; None where all of it stays on this machine."""
    open_to_others = reachable(addresses)
    if not open_to_others:
        return None
    places = ", ".join(str(address) for address in open_to_others)
    wildcard = any(ipaddress.ip_address(address.host).is_unspecified for address in open_to_others)
    where = "on every network of this machine" if wildcard else "on a network"
    return (
        f"{process_type} listens on {places}, {where}: other machines can reach it past the router. "
        "To keep it here, bind 127.0.0.1"
    )


class ReachabilityNotices:
    """Says it once for each process type, however many dynos there are and however often they start."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def line(self, process_type: str, addresses: Iterable[Address]) -> str | None:
        """The line, if this type has not had it."""
        if process_type in self._told:
            return None
        line = reachability_line(process_type, addresses)
        if line is not None:
            self._told.add(process_type)
        return line


def _stays_here(host: str) -> bool:
    """Loopback, ::ffff:127.0.0.1 included. Link-local addresses reach the neighbours, and so do not stay."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
