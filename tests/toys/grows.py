"""Takes the megabytes of its first argument, touches each page, says so; at each SIGUSR1 those of the next argument.

Ends with SIGTERM.
"""

import signal
import sys

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
taken: list[bytearray] = []
for megabytes in map(int, sys.argv[1:]):
    taken.append(bytearray(b"x" * 4096) * (megabytes << 8))
    print(f"has {sum(map(len, taken)) >> 20} MB", flush=True)
    if signal.sigwait({signal.SIGTERM, signal.SIGUSR1}) == signal.SIGTERM:
        sys.exit(0)
signal.sigwait({signal.SIGTERM})
