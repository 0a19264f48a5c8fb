"""A worker that bears no second one: holds FILE.lock by flock(2), and says in FILE when another one has it already.

Argument: FILE. After SIGTERM it takes a moment to end, and the lock goes with the process: whoever meets it held has
met a process that was still there.
"""

import fcntl
import os
import signal
import sys

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
record = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
lock = os.open(f"{sys.argv[1]}.lock", os.O_WRONLY | os.O_CREAT, 0o600)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    os.write(record, b"two run\n")
    sys.exit(1)
os.write(record, f"{os.environ.get('N', '-')} began\n".encode())
print("ready", flush=True)
signal.sigwait({signal.SIGTERM})
signal.sigtimedwait(set(), 0.1)  # the work that was begun
os.write(record, f"{os.environ.get('N', '-')} ended\n".encode())
