"""Writes "a whole line" with its end and "half a line" without one; then ends (argument "exits") or waits."""

import os
import signal
import sys

os.write(1, b"a whole line\nhalf a line")
if "exits" not in sys.argv:
    signal.pause()
