"""A worker that does not leave when asked to: only SIGKILL ends it. It says so at each SIGTERM."""

import os
import signal

signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"SIGTERM: no\n"))
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
print(f"ready pid={os.getpid()}", flush=True)
while True:
    signal.pause()
