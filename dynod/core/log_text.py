"""HOT: formats batches as the text that people read: Heroku's full form, or a short one for a terminal.

Flow: dyno's pipe → frame → log line → stream → **text** → stdout. Whoever builds it decides which form and whether to
colour (contracts 6: terminal or not, --timestamps, --no-color, NO_COLOR, FORCE_COLOR). Pure: the offset of local time
is asked from the caller.
"""

import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from dynod.core.log_line import LogBatch

RESET: Final = b"\x1b[0m"
# SGR colours that can be read on light and on dark grounds: the six plain ones, then the bright ones; no red, which
# people take for an error, and no black, white or grey.
PALETTE: Final = tuple(b"\x1b[%dm" % code for code in (36, 33, 32, 35, 34, 96, 93, 92, 95, 94))

NAMES_KEPT: Final = 1024  # names of one-off dynos (run.4217) come and go; the cache of names starts afresh beyond this


class _FullStamp:
    """`2013-03-10T19:53:10.123456+00:00 `."""

    __slots__ = ("_second", "_stamp")

    def __init__(self) -> None:
        self._second = -1
        self._stamp = b""

    def at(self, time: float) -> bytes:
        second, micros = divmod(round(time * 1_000_000), 1_000_000)
        if second != self._second:  # strftime once a second, not once a batch
            self._second = second
            self._stamp = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
        return b"%b.%06d+00:00 " % (self._stamp, micros)


class FullText:
    """`2013-03-10T19:53:10.123456+00:00 app[web.1]: text`: UTC, microseconds; the dyno's bytes as they came.

    The form of `heroku logs` and of everything that is not a terminal (heroku-semantics 6.2).
    """

    __slots__ = ("_stamp",)

    def __init__(self) -> None:
        self._stamp = _FullStamp()

    def format(self, batch: LogBatch) -> bytes:
        prefix = b"%b%b[%b]: " % (self._stamp.at(batch.time), batch.source.encode(), batch.ps.encode())
        return _prefixed(prefix, batch.text)


class TerminalText:
    r"""`19:53:10 app[web.1]: text`: local time, a colour per process type, nothing that spoils the terminal.

    Bytes that are no UTF-8 are shown as \xNN. A line that contains escape codes is followed by a reset, so that an
    unterminated colour ends with its line. A carriage return inside a line (a progress bar) is followed by the line's
    beginning again, so that what overwrites itself does not overwrite whose line it is.
    """

    __slots__ = ("_colour", "_colours", "_full", "_names", "_offset_s", "_second", "_stamp", "_width")

    def __init__(
        self, *, colour: bool, utc_offset_s: Callable[[float], int], name_width: int = 0, full: bool = False
    ) -> None:
        """`utc_offset_s` gives local time's offset at a time (epoch seconds).

        `name_width` is how many columns `app[web.1]:` is padded to, 0 for none. `full`: the time as in FullText.
        """
        self._colour = colour
        self._full = _FullStamp() if full else None
        self._offset_s = utc_offset_s
        self._width = name_width
        self._second = -1
        self._stamp = b""
        self._names: dict[tuple[str, str], tuple[bytes, bytes]] = {}
        self._colours: dict[str, bytes] = {}

    def format(self, batch: LogBatch) -> bytes:
        second = int(batch.time)
        if second != self._second:
            self._second = second
            local = datetime.fromtimestamp(second + self._offset_s(batch.time), UTC)
            self._stamp = local.strftime("%H:%M:%S ").encode()
        key = (batch.source, batch.ps)
        before, name = self._names.get(key) or self._name(key)
        stamp = self._stamp if self._full is None else self._full.at(batch.time)
        prefix = before + stamp + name
        return _prefixed(prefix, _shown(batch.text, prefix))

    def _name(self, key: tuple[str, str]) -> tuple[bytes, bytes]:
        """What stands before the time, and what after it: colour on, name, colour off."""
        if len(self._names) >= NAMES_KEPT:
            self._names.clear()
        source, ps = key
        label = f"{source}[{ps}]:".encode()
        padding = b" " * max(self._width - len(label), 0) + b" "
        if self._colour:
            parts = (self._colour_of(ps.partition(".")[0]), label + RESET + padding)
        else:
            parts = (b"", label + padding)
        self._names[key] = parts
        return parts

    def _colour_of(self, process_type: str) -> bytes:
        """The same in every run for the same name, and another than its neighbours' while there are any left."""
        if process_type in self._colours:
            return self._colours[process_type]
        if len(self._colours) >= NAMES_KEPT:
            self._colours.clear()
        start = zlib.crc32(process_type.encode()) % len(PALETTE)
        preferred = PALETTE[start:] + PALETTE[:start]
        taken = set(self._colours.values())
        colour = next((free for free in preferred if free not in taken), preferred[0])
        self._colours[process_type] = colour
        return colour


LogText = FullText | TerminalText


def _prefixed(prefix: bytes, text: bytes) -> bytes:
    # One replace for the whole batch (loadtests/log_pipeline.py --micro, 64 KiB of 63-byte lines, 3.11): 19 µs; a list
    # of prefixed lines, joined, takes 120 µs. The slice leaves the last LF without a prefix after it.
    return prefix + text[:-1].replace(b"\n", b"\n" + prefix) + b"\n"


def _shown(text: bytes, prefix: bytes) -> bytes:
    """`text` as a terminal may see it."""
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            text = text.decode("utf-8", "backslashreplace").encode()
    if b"\x1b" in text:
        lines = text[:-1].split(b"\n")
        text = b"\n".join([line + RESET if b"\x1b" in line else line for line in lines]) + b"\n"
    if b"\r" in text:
        text = text.replace(b"\r", b"\r" + prefix)
    return text
