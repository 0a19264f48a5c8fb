"""Starts threads that wait, until the system refuses or ARGUMENT are there; says how many, and waits.

To the kernel they are processes as far as their number is concerned, and far cheaper.
"""

import signal
import sys
import threading

threading.stack_size(65536)
count = 0
try:
    while count < int(sys.argv[1]):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        count += 1
    print(f"started all {count}", flush=True)
except RuntimeError:
    print(f"refused after {count}", flush=True)
signal.pause()
