"""Prints `number 0`, `number 1` … up to its argument, a hundred at a time with a breath in between, then stays."""

import signal
import sys
import time

for start in range(0, int(sys.argv[1]), 100):
    sys.stdout.write("".join(f"number {number}\n" for number in range(start, min(start + 100, int(sys.argv[1])))))
    sys.stdout.flush()
    time.sleep(float(sys.argv[2]))
signal.sigwait([signal.SIGTERM])
