"""What a request that is relayed needs of its client's connection: the seam between the two.

Flow: client_connection.py is one, relay.py asks it. Both know what the client's next bytes are, and why it is not read.
"""

import asyncio
from enum import IntEnum
from typing import Final, Protocol

from router.head_values import Forwarding
from router.lazy_timer import LazyTimer


class Reading(IntEnum):
    """What the next bytes from the client are."""

    HEAD = 0  # the next request, or nothing yet
    BODY = 1  # the current request's body
    AHEAD = 2  # the request is whole; what comes is the next one, early
    LINGER = 3  # nothing that matters: the last answer is written, what is sent is thrown away
    GONE = 4  # the connection is lost, or is a tunnel now


# Why the client is not read at the moment.
PAUSED_BODY: Final = 1  # its request has no backend yet
PAUSED_FULL: Final = 2  # its backend is slow
PAUSED_AHEAD: Final = 4  # it has sent too much ahead
PAUSED_ANSWER: Final = 8  # it does not read its answers
PAUSED_ALL: Final = 15


class Client(Protocol):
    """The connection that an exchange belongs to, as far as the exchange needs it.

    `full`: it is slow to read its answer. `half_closed`: it will send no more. `close_after`: the answer under way is
    its last. `unsent_at_look`: what it had not taken yet when a deadline was last looked at, in bytes.
    """

    buffer: bytes
    close_after: bool
    forwarding: Forwarding
    full: bool
    half_closed: bool
    reading: Reading
    timer: LazyTimer
    transport: asyncio.Transport
    unsent_at_look: int

    def pause(self, why: int) -> None:
        """Read no more from it."""

    def resume(self, why: int) -> None:
        """That reason is over."""

    def next_request(self, now: float) -> None:
        """The exchange has ended, `now` by the loop's clock."""

    def leave(self) -> None:
        """The socket is a tunnel's now."""

    def cut(self, *, shows: bool) -> None:
        """The answer cannot be finished. `shows`: its framing tells the client so."""
