"""Ends at once with status 3 and leaves a child in a session of its own which keeps stdout open."""

import os
import signal
import sys

if os.fork() == 0:
    os.setsid()
    os.write(1, f"child ready pid={os.getpid()}\n".encode())
    while True:
        signal.pause()
os.write(1, b"parent ends\n")  # at once: print may write its line break apart, and the child in between
sys.exit(3)
