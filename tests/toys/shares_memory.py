"""As `gunicorn --preload -w N`: takes the megabytes of its first argument, forks N workers that share them, says so.

Each worker takes a megabyte of its own. Prints "ready PID ..." with all process ids; ends with SIGTERM.
"""

import os
import signal
import sys

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
shared = os.urandom(1 << 20) * int(sys.argv[1])
pids = [os.getpid()]
for _ in range(int(sys.argv[2])):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        own = os.urandom(1 << 20)
        os.write(writing, b"!")
        signal.sigwait({signal.SIGTERM})
        os._exit(0)
    os.read(reading, 1)
    os.close(reading)
    os.close(writing)
    pids.append(pid)
print("ready", *pids, flush=True)
signal.sigwait({signal.SIGTERM})
for pid in pids[1:]:
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
