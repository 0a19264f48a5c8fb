"""Which port a dyno gets: 20000 to 29999, those used recently last.

dyno → port → routing. The range lies outside the ephemeral one, so that no outgoing connection takes a port between
its choice and the dyno's bind(2). A port rests as long as possible after use: clients of the last owner may still hold
connections, and its socket may linger in TIME_WAIT. Pure: whether a port is really free the shell probes, in the order
that `candidates` gives.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

FIRST_PORT: Final = 20000
LAST_PORT: Final = 29999  # contracts, "Finding things"; Linux' ephemeral range begins at 32768


class PortAllotment:
    """Who has a port now, and the order in which the others are offered. Owned by one task."""

    def __init__(self, *, start: int = FIRST_PORT, taken: Iterable[int] = ()) -> None:
        """`start` is the first port offered (two daemons on one machine begin apart); `taken` are those of dynos that
        a former core has started.
        """
        everything = range(FIRST_PORT, LAST_PORT + 1)
        self._taken = {_checked(port) for port in taken}
        rotated = [*everything[_checked(start) - FIRST_PORT :], *everything[: start - FIRST_PORT]]
        self._free = dict.fromkeys(port for port in rotated if port not in self._taken)  # ordered: next one first

    @property
    def taken(self) -> frozenset[int]:
        return frozenset(self._taken)

    def candidates(self) -> Iterator[int]:
        """Free ports, the longest unused first. A snapshot: `take` may be called while iterating."""
        return iter(tuple(self._free))

    def take(self, port: int) -> None:
        """A dyno has this port from now on. Raises ValueError if another one has it."""
        if _checked(port) in self._taken:
            raise ValueError(f"port {port} belongs to another dyno")
        del self._free[port]
        self._taken.add(port)

    def take_first(self, is_free: Callable[[int], bool]) -> int | None:
        """Take the first candidate that the probe finds free; those it does not are offered last next time.

        None when every port is in use, by dynos or by strangers.
        """
        for _ in range(len(self._free)):
            port: int = next(iter(self._free))  # no snapshot of ten thousand for the first one: 35 µs a start
            if is_free(port):
                self.take(port)
                return port
            del self._free[port]
            self._free[port] = None
        return None

    def give_back(self, port: int) -> None:
        """The dyno is gone: its port is offered again, after all others. Raises ValueError if no dyno has it."""
        if port not in self._taken:
            raise ValueError(f"port {port} belongs to no dyno")
        self._taken.remove(port)
        self._free[port] = None


def _checked(port: int) -> int:
    if not FIRST_PORT <= port <= LAST_PORT:
        raise ValueError(f"port {port} is not between {FIRST_PORT} and {LAST_PORT}")
    return port
