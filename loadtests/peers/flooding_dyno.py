"""A dyno that writes numbered lines of 60 bytes in large writes, as fast as it can: `python flooding_dyno.py LINES`."""

import os
import sys

LINE = b"line %09d of a dyno that has rather a lot to say just now\n"
PER_WRITE = 1000


def flood(lines: int) -> None:
    """Writes numbered lines; the numbers are patched in by one formatting operation per write."""
    block = LINE * PER_WRITE
    for start in range(0, lines, PER_WRITE):
        count = min(PER_WRITE, lines - start)
        data = (block if count == PER_WRITE else LINE * count) % tuple(range(start, start + count))
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]


if __name__ == "__main__":
    flood(int(sys.argv[1]))
