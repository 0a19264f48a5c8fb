"""What all client connections of a router share. Owned and changed by the Router alone; the hot path reads it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from router.apps import AppTable
from router.backend_link import Date
from router.core.request_record import RequestRecord
from router.hangups import Hangups
from router.head_values import HeadLimits
from router.settings import RouterSettings
from router.tunnel import Tunnel


class Connection(Protocol):
    """A client connection, as the router looks after it."""

    def end_if_idle(self) -> None:
        """Close if no request is under way."""

    def cut_short(self) -> bool:
        """End now, whatever is under way; True if a request was."""


@dataclass(slots=True, kw_only=True)
class RelayContext:
    """See the module. `closing`: every answer is its connection's last.

    `overdue` is told, once, of a request that goes on although there is no byte of its answer after so many seconds.
    """

    loop: asyncio.AbstractEventLoop
    settings: RouterSettings
    limits: HeadLimits
    apps: AppTable
    via: bytes
    affinity_key: bytes
    date: Date
    new_request_id: Callable[[], bytes]
    trusts: Callable[[str], bool]
    finished: Callable[[RequestRecord], None]
    overdue: Callable[[RequestRecord, float], None]
    client_fault: Callable[[str], None]
    connections: set[Connection]
    tunnels: set[Tunnel]
    hangups: Hangups
    connection_made: Callable[[], None]
    connection_gone: Callable[[], None]
    closing: bool = False
