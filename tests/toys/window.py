"""Prints its terminal's size, "window ROWS COLUMNS", at the start and whenever it is told that it has changed."""

import os
import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # sigwait(3) is not interrupted by what Python handles
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
while True:
    size = os.get_terminal_size()
    print("window", size.lines, size.columns, flush=True)
    signal.sigwait({signal.SIGWINCH})
