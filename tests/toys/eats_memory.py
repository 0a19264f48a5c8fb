"""Takes the megabytes of its argument and touches each page, says how many, and waits for SIGTERM."""

import signal
import sys

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
megabytes = int(sys.argv[1])
taken = bytearray(megabytes << 20)
for page in range(0, len(taken), 4096):
    taken[page] = 1
print(f"ready with {megabytes} MB", flush=True)
signal.sigwait({signal.SIGTERM})
