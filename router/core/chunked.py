"""The chunked coding (RFC 9112 section 7.1), read strictly and written anew, as it arrives. Pure.

Flow: relay feeds what a side sent → gets what may go to the other side now. Nothing waits for a chunk to be whole: a
chunk's bytes leave with the read that brought them. Sizes are hex digits only, lines end in CRLF, extensions are
dropped (nobody relays meaning in them, and parsers disagree about them). Trailers are kept for the caller to judge.
"""

import re
from typing import Final

from router.errors import ChunkError

_LONGEST_LINE: Final = 1024  # a size line with its extensions
_LONGEST_TRAILERS: Final = 16384
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_SIZE_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,15})((?:[ \t]*;[ \t]*" + _TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)*)"
)

_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class ChunkReader:
    """One chunked body. `done` when its last CRLF has been read; `trailers` are then its raw trailer lines."""

    __slots__ = ("_left", "_pending", "_state", "body_bytes", "done", "trailers")

    def __init__(self) -> None:
        self._state = _SIZE
        self._left = 0
        self._pending = b""
        self.done = False
        self.body_bytes = 0
        self.trailers = b""

    def feed(self, data: bytes, *, keep_framing: bool = True) -> tuple[bytes, bytes]:
        """Take `data`; returns what to send on, and what came after the body's end.

        With `keep_framing` what is returned is chunked again, but for the last chunk: when `done`, the caller writes
        `0 CRLF`, the trailers it allows, and CRLF. Without it, only the body's bytes are returned.

        Raises:
            ChunkError: for framing outside the grammar.

        """
        if self._pending:
            data = self._pending + data
            self._pending = b""
        size = len(data)
        position = 0
        copied = 0  # what lies before it is in `out` already or is to be left out
        out: list[bytes] = []
        while position < size:
            state = self._state
            if state == _DATA:
                step = min(self._left, size - position)
                if not keep_framing:
                    out.append(data[position : position + step])
                position += step
                self.body_bytes += step
                self._left -= step
                if self._left == 0:
                    self._state = _DATA_END
            elif state == _DATA_END:
                if data[position : position + 2] != b"\r\n":
                    if size - position == 1 and data[position:] == b"\r":
                        break
                    raise ChunkError("chunk data not followed by CRLF")
                position += 2
                self._state = _SIZE
            elif state == _SIZE:
                end = data.find(b"\r\n", position, position + _LONGEST_LINE)
                if end < 0:
                    self._check_partial(data[position:])
                    break
                match = _SIZE_LINE.fullmatch(data, position, end)
                if match is None:
                    raise ChunkError("bad chunk size")
                length = int(match.group(1), 16)
                if length and keep_framing and match.end(1) != end:
                    out.append(data[copied : match.end(1)])  # without the extension
                    copied = end
                if not length:
                    if keep_framing:
                        out.append(data[copied:position])
                    position = copied = end + 2
                    self._state = _TRAILERS
                else:
                    position = end + 2
                    self._left = length
                    self._state = _DATA
            elif state == _TRAILERS:
                if data[position : position + 2] == b"\r\n":
                    position += 2
                    self._finish(b"")
                    return b"".join(out), data[position:]
                end = data.find(b"\r\n\r\n", position, position + _LONGEST_TRAILERS)
                if end < 0:
                    if size - position > _LONGEST_TRAILERS:
                        raise ChunkError("oversized trailers")
                    copied = position
                    break
                self._finish(data[position : end + 2])
                return b"".join(out), data[end + 4 :]
        self._pending = data[position:]
        if keep_framing and self._state != _TRAILERS and position > copied:
            out.append(data[copied:position])
        return (out[0] if len(out) == 1 else b"".join(out)), b""

    def _finish(self, trailers: bytes) -> None:
        self.trailers = trailers
        self._state = _DONE
        self.done = True

    def _check_partial(self, line: bytes) -> None:
        """Refuse early what can no longer become a size line, so that nobody waits for its end."""
        if len(line) >= _LONGEST_LINE:
            raise ChunkError("oversized chunk size")
        if b"\n" in line or b"\r" in line[:-1] or b"\0" in line:
            raise ChunkError("bad chunk size")
        digits = line.partition(b";")[0].rstrip(b" \t\r")
        if digits and re.fullmatch(rb"[0-9A-Fa-f]{1,15}", digits) is None:
            raise ChunkError("bad chunk size")
