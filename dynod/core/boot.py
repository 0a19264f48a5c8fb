"""Whether a booting web dyno is up: which of its processes' listening sockets, if any, is on its PORT.

Contracts 8: up when a socket owned by one of its processes listens on PORT, on any address, and the router connects to
that address. Heroku's R10 is the time limit; a dyno on another port is told so, which is the failure people ask about.
"""

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass, field

BOOT_TIMEOUT_S = 60.0  # Heroku R10
WRONG_PORT_AFTER_S = 3.0  # a program may open other ports first


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where something listens: a numeric host, as the kernel says it, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not up yet."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Up; the router connects to `address`. `everything` is all that the dyno listens on."""

    address: Address
    everything: tuple[Address, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class ElsewhereOnly:
    """The dyno listens, but not on its PORT."""

    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class PortTaken:
    """Somebody else listens on the dyno's PORT: it cannot have it."""


@dataclass(frozen=True, slots=True)
class TimedOut:
    """R10."""


Verdict = Waiting | Listening | ElsewhereOnly | PortTaken | TimedOut


def judge(
    *, port: int, own: Collection[Address], strangers: Collection[Address], elapsed_s: float, timeout_s: float
) -> Verdict:
    """What to make of a web dyno `elapsed_s` after its launch, from its own listening sockets and those of strangers.

    `strangers` matter only on `port`. A dyno that listens on its port is up even when a stranger shares it by
    SO_REUSEPORT.
    """
    mine = sorted(address for address in own if address.port == port)
    if mine:
        return Listening(_reachable(mine), tuple(sorted(own)))
    if any(address.port == port for address in strangers):
        return PortTaken()
    if elapsed_s >= timeout_s:
        return TimedOut()
    if own and elapsed_s >= min(WRONG_PORT_AFTER_S, timeout_s / 2):  # said before the time is up, however short
        return ElsewhereOnly(tuple(sorted(own)))
    return Waiting()


def _reachable(addresses: list[Address]) -> Address:
    """Where to connect, IPv4 and loopback preferred; a wildcard is reached over loopback."""
    best = min(addresses, key=lambda address: (":" in address.host, not _is_loopback(address.host), address))
    host = ipaddress.ip_address(best.host)
    if host.is_unspecified:
        return Address("127.0.0.1" if host.version == 4 else "::1", best.port)  # noqa: PLR2004 (IPv4)
    return best


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback
