"""Somebody's program on a terminal: says "ready", then each SIGHUP that it gets. SIGTERM ends it.

With "leaves" the first one ends it; with "writes" it writes many lines after each, which nobody may be there to read.
"""

import os
import signal
import sys

signals = {signal.SIGHUP, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
print("ready", flush=True)
hangups = 0
while signal.sigwait(signals) == signal.SIGHUP:
    hangups += 1
    os.write(1, f"hangup {hangups}\n".encode())
    if "leaves" in sys.argv:
        sys.exit(5)
    if "writes" in sys.argv:
        for number in range(20_000):
            os.write(1, f"line {number}\n".encode())
        os.write(1, b"written\n")
