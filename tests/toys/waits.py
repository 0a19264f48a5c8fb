"""A worker with nothing to do: says "ready", waits for SIGTERM, says which signal it got, ends with 0."""

import os
import signal
import sys

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1})
print(f"ready pid={os.getpid()}", flush=True)
got = signal.sigwait({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1})
print(f"got {signal.Signals(got).name}", flush=True)
sys.exit(0)
