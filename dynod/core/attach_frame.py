"""What the two ends of an attached session say to each other: frames on a byte stream, however it is cut.

Client (`dynod run`) ⇄ **frames** ⇄ core ⇄ dyno's terminal or pipes. A frame is a letter for its kind, four bytes of
length (big endian) and that many bytes. Heroku's own sessions are raw bytes without sizes, signals and exit statuses;
those need none of this. Pure: no socket, no clock.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

UPGRADE: Final = "dynod-attach"  # the name of this protocol in HTTP's Upgrade
MOST_BYTES: Final = 64 * 1024  # of a frame: data is cut by whoever sends it
MOST_CELLS: Final = 65_535  # struct winsize has unsigned shorts
WINDOW_BYTES: Final = 256 * 1024  # of input that the client may have sent and not heard of as taken
SIGNALS: Final = frozenset({"HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "TSTP", "CONT", "WINCH"})

_HEAD: Final = struct.Struct(">cI")
_SIZE: Final = struct.Struct(">HH")
_COUNT: Final = struct.Struct(">Q")
_STATUS: Final = struct.Struct(">i")


class FrameError(Exception):
    """The other end speaks another language."""


class Data(NamedTuple):
    """Bytes for the dyno's stdin, or from its output."""

    content: bytes


class WindowSize(NamedTuple):
    """The client's window."""

    rows: int
    columns: int


class SendSignal(NamedTuple):
    """For every process of the dyno, where there is no terminal that turns a key into one. Without SIG: `INT`."""

    name: str


class EndOfInput(NamedTuple):
    """The client's stdin has ended. What it has sent before is still read."""


class Taken(NamedTuple):
    """How many bytes of this connection's input the dyno's terminal or pipe has, in all."""

    total: int


class Exit(NamedTuple):
    """The session's last word: 128+n for a death by signal n. `reason`: what to tell a person, mostly nothing."""

    status: int
    reason: str


Frame = Data | WindowSize | SendSignal | EndOfInput | Taken | Exit


def encode(frame: Frame) -> bytes:
    """The frame's bytes. Raises ValueError for what the other end would not take."""
    match frame:
        case Data(content):
            letter, body = b"d", content
        case WindowSize(rows, columns):
            if not (0 <= rows <= MOST_CELLS and 0 <= columns <= MOST_CELLS):
                raise ValueError(f"no window has {rows} rows and {columns} columns")
            letter, body = b"w", _SIZE.pack(rows, columns)
        case SendSignal(name):
            if name not in SIGNALS:
                raise ValueError(f"signal {name} is not passed on")
            letter, body = b"s", name.encode("ascii")
        case EndOfInput():
            letter, body = b"e", b""
        case Taken(total):
            letter, body = b"t", _COUNT.pack(total)
        case Exit(status, reason):
            letter, body = b"x", _STATUS.pack(status) + reason.encode("utf-8", "surrogateescape")
    if len(body) > MOST_BYTES:
        raise ValueError(f"a frame of {len(body)} bytes; {MOST_BYTES} are the most")
    return _HEAD.pack(letter, len(body)) + body


class FrameReader:
    """Takes the stream in pieces, gives the frames that are complete. Holds at most one frame that is not."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that have become complete. Raises FrameError; nothing can be read after that."""
        self._held += data
        frames: list[Frame] = []
        start = 0
        while len(self._held) - start >= _HEAD.size:
            letter, length = _HEAD.unpack_from(self._held, start)
            if letter not in _DECODERS:
                raise FrameError(f"no frame begins with {letter!r}")
            if length > MOST_BYTES:
                raise FrameError(f"a frame of {length} bytes; {MOST_BYTES} are the most")
            end = start + _HEAD.size + length
            if len(self._held) < end:
                break
            frames.append(_decode(letter, bytes(self._held[start + _HEAD.size : end])))
            start = end
        del self._held[:start]
        return frames


def _decode(letter: bytes, body: bytes) -> Frame:
    try:
        return _DECODERS[letter](body)
    except (struct.error, ValueError) as error:
        raise FrameError(f"a frame {letter!r} of {len(body)} bytes that makes no sense") from error


def _signal(body: bytes) -> SendSignal:
    name = body.decode("ascii")
    if name not in SIGNALS:
        raise ValueError(name)
    return SendSignal(name)


def _end(body: bytes) -> EndOfInput:
    if body:
        raise ValueError("an end has no content")
    return EndOfInput()


def _exit(body: bytes) -> Exit:
    status = _STATUS.unpack_from(body)[0]
    return Exit(status, body[_STATUS.size :].decode("utf-8", "surrogateescape"))


_DECODERS: Final[Mapping[bytes, Callable[[bytes], Frame]]] = {
    b"d": Data,
    b"w": lambda body: WindowSize(*_SIZE.unpack(body)),
    b"s": _signal,
    b"e": _end,
    b"t": lambda body: Taken(*_COUNT.unpack(body)),
    b"x": _exit,
}
