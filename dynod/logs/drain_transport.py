"""What brings a drain's frames to its receiver, and the ways that end on this machine: a file, and dynod's stdout.

Flow: drain → **transport** → receiver. A transport sends one frame at a time and says how that ended; it never raises
for what a receiver or a network does, and never decides whether to try again. HTTP is `http_transport`'s, syslog
`syslog_transport`'s.
"""

import asyncio
import errno
import os
import select
import ssl
import stat
from dataclasses import dataclass
from typing import Final, Protocol

from dynod.core.drain_policy import Outcome

STDOUT_FD: Final = 1
STDOUT_S: Final = 4.0  # a collector that reads nothing for so long is not there
AT_ONCE: Final = select.PIPE_BUF  # poll(2) says no more than that so many bytes will not block


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What is sent at once, and the same when it is sent again."""

    body: bytes
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How it ended. `asked_s`: how long the receiver asked to be left alone. `error` quotes no secret."""

    outcome: Outcome
    error: str = ""
    asked_s: float = 0.0
    distrusted: bool = False  # the receiver's certificate is not one we trust


DELIVERED: Final = Delivery(outcome=Outcome.DELIVERED)


class Transport(Protocol):
    """One receiver. Owned by one drain."""

    async def send(self, frame: Frame) -> Delivery: ...

    async def close(self) -> None: ...


class FileTransport:
    """Appends to a file; one that a rotation has moved away is made anew. Not a device, pipe or link."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def send(self, frame: Frame) -> Delivery:
        try:
            await asyncio.to_thread(self._append, frame.body)
        except OSError as error:
            return Delivery(outcome=Outcome.FAILED, error=f"{self._path}: {error.strerror or error}")
        return DELIVERED

    async def close(self) -> None:
        """Nothing is held open between two frames."""

    def _append(self, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(self._path, flags, 0o600)
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            before = info.st_size
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(fd, view) :]
            except OSError:
                os.ftruncate(fd, before)  # it is written again, whole
                raise
        finally:
            os.close(fd)


class StdoutTransport:
    """Writes to dynod's own stdout, which `serve` uses for nothing else: journald or a container's log takes it."""

    async def send(self, frame: Frame) -> Delivery:
        try:
            await asyncio.to_thread(self._write, frame.body)
        except OSError as error:
            return Delivery(outcome=Outcome.FAILED, error=f"stdout: {error.strerror or error}")
        return DELIVERED

    async def close(self) -> None:
        """Not ours to close."""

    def _write(self, data: bytes) -> None:
        poll = select.poll()
        poll.register(STDOUT_FD, select.POLLOUT)
        view = memoryview(data)
        while view:
            if not poll.poll(STDOUT_S * 1000):
                raise TimeoutError(f"nobody has read for {STDOUT_S:.0f} s")
            view = view[os.write(STDOUT_FD, view[:AT_ONCE]) :]


def describe(error: Exception) -> str:
    """What happened, for people; never a URL, which may hold a secret."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"certificate: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS: {error.reason or 'handshake failed'}"
        case TimeoutError():
            return "no answer in time"
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionResetError() | BrokenPipeError():
            return "connection reset"
        case OSError() if error.strerror:
            return error.strerror
        case _:
            return type(error).__name__
