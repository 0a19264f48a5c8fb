"""Writes numbered lines as fast as they are taken, `line 1 of COUNT` to the last, then "flooded"; then waits.

Arguments: COUNT [WIDTH], the least length of a line.
"""

import signal
import sys

count = int(sys.argv[1])
width = int(sys.argv[2]) if len(sys.argv) > 2 else 0
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
for number in range(1, count + 1):
    sys.stdout.write(f"line {number} of {count}".ljust(width, ".") + "\n")
print("flooded", flush=True)
signal.sigwait({signal.SIGTERM})
