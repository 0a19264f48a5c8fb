"""Writes `line 1`, `line 2` … a few hundred a second, each at once, until SIGTERM; then `last N`, the last number."""

import os
import signal

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
number = 0
while signal.sigtimedwait({signal.SIGTERM}, 0.003) is None:
    number += 1
    os.write(1, b"line %d\n" % number)
os.write(1, b"last %d\n" % number)
