"""Forks children that wait, until the system refuses or ARGUMENT are there; says how many, and waits."""

import os
import signal
import sys

count = 0
try:
    while count < int(sys.argv[1]):
        if os.fork() == 0:
            signal.pause()
            os._exit(0)
        count += 1
    print(f"forked all {count}", flush=True)
except BlockingIOError:
    print(f"refused after {count}", flush=True)
signal.pause()
