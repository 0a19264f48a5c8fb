"""Forks children that wait, until the machine gives it no more; says how many, and what it was told; then waits."""

import os
import signal

children = 0
while True:
    try:
        if os.fork() == 0:
            signal.pause()
    except OSError as error:
        print(f"forked until {error.strerror}", flush=True)
        break
    children += 1
signal.pause()
