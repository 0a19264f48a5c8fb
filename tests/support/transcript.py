"""What a child has printed, line by line, as it comes; and waiting for a line.

One reader thread for each stream, so that a child never blocks on a full pipe because a test looks elsewhere.
It waits for causes: a line, or the end of all streams. The timeout is there only to fail, and then shows everything.
"""

import os
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

TIMEOUT_S: Final = 30.0  # generous: two cores, shared with the rest of the suite

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A whole line (or a last half one), without its end. `number` counts over all streams, from 0."""

    number: int
    stream: str
    text: str
    match: re.Match[str] | None = field(default=None, compare=False)

    def group(self, index: int | str = 1) -> str:
        """A group of the pattern that `wait_for_line` found this line by."""
        assert self.match is not None, "this line was not found by a pattern"
        found = self.match.group(index)
        assert isinstance(found, str), f"group {index} took no part in the match of {self.text!r}"
        return found


class Transcript:
    """Reads file descriptors to their end. Owns them: each is closed by its reader."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lines: list[Line] = []
        self._raw: dict[str, bytearray] = {}
        self._open: set[str] = set()
        self._readers: list[threading.Thread] = []

    def read(self, stream: str, descriptor: int, *, coloured: bool = False) -> None:
        """Starts reading `descriptor` under the name `stream`; `coloured`: lines are shown without their colours."""
        self._raw[stream] = bytearray()
        self._open.add(stream)
        reader = threading.Thread(
            target=self._pump, args=(stream, descriptor, coloured), name=f"read:{stream}", daemon=True
        )
        self._readers.append(reader)
        reader.start()

    def lines(self, stream: str | None = None) -> list[Line]:
        """All lines so far, of one stream or of all, in the order of arrival."""
        with self._changed:
            return [line for line in self._lines if stream in (None, line.stream)]

    def raw(self, stream: str) -> bytes:
        """Every byte so far of one stream, as it came."""
        with self._changed:
            return bytes(self._raw[stream])

    def mark(self) -> int:
        """The number of the next line: pass it as `since` to look only at what comes from now on."""
        with self._changed:
            return len(self._lines)

    def forget(self) -> None:
        """Begin anew: what has come so far was another test's. Numbers and marks from before mean nothing any more."""
        with self._changed:
            self._lines.clear()

    def wait_for_line(
        self, pattern: str, *, since: int = 0, stream: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> Line:
        """The first line numbered `since` or later in which `pattern` is found; fails when all streams have ended."""
        compiled = re.compile(pattern)
        deadline = time.monotonic() + timeout_s
        looked_at = since
        with self._changed:
            while True:
                for line in self._lines[looked_at:]:
                    if stream in (None, line.stream) and (match := compiled.search(line.text)):
                        return replace(line, match=match)
                looked_at = max(looked_at, len(self._lines))
                left_s = deadline - time.monotonic()
                if not self._open:
                    raise AssertionError(f"the output ended without a line matching {pattern!r}:\n{self._shown()}")
                if left_s <= 0:
                    raise AssertionError(f"no line matching {pattern!r} in {timeout_s:g} s:\n{self._shown()}")
                self._changed.wait(left_s)

    def wait_for_end(self, timeout_s: float = TIMEOUT_S) -> None:
        """Until every stream has ended: nobody holds a writing end any more."""
        deadline = time.monotonic() + timeout_s
        for reader in self._readers:
            reader.join(max(0.0, deadline - time.monotonic()))
            assert not reader.is_alive(), f"{reader.name}: the output has not ended:\n{self}"

    def __str__(self) -> str:
        with self._changed:
            return self._shown()

    def _shown(self) -> str:
        return "\n".join(f"  {line.stream:>8} | {line.text}" for line in self._lines) or "  (nothing)"

    def _pump(self, stream: str, descriptor: int, coloured: bool) -> None:
        def clean(line: bytes) -> str:
            text = line.decode(errors="backslashreplace").removesuffix("\r")
            return _COLOUR.sub("", text) if coloured else text

        rest = b""
        try:
            while chunk := _read(descriptor):
                *whole, rest = (rest + chunk).split(b"\n")
                self._add(stream, chunk, map(clean, whole))
        finally:
            os.close(descriptor)
            self._add(stream, b"", map(clean, [rest] if rest else []), ended=True)

    def _add(self, stream: str, raw: bytes, whole: Iterable[str], *, ended: bool = False) -> None:
        with self._changed:
            self._raw[stream] += raw
            for text in whole:
                self._lines.append(Line(number=len(self._lines), stream=stream, text=text))
            if ended:
                self._open.discard(stream)
            self._changed.notify_all()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # EIO: the other side of a pseudo-terminal is closed, which is its end of file
        return b""
