"""A worker whose daemon leaves nothing by which a process table could tell whose it is: no parent, session or mark.

The daemon says "hidden pid=N" and ignores SIGTERM.
"""

import os
import signal
import sys

if sys.argv[1:] == ["daemon"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(1, f"hidden pid={os.getpid()}\n".encode())
elif os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.executable, [sys.executable, __file__, "daemon"], {})
    os._exit(0)
while True:
    signal.pause()
