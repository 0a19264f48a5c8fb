"""HOT: cuts the bytes of a dyno's pipe into whole lines.

Flow: dyno's pipe → **frame** → log line → stream. Stateless on purpose: bytes that do not make a line yet stay where
they are (in the pipe, so that a crash of the core cannot lose them), and are offered again together with what follows.
Bytes are never decoded: binary output passes as it is. Pure.
"""

from typing import Final, NamedTuple

LINE_LIMIT: Final = (
    10_000  # bytes of a line without its line break; heroku-semantics 6.3 (log-shuttle's max line length)
)


class Framed(NamedTuple):
    """`text` is whole lines, each ending in one LF; they stand for the first `covered` bytes of the input."""

    text: bytes
    covered: int


def frame(data: bytes, limit: int = LINE_LIMIT) -> Framed:
    """Take every line of `data` that is certain: ended by LF, or longer than `limit` whatever may still come.

    One CR before the LF goes with it. A longer line is cut into consecutive lines of `limit` bytes, by plain slicing
    as log-shuttle does. Any way of cutting a stream into `data` gives the same lines, if what is not covered is offered
    again in front of the next bytes.
    """
    covered = data.rfind(b"\n") + 1
    text = _whole_lines(data[:covered], limit)
    if len(data) - covered <= limit:
        return Framed(text, covered)
    # No LF in sight and too long: cut. One byte more than the limit may still be the CR of a CR LF.
    pieces = [text]
    while (rest := len(data) - covered) > limit and not (rest == limit + 1 and data.endswith(b"\r")):
        pieces.append(data[covered : covered + limit])
        pieces.append(b"\n")
        covered += limit
    return Framed(b"".join(pieces), covered)


def last_line(rest: bytes) -> bytes:
    """The half line that is left when nothing can follow any more, as a whole line; b"" for nothing."""
    if not rest:
        return b""
    return rest.removesuffix(b"\r") + b"\n"


def _whole_lines(block: bytes, limit: int) -> bytes:
    """`block` ends in LF or is empty."""
    # Whole-block operations, no Python per line (loadtests/log_pipeline.py --micro, 64 KiB of 63-byte lines, 3.11):
    # 4 µs; 57 µs without asking for a CR first, as replace stops at every LF; 105 µs with split, strip and join.
    text = block.replace(b"\r\n", b"\n") if b"\r" in block else block
    start = 0
    # Hop from the last LF within the limit to the next: a line that is too long is one hop that finds no LF.
    while len(text) - start > limit + 1:
        end = text.rfind(b"\n", start, start + limit + 1)
        if end < 0:
            return _cut_long_lines(text, limit)
        start = end + 1
    return text


def _cut_long_lines(text: bytes, limit: int) -> bytes:
    lines: list[bytes] = []
    for line in text[:-1].split(b"\n"):
        if len(line) <= limit:
            lines.append(line)
        else:
            lines.extend(line[at : at + limit] for at in range(0, len(line), limit))
    lines.append(b"")
    return b"\n".join(lines)
