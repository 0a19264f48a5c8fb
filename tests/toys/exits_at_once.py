"""Ends with the status of its argument (default 0), or by the signal that it names ("KILL"), having said one line."""

import os
import signal
import sys

how = sys.argv[1] if len(sys.argv) > 1 else "0"
print(f"exits with {how}", flush=True)
if how.isdigit():
    sys.exit(int(how))
os.kill(os.getpid(), signal.Signals[f"SIG{how}"])
