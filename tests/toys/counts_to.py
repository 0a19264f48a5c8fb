"""Prints `number 0`, `number 1` … up to its argument, a hundred at a time with a breath in between, then stays.

With a third argument, the path of a FIFO, it prints as many as each line that is written there says.
"""

import signal
import sys
import time
from collections.abc import Iterable

COUNT, PAUSE_S = int(sys.argv[1]), float(sys.argv[2])


def count(numbers: range) -> None:
    for start in numbers[::100]:
        sys.stdout.write("".join(f"number {number}\n" for number in range(start, min(start + 100, numbers.stop))))
        sys.stdout.flush()
        time.sleep(PAUSE_S)


def portions(path: str) -> Iterable[int]:
    with open(path) as gate:  # noqa: PTH123 (a toy)
        yield from map(int, gate)


done = 0
for portion in portions(sys.argv[3]) if sys.argv[3:] else [COUNT]:
    count(range(done, done + portion))
    done += portion
    if done >= COUNT:
        break
signal.sigwait([signal.SIGTERM])
