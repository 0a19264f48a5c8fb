"""A terminal emulator of sorts: runs its arguments on a terminal of their own and copies what they print to stdout.

When it ends, however it does, the terminal hangs up.
"""

import os
import pty
import sys

pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
while data := os.read(terminal, 65536):
    os.write(1, data)
