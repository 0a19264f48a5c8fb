"""Has whoever opens a file wait, as a file system that hangs would: a lease on it that this program does not give back.

Argument: FILE. The kernel breaks the lease after /proc/sys/fs/lease-break-time (45 s); SIGTERM gives it back at once.
"""

import fcntl
import os
import signal
import sys

signal.signal(signal.SIGIO, signal.SIG_IGN)  # "somebody waits for your file"
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
file = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("ready", flush=True)
signal.sigwait({signal.SIGTERM})
