"""Notices a client that has gone while nobody reads from it.

Flow: a client's connection pauses its socket → **hangups** → the transport's abort, which ends its request as ever.
A transport that is paused is watched for nothing, so that a reset would be noticed at the next write only: an upload
could wait for a dyno, and keep its place in the queue, for a client that left long ago. A second epoll asks for nothing
and is told what epoll always tells. Where there is no epoll (macOS) a reset is noticed late.

Not for tunnels: what one side sent before its reset still waits in the socket, and the other one is to have it.
"""

import asyncio
import contextlib
import select
from typing import Final

_HAS_EPOLL: Final = hasattr(select, "epoll")
_MOST_AT_ONCE: Final = 256


class Hangups:
    """See the module. Owned by the router, on its loop."""

    __slots__ = ("_epoll", "_loop", "_numbers", "_watched")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: dict[int, asyncio.Transport] = {}
        self._numbers: dict[asyncio.Transport, int] = {}
        self._epoll = select.epoll() if _HAS_EPOLL else None
        if self._epoll is not None:
            loop.add_reader(self._epoll.fileno(), self._look)

    def __len__(self) -> int:
        return len(self._watched)

    def watch(self, transport: asyncio.Transport) -> None:
        """It is not read from now on."""
        sock = transport.get_extra_info("socket")
        if self._epoll is None or sock is None or transport in self._numbers:
            return
        number = sock.fileno()
        before = self._watched.get(number)
        if before is not None:  # closed, and its number is another's now
            self.forget(before)
        try:
            # Edge-triggered: that both sides have ended (EPOLLHUP) is no reset, and stays so.
            self._epoll.register(number, select.EPOLLET)
        except OSError:
            return  # out of memory, or of what epoll(7) allows a user to watch: as without it
        self._watched[number] = transport
        self._numbers[transport] = number

    def forget(self, transport: asyncio.Transport) -> None:
        """It is read again, or closed; nothing happens if it was not watched."""
        number = self._numbers.pop(transport, None)
        if number is not None:
            del self._watched[number]
            if self._epoll is not None:
                with contextlib.suppress(OSError):  # closed: then it is forgotten already
                    self._epoll.unregister(number)

    def close(self) -> None:
        """Watch nothing any more."""
        self._watched.clear()
        self._numbers.clear()
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _look(self) -> None:
        if self._epoll is None:
            return
        for number, events in self._epoll.poll(0, _MOST_AT_ONCE):
            transport = self._watched.get(number)
            if transport is not None and events & select.EPOLLERR:
                self.forget(transport)
                transport.abort()
