"""A worker whose work is done by a daemon that has left it: double fork, a session of its own, descriptors closed.

The daemon writes its pid to the file `daemon.pid` in the working folder and ignores SIGTERM if told so
(argument "stubborn"). The worker itself stays and leaves on SIGTERM; with the argument "leaves" it ends at once.
"""

import os
import signal
import sys
from pathlib import Path


def daemon(ready: int) -> None:
    os.setsid()
    if os.fork():
        os._exit(0)
    if "stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path("daemon.pid").write_text(f"{os.getpid()}\n")
    os.write(ready, b".")
    os.closerange(0, 256)
    while True:
        signal.pause()


reading, writing = os.pipe()
if os.fork() == 0:
    daemon(writing)
os.close(writing)
os.wait()
assert os.read(reading, 1) == b".", "the daemon did not start"
print(f"ready daemon={Path('daemon.pid').read_text().strip()}", flush=True)
if "leaves" not in sys.argv:
    signal.pause()
